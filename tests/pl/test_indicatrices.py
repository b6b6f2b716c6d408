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

from ..for_each import for_each


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


@for_each("where", ["data", "grid", "cells"])
def test_ellipses_are_unit_circles_of_the_metric(fitted, where):
    import torch

    ax = sg.pl.indicatrices(fitted, where=where, show=False)
    centers, points = outlines(ax)
    metric = sg.get.model(fitted).metric(torch.as_tensor(centers, dtype=torch.float32)).numpy()
    delta = points - centers[:, None]
    radius = np.sqrt(np.einsum("nka,nab,nkb->nk", delta, metric, delta))
    # the same radius in the data in every direction, and everywhere
    assert radius.std() / radius.mean() < 1e-3


@for_each("where", ["data", "grid"])
def test_ellipses_neither_overlap_nor_vanish(fitted, where):
    adata = fitted.copy()
    sg.tl.geoae(adata, regularizer=None, key_added="vanilla", progress_bar=False)
    for basis in ("geoae", "vanilla"):
        ax = sg.pl.indicatrices(adata, basis=basis, where=where, show=False)
        centers, points = outlines(ax)
        assert len(centers) > 50
        for i in range(len(centers)):
            # in coordinates where ellipse i is the unit circle, all others lie outside
            axes = np.linalg.svd(points[i] - centers[i], full_matrices=False)
            inside = np.linalg.norm((points - centers[i]) @ axes.Vh.T / axes.S * np.sqrt(100), axis=2) < 0.99
            assert inside.any(1).sum() <= 1
        pixels = np.ptp(ax.transData.transform(points.reshape(-1, 2)).reshape(points.shape), axis=1)
        assert np.median(pixels.max(1)) > 8  # at 100 dpi
        assert (pixels.max(1) > 1).all()


def test_one_ellipse_per_occupied_tile(fitted):
    ax = sg.pl.indicatrices(fitted, n_tiles=6, scale=0.01, outliers=True, show=False)
    centers, _ = outlines(ax)
    z = fitted.obsm["X_geoae"]
    assert all((np.abs(z - c) < 1e-4).all(1).any() for c in centers)
    box_low = z.min(0)
    width = np.ptp(z, axis=0).max() / 6
    assert len({tuple(t) for t in np.floor((centers - box_low) / width).astype(int)}) >= len(centers) - 2
    assert len(outlines(sg.pl.indicatrices(fitted, where="cells", show=False))[0]) == fitted.n_obs


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
    axes = sg.pl.indicatrices(fitted, color=["CST3", "bulk_labels"], show=False)
    assert [ax.get_title() for ax in axes] == ["CST3", "bulk_labels"]
    assert all(len(outlines(ax)[0]) > 50 for ax in axes)


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
    del damaged.obsm["geoae_metric"]
    with pytest.raises(KeyError, match="geoae_metric"):
        plot(damaged, show=False)
    assert not plt.get_fignums()


def test_bad_arguments(fitted):
    with pytest.raises(ValueError, match="`where` to be 'data', 'grid' or 'cells', found 'tiles'"):
        sg.pl.indicatrices(fitted, where="tiles", show=False)
    with pytest.raises(ValueError, match="`n_tiles` to be an integer >= 1, found 0"):
        sg.pl.indicatrices(fitted, n_tiles=0, show=False)
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
    assert len(outlines(sg.pl.indicatrices(subset, show=False))[0]) > 5
    sg.pl.jacobian_heatmap(subset, show=False)


@for_each("where", ["data", "grid", "cells"])
def test_ellipses_of_the_encoder(fitted, where):
    ax = sg.pl.indicatrices(fitted, side="encoder", where=where, show=False)
    centers, points = outlines(ax)
    if where == "grid":
        metric = sg.tl.metric(fitted, at=centers, side="encoder").tensors
    else:
        cell = np.abs(np.asarray(centers)[:, None] - fitted.obsm["X_geoae"]).max(2).argmin(1)
        metric = sg.get.metric_tensors(fitted, side="encoder")[cell]
    delta = points - centers[:, None]
    radius = np.sqrt(np.einsum("nka,nab,nkb->nk", delta, metric, delta))
    assert radius.std() / radius.mean() < 1e-3


def test_both_sides_in_one_figure_on_one_scale(fitted):
    left, right = sg.pl.indicatrices(fitted, side="both", color="bulk_labels", show=False)
    assert left.figure is right.figure
    assert [left.get_title(), right.get_title()] == ["decoder", "encoder"]
    # one legend, at the right
    assert left.get_legend() is None
    assert right.get_legend() is not None
    radii = []
    for ax, side in ((left, "decoder"), (right, "encoder")):
        centers, points = outlines(ax)
        cell = np.abs(np.asarray(centers)[:, None] - fitted.obsm["X_geoae"]).max(2).argmin(1)
        metric = sg.get.metric_tensors(fitted, side=side)[cell]
        delta = points - centers[:, None]
        radii.append(np.sqrt(np.einsum("nka,nab,nkb->nk", delta, metric, delta)).mean())
    assert radii[0] == pytest.approx(radii[1], rel=1e-3)


@for_each("plot", [sg.pl.indicatrices, sg.pl.jacobian_heatmap])
def test_sides_refused(fitted, plot):
    with pytest.raises(ValueError, match="`side` to be 'decoder', 'encoder' or 'both', found 'left'"):
        plot(fitted, side="left", show=False)
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match="side='both' draws two panels, which one `ax` cannot hold"):
        plot(fitted, side="both", ax=ax, show=False)


def test_both_sides_take_one_color(fitted):
    with pytest.raises(ValueError, match=r"give one color, found \['n_genes', 'n_counts'\]"):
        sg.pl.indicatrices(fitted, side="both", color=["n_genes", "n_counts"], show=False)
