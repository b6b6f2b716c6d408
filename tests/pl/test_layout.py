"""Room for what is around the panels, in every plot, as it is rendered."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scanpy as sc

import scgeoae as sg

from ..for_each import for_each

PAPER = {"figure.figsize": (3.2, 3.0)}


@pytest.fixture(scope="module")
def cells(both):
    """A map and a UMAP, and 60 groups. Do not change."""
    adata = both.copy()
    adata.obs["many"] = pd.Categorical([f"group {i % 60}" for i in range(adata.n_obs)])
    adata.obs["geoae_mean_curvature"] = np.linspace(0, 1, adata.n_obs)
    return adata


@pytest.fixture(scope="module")
def placed(fitted):
    return sg.tl.transform(fitted[:100].copy(), fitted, use_rep="X_pca", copy=True)


@pytest.fixture(scope="module")
def path(fitted):
    return sg.tl.geodesic(fitted, "CD14+ Monocyte", "CD19+ B", groupby="bulk_labels", genes=[])


COLORS = {"color": ["bulk_labels", "CST3", "phase"], "ncols": 2}
PLOTS = {
    "broken_neighborhoods": lambda adata, **_: sg.pl.broken_neighborhoods(adata, **COLORS, show=False),
    "curvature_heatmap": lambda adata, **_: [sg.pl.curvature_heatmap(adata, kind="mean", show=False)],
    "decoded_genes": lambda adata, **_: sg.pl.decoded_genes(adata, ["CST3", "CD79A", "NKG7"], ncols=2, show=False),
    "embedding": lambda adata, **_: sg.pl.embedding(adata, "umap", color=["many", "CST3", "many"], ncols=2, show=False),
    "gene_compass": lambda adata, **_: sg.pl.gene_compass(adata, "bulk_labels", "Dendritic", **COLORS, show=False),
    "geodesics": lambda adata, path, **_: sg.pl.geodesics(adata, path, **COLORS, show=False),
    "indicatrices": lambda adata, **_: sg.pl.indicatrices(adata, basis="umap", **COLORS, show=False),
    "pair of indicatrices": lambda adata, **_: sg.pl.indicatrices(
        adata, basis=["umap", "geoae"], color="bulk_labels", show=False
    ),
    "jacobian_heatmap": lambda adata, **_: sg.pl.jacobian_heatmap(adata, basis=["umap", "geoae"], show=False),
    "transform": lambda adata, placed, **_: sg.pl.transform(
        placed, adata, **COLORS | {"color": "bulk_labels"}, show=False
    ),
}


@for_each("name", PLOTS)
def test_nothing_reaches_into_another_panel_or_beyond_the_figure(cells, placed, path, name):
    with plt.rc_context(PAPER):
        drawn = PLOTS[name](cells, placed=placed, path=path)
    panels = drawn if isinstance(drawn, list) else [drawn]
    figure = panels[0].figure
    figure.draw_without_rendering()
    extents = [panel.get_tightbbox() for panel in panels]
    bars = [ax.get_tightbbox() for ax in figure.axes if ax not in panels]
    for i, extent in enumerate(extents):
        assert not any(extent.overlaps(other) for other in extents[i + 1 :])
    for i, bar in enumerate(bars):
        assert sum(bar.overlaps(extent) for extent in extents) <= 1
        assert not any(bar.overlaps(other) for other in bars[i + 1 :])
    for extent in (*extents, *bars):
        assert (extent.min >= 0).all()
        assert (extent.max <= figure.bbox.max).all()


def slots(figure):
    return np.array([ax.get_position(original=True).get_points() for ax in figure.axes]) * figure.get_size_inches()


def test_panels_keep_their_size_and_a_gap_that_was_given(cells):
    alone = slots(sg.pl.embedding(cells, color="phase", return_fig=True))
    many = slots(sg.pl.embedding(cells, color="many", return_fig=True))
    np.testing.assert_allclose(np.diff(many, axis=1), np.diff(alone, axis=1))
    for colors in (["phase", "phase"], ["many", "phase"]):
        ours, theirs = (
            slots(plot(cells, "geoae", color=colors, wspace=0.05, return_fig=True, show=False))
            for plot in (sg.pl.embedding, sc.pl.embedding)
        )
        np.testing.assert_allclose(np.diff(ours, axis=0), np.diff(theirs, axis=0))


def test_other_figures_stay_as_they_are(cells):
    with plt.rc_context(PAPER | {"figure.constrained_layout.use": True}):
        figure = sg.pl.embedding(cells, color="many", return_fig=True)
    assert tuple(figure.get_size_inches()) == (3.2, 3.0)
    figure, (ax, _) = plt.subplots(1, 2, figsize=(6, 3))
    before = slots(figure)[1]
    sg.pl.indicatrices(cells, basis="umap", ax=ax, color="many", show=False)
    assert tuple(figure.get_size_inches()) == (6, 3)
    np.testing.assert_array_equal(slots(figure)[1], before)
    # nobody makes room for a ruler outside
    (ruler,) = [box for box in ax.artists if box.get_gid() == "scgeoae note" and box.get_visible()]
    assert ax.bbox.count_contains(ruler.get_window_extent().get_points()) == 2


@for_each("where", ["left", "right", "top", "bottom"])
def test_color_bars_are_beside_labels_and_titles(cells, where):
    ax = sg.pl.embedding(cells, color="CST3", colorbar_loc=where, show=False)
    ax.figure.canvas.draw()
    bar = ax.collections[0].colorbar.ax.get_window_extent()
    for label in (ax.xaxis.label, ax.yaxis.label, ax.title):
        assert not bar.overlaps(label.get_window_extent())
    along = int(where in ("top", "bottom"))
    np.testing.assert_allclose(np.delete(bar.size, along), np.delete(ax.bbox.size, along), atol=1)
