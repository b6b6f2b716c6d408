from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgba

import scgeoae as sg

PAIR = ("CD14+ Monocyte", "Dendritic")


@pytest.fixture(scope="module")
def found(fitted):
    return sg.tl.gap(fitted, *PAIR, groupby="bulk_labels")


def test_both_bridges_and_the_cells_of_the_groups(fitted, found):
    cells, profile = sg.pl.gap(fitted, found, colors=("red", "blue"), show=False)
    curves = [line.get_xydata() for line in cells.lines if len(line.get_xydata()) == 64]
    assert len(curves) == 2
    for drawn, name in zip(curves, found.curves, strict=True):
        np.testing.assert_allclose(drawn, found.curves[name])
    labels = fitted.obs["bulk_labels"]
    for name, color in zip(PAIR, ("red", "blue"), strict=True):
        (points,) = [
            mark
            for mark in cells.collections
            if len(mark.get_facecolor()) == 1 and tuple(mark.get_facecolor()[0]) == to_rgba(color)
        ]
        np.testing.assert_allclose(points.get_offsets(), fitted.obsm["X_geoae"][labels == name])
        assert name in [text.get_text() for text in cells.texts]
    heights = np.array([bar.get_height() for bars in profile.containers for bar in bars])
    total = found.profile[["source", "target", "other"]].to_numpy().sum()
    np.testing.assert_allclose(heights.sum(), total, rtol=1e-6)
    assert profile.get_title().startswith("gap: down to ")
    assert profile.get_xlabel().endswith("(units of X_pca)")
    # the gray box is the emptiest stretch
    (span,) = [mark for mark in profile.patches if mark not in [bar for bars in profile.containers for bar in bars]]
    extent = profile.transData.inverted().transform(span.get_window_extent())
    np.testing.assert_allclose(extent[:, 0], found.stretch, atol=0.2)


def test_bad_input(fitted, found):
    with pytest.raises(TypeError, match=r"Expected `found` to be a result of sg\.tl\.gap"):
        sg.pl.gap(fitted, "gap")
    adata = fitted.copy()
    del adata.obs["bulk_labels"]
    with pytest.raises(KeyError, match="Did not find 'bulk_labels'"):
        sg.pl.gap(adata, found)
