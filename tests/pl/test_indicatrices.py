from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import scanpy as sc
from matplotlib.collections import EllipseCollection
from matplotlib.offsetbox import AnchoredText
from matplotlib.transforms import Affine2D
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

import scgeoae as sg
from scgeoae.pl._view import data_box

from ..for_each import for_each
from .ink import measure_ink

DRAWN = {"n_tiles": 9}  # also where all are circles of one size


def ellipses(ax) -> EllipseCollection:
    (collection,) = [c for c in ax.collections if isinstance(c, EllipseCollection)]
    return collection


def outlines(ax, n=200):
    """Centres, and points on each ellipse, in units of the map, as matplotlib draws them."""
    collection = ellipses(ax)
    ax.figure.canvas.draw()
    angle = np.linspace(0, 2 * np.pi, n)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    half = np.stack([collection.get_widths(), collection.get_heights()], axis=1) / 2
    centers = np.asarray(collection.get_offsets())
    points = [
        Affine2D().rotate_deg(a).transform(circle * h) + c
        for a, h, c in zip(collection.get_angles(), half, centers, strict=True)
    ]
    return centers, np.array(points)


def radii_in_the_data(ax, metric):
    """Length in the data from the center to points on each ellipse."""
    centers, points = outlines(ax)
    delta = points - centers[:, None]
    return np.sqrt(np.einsum("nka,nab,nkb->nk", delta, metric, delta))


def cells_at(ax, adata, basis):
    """Rows of the cells at the centers."""
    centers = np.asarray(ellipses(ax).get_offsets())
    gap = np.abs(centers[:, None] - adata.obsm[f"X_{basis}"]).max(2)
    assert gap.min(1).max() < 1e-4
    return gap.argmin(1)


def legends(ax):
    return [a for a in ax.artists if a.get_gid() == "indicatrices"]


def legend_of(ax):
    """The words below the axes, and the diameter of the circle next to them, as a length on the map."""
    (box,) = legends(ax)
    ax.figure.canvas.draw()
    circle, text = box.get_child().get_children()
    extent = circle.get_children()[0].get_window_extent()
    per_unit = ax.transData.transform([[1, 0]])[0, 0] - ax.transData.transform([[0, 0]])[0, 0]
    return " ".join(text.get_text().split()), extent.width / per_unit


def sizes_of(adata, basis, **kwargs):
    """Lengths of the semi-axes at all cells, (n, 2), and the median of their geometric means."""
    lengths = 1 / np.sqrt(np.linalg.eigvalsh(sg.get.metric_tensors(adata, key=basis, **kwargs).astype(float)))
    return lengths, np.median(np.sqrt(lengths.prod(1)))


@for_each("where", ["data", "grid", "cells"])
def test_ellipses_are_unit_circles_of_the_metric(fitted, where):
    import torch

    ax = sg.pl.indicatrices(fitted, where=where, **DRAWN, show=False)
    centers, _ = outlines(ax)
    metric = sg.get.model(fitted).metric(torch.as_tensor(centers, dtype=torch.float32)).numpy()
    radius = radii_in_the_data(ax, metric)
    # the same radius in the data in every direction, and everywhere
    assert radius.std() / radius.mean() < 1e-3


@for_each("where", ["data", "grid"])
def test_ellipses_neither_overlap_nor_vanish(fitted, where):
    adata = fitted.copy()
    sg.tl.geoae(adata, regularizer=None, key_added="vanilla", n_steps=200, progress_bar=False)
    for basis, kwargs in (("geoae", DRAWN), ("vanilla", {})):
        ax = sg.pl.indicatrices(adata, basis=basis, where=where, **kwargs, show=False)
        centers, points = outlines(ax)
        assert len(centers) > 8
        for i in range(len(centers)):
            # in coordinates where ellipse i is the unit circle, all others lie outside
            axes = np.linalg.svd(points[i] - centers[i], full_matrices=False)
            inside = np.linalg.norm((points - centers[i]) @ axes.Vh.T / axes.S * np.sqrt(100), axis=2) < 0.99
            assert inside.any(1).sum() <= 1
        pixels = np.ptp(ax.transData.transform(points.reshape(-1, 2)).reshape(points.shape), axis=1)
        assert np.median(pixels.max(1)) > 8  # at 100 dpi
        assert (pixels.max(1) > 1).all()


@for_each("n_tiles", [None, 4, 12])
def test_outlines_stand_for_many_cells_and_far_apart(both, n_tiles):
    ax = sg.pl.indicatrices(both, basis="umap", n_tiles=n_tiles, scale=0.01, outliers=True, show=False)
    z = both.obsm["X_umap"]
    at = z[cells_at(ax, both, "umap")]
    apart = np.linalg.norm(at[:, None] - at, axis=2)[np.triu_indices(len(at), 1)].min()
    longest = np.ptp(z, axis=0).max()
    width = longest / n_tiles if n_tiles else max(longest / n for n in range(1, 10) if longest / n <= apart * 1.0001)
    assert apart >= width
    assert 3 < len(at) <= (25 if n_tiles is None else n_tiles**2)
    distance = np.linalg.norm(z[:, None] - at, axis=2)
    n_near = (distance <= width / 2).sum(0)
    assert n_near.min() >= 0.01 * len(z)
    # every place with many cells has one near by
    crowd = (np.linalg.norm(z[:, None] - z, axis=2) <= width / 2).sum(1)
    assert crowd[distance.min(1) > 1.1 * width].max(initial=0) < 0.01 * len(z) + 5


def test_grid_and_cells(fitted):
    assert len(outlines(sg.pl.indicatrices(fitted, where="cells", show=False))[0]) == fitted.n_obs
    assert 8 < len(outlines(sg.pl.indicatrices(fitted, where="grid", show=False))[0]) <= 25


@for_each("size", [(3.2, 3), (6.4, 4.8)])
def test_ink(both, size):
    with plt.rc_context({"figure.figsize": size}):
        found = measure_ink(sg.pl.indicatrices(both, basis="umap", show=False))
    assert 5 < found.n_outlines <= 25
    assert 0 < found.covered <= 0.05
    assert found.lonely <= 0.1


def test_ink_is_measured_right():
    """A circle of radius 1 around the first of four cells, and one elsewhere, with strokes that are 0.2 wide."""
    _, ax = plt.subplots(figsize=(5, 5))
    ax.set_position((0, 0, 1, 1))
    ax.set(xlim=(0, 10), ylim=(0, 10))
    per_unit = 36  # points
    ax.scatter([2, 2, 2, 2], [2, 2.95, 3.25, 3.6], s=(0.5 * per_unit) ** 2)
    for fill, covered, touched in (("none", 0.25, 0.5), ("white", 0.5, 0.75)):
        circles = EllipseCollection(
            [2, 2], [2, 2], [0, 30], units="xy", offsets=[[2, 2], [8, 8]], offset_transform=ax.transData,
            facecolors=[fill], linewidths=0.2 * per_unit, edgecolors="black",
        )  # fmt: skip
        ax.add_collection(circles)
        assert measure_ink(ax) == pytest.approx((covered, touched, 0.5, 2))
        circles.remove()


def test_circles_of_one_size_are_one_circle_in_the_legend(fitted):
    ax = sg.pl.indicatrices(fitted, color="bulk_labels", show=False)
    assert not [c for c in ax.collections if isinstance(c, EllipseCollection)]
    words, _ = legend_of(ax)
    lengths, median = sizes_of(fitted, "geoae")
    within = np.quantile(np.exp(np.abs(np.log(lengths / median)).max(1)), 0.9) - 1
    assert within < 0.1
    assert words == (
        "The map draws a small circle of the data as this circle everywhere "
        f"(9 in 10 cells: within {100 * within:.0f}%)."
    )


@for_each("factor, are_drawn", [(1.09, False), (1.11, True)])
def test_circles_that_differ_by_a_tenth_are_drawn(fitted, factor, are_drawn):
    adata = fitted.copy()
    # a fifth of the cells have circles `factor` times as large as the others
    scale = np.where(np.arange(adata.n_obs) % 5 == 0, factor, 1.0)
    adata.obsm["geoae_metric"] = np.outer(scale**-2, [1, 0, 1]).astype(np.float32)
    ax = sg.pl.indicatrices(adata, show=False)
    assert bool([c for c in ax.collections if isinstance(c, EllipseCollection)]) == are_drawn
    words, _ = legend_of(ax)
    assert words.startswith("Outlines" if are_drawn else "The map draws")
    assert f"within {100 * (factor - 1):.0f}%)" in words


def test_legend_of_outlines(both):
    ax = sg.pl.indicatrices(both, basis="umap", show=False)
    words, diameter = legend_of(ax)
    lengths, median = sizes_of(both, "umap")
    factor = np.quantile(np.exp(np.abs(np.log(lengths / median)).max(1)), 0.9)
    assert words == (
        "Outlines: the same small circle of the data, as the map draws it. This one has the median size "
        f"(9 in 10 cells: within a factor of {factor:.2g})."
    )
    radius = radii_in_the_data(ax, sg.get.metric_tensors(both, key="umap")[cells_at(ax, both, "umap")])
    assert diameter == pytest.approx(2 * radius.mean() * median, rel=0.01)
    assert not legends(sg.pl.indicatrices(both, legend=False, show=False))


@for_each("size", [(3.2, 3), (6.4, 4.8)])
def test_legend_is_on_the_page(both, size):
    with plt.rc_context({"figure.figsize": size}):
        alone = sg.pl.indicatrices(both, basis="umap", show=False)
        pair = sg.pl.indicatrices(both, basis=["umap", "geoae"], color="bulk_labels", show=False)
    assert pair[0].get_position().width == pytest.approx(pair[1].get_position().width)
    for ax in (alone, *pair):
        ax.figure.canvas.draw()
        (box,) = legends(ax)
        extent, panel, label = box.get_window_extent(), ax.get_window_extent(), ax.xaxis.label.get_window_extent()
        assert extent.y0 >= 0
        assert extent.y1 <= label.y0
        assert panel.x0 - 1 <= extent.x0
        assert extent.x1 <= panel.x1 + 0.1 * panel.width


def test_maps_side_by_side_on_one_scale(both):
    pair = sg.pl.indicatrices(both, basis=["umap", "geoae"], color="bulk_labels", **DRAWN, show=False)
    assert [ax.get_title() for ax in pair] == ["umap", "geoae"]
    assert [ax.get_legend() is None for ax in pair] == [True, False]
    shares, spreads = [], []
    for ax, basis in zip(pair, ("umap", "geoae"), strict=True):
        centers, points = outlines(ax)
        x, y = np.moveaxis(points - centers[:, None], 2, 0)
        size = np.sqrt(np.abs(x[:, :-1] * y[:, 1:] - x[:, 1:] * y[:, :-1]).sum(1) / 2 / np.pi)
        # their sizes on the map are those of the metric
        metric = sg.get.metric_tensors(both, key=basis)[cells_at(ax, both, basis)]
        expected = np.linalg.det(metric) ** -0.25
        np.testing.assert_allclose(size / size[0], expected / expected[0], rtol=1e-2)
        # that of the median cell
        median = size[0] / expected[0] * sizes_of(both, basis)[1]
        assert legend_of(ax)[1] == pytest.approx(2 * median, rel=0.02)
        shares.append(median / data_box(both.obsm[f"X_{basis}"]).longest)
        spreads.append(size.max() / size.min())
    assert shares[0] == pytest.approx(shares[1], rel=1e-3)
    assert spreads[0] > 1.5 * spreads[1]
    # also where one map has no outlines
    diameters = [legend_of(ax)[1] for ax in sg.pl.indicatrices(both, basis=["umap", "geoae"], show=False)]
    longest = [data_box(both.obsm[f"X_{basis}"]).longest for basis in ("umap", "geoae")]
    assert diameters[0] / longest[0] == pytest.approx(diameters[1] / longest[1], rel=0.01)


@for_each("plot", [sg.pl.indicatrices, sg.pl.jacobian_heatmap])
def test_titles_of_a_row(both, plot):
    row = plot(both, basis=["umap", "geoae"], title=["UMAP", "ours"], show=False)
    assert [ax.get_title() for ax in row] == ["UMAP", "ours"]
    with pytest.raises(ValueError, match=r"Expected `title` to be one for each of 2 panels, found \['UMAP'\]"):
        plot(both, basis=["umap", "geoae"], title=["UMAP"], show=False)
    with pytest.raises(ValueError, match="draws both sides of one map, found 2 maps in `basis`; choose one side"):
        plot(both, basis=["umap", "geoae"], side="both", show=False)


def test_dark_background(both):
    with plt.style.context("dark_background"):
        ax = sg.pl.indicatrices(both, basis="umap", show=False)
        assert (ellipses(ax).get_edgecolor()[0, :3] == 1).all()


def test_lengths_are_equal_in_both_directions(fitted):
    ax = sg.pl.indicatrices(fitted, color="bulk_labels", show=False)
    ax.figure.canvas.draw()
    unit = ax.transData.transform([[0, 0], [1, 0], [0, 1]])
    assert unit[1, 0] - unit[0, 0] == pytest.approx(unit[2, 1] - unit[0, 1], rel=1e-6)


def test_ruler_has_a_round_length_in_units_of_the_representation(fitted):
    ax = sg.pl.indicatrices(fitted, show=False)
    (bar,) = [a for a in ax.artists if isinstance(a, AnchoredSizeBar)]
    about, number, unit = bar.txt_label.get_text().split(" ", 2)
    spread = sg.get.scores(fitted)["chord_spread"]
    assert (about, unit) == ("≈", f"units of X_pca, ± {100 * spread:.0f}%")
    assert number.lstrip("125") == "0" * (len(number) - 1)
    ax.figure.canvas.draw()
    left, right = bar.size_bar.get_children()[0].get_window_extent().get_points()[:, 0]
    per_unit = ax.transData.transform([[1, 0]])[0, 0] - ax.transData.transform([[0, 0]])[0, 0]
    assert right - left == pytest.approx(float(number) * per_unit, rel=0.02)
    without = sg.pl.indicatrices(fitted, ruler=False, show=False)
    assert not [a for a in without.artists if isinstance(a, AnchoredSizeBar)]


def test_scanpy_arguments_are_passed_on(fitted):
    _, ax = plt.subplots()
    returned = sg.pl.indicatrices(
        fitted, ax=ax, color="bulk_labels", groups=["Dendritic"], title="mine", size=3, legend_loc="on data", show=False
    )
    assert returned is ax
    assert ax.get_title() == "mine"
    assert "Dendritic" in [t.get_text() for t in ax.texts]


def test_genes_and_several_colors(fitted):
    axes = sg.pl.indicatrices(fitted, color=["CST3", "bulk_labels"], **DRAWN, show=False)
    assert [ax.get_title() for ax in axes] == ["CST3", "bulk_labels"]
    assert all(len(outlines(ax)[0]) > 8 for ax in axes)


def test_save(fitted, tmp_path):
    before = sc.settings.figdir
    try:
        sc.settings.figdir = tmp_path
        sg.pl.indicatrices(fitted, save=True, show=False)
        sg.pl.indicatrices(fitted, save="_mine.png", show=False)
    finally:
        sc.settings.figdir = before
    sg.pl.indicatrices(fitted, save=tmp_path / "new" / "exact.svg", show=False)
    found = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.*")}
    assert found == {
        f"indicatrices_geoae.{sc.settings.file_format_figs}",
        "indicatrices_geoae_mine.png",
        "new/exact.svg",
    }


def test_show_returns_nothing(fitted, monkeypatch):
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(True))
    assert sg.pl.indicatrices(fitted, show=True) is None
    assert shown


def test_outliers_do_not_press_the_others_into_a_corner(fitted):
    adata = fitted.copy()
    adata.obsm["X_geoae"] = adata.obsm["X_geoae"].copy()
    adata.obsm["X_geoae"][0] = [1e4, 0]
    ax = sg.pl.indicatrices(adata, show=False)
    assert ax.get_xlim()[1] < 200
    words = [a.txt.get_text() for a in ax.artists if isinstance(a, AnchoredText)]
    (n_outside,) = [int(text.removesuffix(" cells outside")) for text in words]
    (left, right), (bottom, top), (x, y) = ax.get_xlim(), ax.get_ylim(), adata.obsm["X_geoae"].T
    assert n_outside == np.count_nonzero((x < left) | (x > right) | (y < bottom) | (y > top)) >= 1
    whole = sg.pl.indicatrices(adata, outliers=True, show=False)
    assert whole.get_xlim()[1] > 1e4


def test_nothing_is_changed(fitted):
    adata = fitted.copy()
    sg.pl.indicatrices(adata, show=False)
    sg.pl.jacobian_heatmap(adata, show=False)
    assert set(adata.uns) == set(fitted.uns)
    assert np.array_equal(adata.obsm["X_geoae"], fitted.obsm["X_geoae"])


@for_each("plot", [sg.pl.indicatrices, sg.pl.jacobian_heatmap])
def test_bad_calls(plot, reduced, fitted, small):
    with pytest.raises(KeyError, match=r"run sg\.tl\.geoae\(adata\) first"):
        plot(reduced, show=False)
    sg.tl.geoae(small, n_components=3, n_steps=3, progress_bar=False)
    with pytest.raises(ValueError, match=r"draws maps of 2 dimensions, and .* has 3"):
        plot(small, show=False)
    damaged = fitted.copy()
    del damaged.obsm["geoae_metric"], damaged.obs["geoae_log_area"]
    with pytest.raises(KeyError, match=r"geoae_(metric|log_area)"):
        plot(damaged, show=False)
    assert not plt.get_fignums()


def test_bad_arguments(fitted):
    with pytest.raises(ValueError, match="`where` to be 'data', 'grid' or 'cells', found 'tiles'"):
        sg.pl.indicatrices(fitted, where="tiles", show=False)
    with pytest.raises(ValueError, match="`n_tiles` to be an integer >= 1 or None, found 0"):
        sg.pl.indicatrices(fitted, n_tiles=0, show=False)
    with pytest.raises(
        ValueError, match="With n_tiles=500, no place of 'geoae' has 1% of the cells around it; choose few"
    ):
        sg.pl.indicatrices(fitted, n_tiles=500, show=False)
    with pytest.raises(ValueError, match="`resolution` to be an integer >= 2, found 1"):
        sg.pl.jacobian_heatmap(fitted, resolution=1, show=False)


def test_a_single_place(small):
    """All cells on one spot of the map: nothing to see, but no crash."""
    sg.tl.geoae(small, n_steps=3, progress_bar=False)
    small.obsm["X_geoae"] = np.zeros_like(small.obsm["X_geoae"])
    sg.pl.indicatrices(small, show=False)
    sg.pl.jacobian_heatmap(small, show=False)


def test_subset_of_a_map(fitted):
    subset = fitted[fitted.obs["bulk_labels"] == "Dendritic"]
    assert len(outlines(sg.pl.indicatrices(subset, **DRAWN, show=False))[0]) > 5
    sg.pl.jacobian_heatmap(subset, show=False)


@for_each("where", ["data", "grid", "cells"])
def test_ellipses_of_the_encoder(fitted, where):
    ax = sg.pl.indicatrices(fitted, side="encoder", where=where, **DRAWN, show=False)
    if where == "grid":
        centers, _ = outlines(ax)
        metric = sg.tl.metric(fitted, at=centers, side="encoder").tensors
    else:
        metric = sg.get.metric_tensors(fitted, side="encoder")[cells_at(ax, fitted, "geoae")]
    radius = radii_in_the_data(ax, metric)
    assert radius.std() / radius.mean() < 1e-3


def test_both_sides_in_one_figure_on_one_scale(fitted):
    left, right = sg.pl.indicatrices(fitted, side="both", color="bulk_labels", **DRAWN, show=False)
    assert left.figure is right.figure
    assert [left.get_title(), right.get_title()] == ["decoder", "encoder"]
    # one legend, at the right
    assert left.get_legend() is None
    assert right.get_legend() is not None
    radii = []
    for ax, side in ((left, "decoder"), (right, "encoder")):
        metric = sg.get.metric_tensors(fitted, side=side)[cells_at(ax, fitted, "geoae")]
        radii.append(radii_in_the_data(ax, metric).mean())
    assert radii[0] == pytest.approx(radii[1], rel=1e-3)


@for_each("plot", [sg.pl.indicatrices, sg.pl.jacobian_heatmap])
def test_sides_refused(fitted, plot):
    with pytest.raises(ValueError, match="`side` to be 'decoder', 'encoder' or 'both', found 'left'"):
        plot(fitted, side="left", show=False)
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match="side='both' draws 2 panels, which one `ax` cannot hold"):
        plot(fitted, side="both", ax=ax, show=False)


def test_both_sides_take_one_color(fitted):
    with pytest.raises(ValueError, match=r"give one color, found \['n_genes', 'n_counts'\]"):
        sg.pl.indicatrices(fitted, side="both", color=["n_genes", "n_counts"], show=False)
