from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgba
from matplotlib.patches import StepPatch

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
    assert profile.get_title().startswith("gap: down to ")
    assert profile.get_xlabel().endswith("(units of X_pca)")
    # the gray box is the emptiest stretch
    (span,) = [mark for mark in profile.patches if not isinstance(mark, StepPatch)]
    extent = profile.transData.inverted().transform(span.get_window_extent())
    np.testing.assert_allclose(extent[:, 0], found.stretch, atol=0.2)


def test_counts_on_an_axis_of_square_roots(fitted, found):
    # a group of a hundredth of the cells
    rare = replace(found, profile=found.profile.assign(source=found.profile["target"] / 100, other=0.0))
    for result in (found, rare):
        _, profile = sg.pl.gap(fitted, result, show=False)
        steps = {mark.get_label(): mark for mark in profile.patches if isinstance(mark, StepPatch)}
        columns = {PAIR[0]: "source", PAIR[1]: "target", "other cells": "other"}
        counts = result.profile[list(columns.values())]
        assert set(steps) == {name for name in columns if counts[columns[name]].any()} | {"all cells"}
        for name, mark in steps.items():
            values = counts.sum(axis=1) if name == "all cells" else counts[columns[name]]
            np.testing.assert_allclose(mark.get_data().values, values)
            np.testing.assert_allclose(mark.get_data().edges[[0, -1]], profile.get_xlim())
        bottom, top = profile.get_ylim()
        assert bottom == 0
        assert top > counts.sum(axis=1).max()
        # a quarter of the cells is half as high
        heights = profile.transAxes.inverted().transform(profile.transData.transform([[0, 0], [0, top / 4], [0, top]]))
        np.testing.assert_allclose(heights[:, 1], [0, 0.5, 1], atol=1e-9)
        ticks = profile.get_yticks()
        assert (np.diff(ticks) > 0).all()
        assert [text.get_text() for text in profile.get_yticklabels()] == [f"{tick:g}" for tick in ticks]
    # the rare group is a tenth as high as the other one, and in front of it
    drawn = [mark.get_label() for mark in profile.patches if isinstance(mark, StepPatch)]
    assert drawn.index(PAIR[0]) > drawn.index(PAIR[1])


def test_a_rare_group_far_from_the_rest_is_in_view(fitted, found):
    adata = fitted.copy()
    labels = adata.obs["bulk_labels"].astype(str).to_numpy()
    rare = np.flatnonzero(labels == PAIR[1])[:12]
    labels[rare] = "rare"
    adata.obs["bulk_labels"] = labels
    z = adata.obsm["X_geoae"].copy()
    z[rare] += 5 * np.ptp(z, axis=0)
    adata.obsm["X_geoae"] = z
    curve = np.linspace(z[labels == PAIR[0]].mean(0), z[rare].mean(0), 64)
    far = replace(found, target="rare", groups=([PAIR[0]], ["rare"]), curves={"straight": curve, "cells": curve})
    cells, _ = sg.pl.gap(adata, far, show=False)
    limits = np.array([cells.get_xlim(), cells.get_ylim()])
    assert ((limits[:, 0] <= z[rare]) & (z[rare] <= limits[:, 1])).all()


def test_bad_input(fitted, found):
    with pytest.raises(TypeError, match=r"Expected `found` to be a result of sg\.tl\.gap"):
        sg.pl.gap(fitted, "gap")
    adata = fitted.copy()
    del adata.obs["bulk_labels"]
    with pytest.raises(KeyError, match="Did not find 'bulk_labels'"):
        sg.pl.gap(adata, found)
    # no cell of a group would have its color
    renamed = fitted.copy()
    renamed.obs["bulk_labels"] = renamed.obs["bulk_labels"].cat.rename_categories({PAIR[1]: "DC"})
    for without in (renamed, fitted[fitted.obs["bulk_labels"] != PAIR[1]].copy()):
        with pytest.raises(KeyError, match=r"Did not find 'Dendritic' .*, whose groups are"):
            sg.pl.gap(without, found)
