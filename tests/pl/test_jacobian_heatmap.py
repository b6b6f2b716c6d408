from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.collections import QuadMesh
from scipy.spatial import cKDTree

import scgeoae as sg

from ..for_each import for_each


def parts(ax):
    (mesh,) = [c for c in ax.collections if isinstance(c, QuadMesh)]
    return ax.collections[0], mesh


def test_cells_and_background_share_one_scale(fitted):
    ax = sg.pl.jacobian_heatmap(fitted, background=True, show=False)
    cells, mesh = parts(ax)
    for artist in (cells, mesh):
        assert artist.norm.vmin == -artist.norm.vmax
        assert artist.norm(0) == 0.5
    assert cells.norm.vmax == mesh.norm.vmax == pytest.approx(np.log10(4))
    # not sorted, or the largest values would lie on top
    np.testing.assert_allclose(cells.get_array(), fitted.obs["geoae_log_area"], atol=1e-6)
    np.testing.assert_allclose(cells.get_offsets(), fitted.obsm["X_geoae"], atol=1e-5)


def test_a_good_map_is_calm_and_a_umap_is_not(both):
    pair = sg.pl.jacobian_heatmap(both, basis=["umap", "geoae"], show=False)
    assert [ax.get_title() for ax in pair] == ["umap", "geoae"]
    # one bar for both
    assert len(pair[0].figure.axes) == 3
    middle = np.array(pair[0].collections[0].cmap(0.5))
    strength = []
    for ax in pair:
        cells = ax.collections[0]
        assert cells.norm.vmax == pytest.approx(np.log10(4))
        assert not [c for c in ax.collections if isinstance(c, QuadMesh)]
        strength.append(np.abs(cells.to_rgba(cells.get_array()) - middle).max(1))
    assert np.quantile(strength[1], 0.9) < 0.1
    assert np.quantile(strength[0], 0.75) > 0.25


def test_background_is_the_jacobian_on_the_support(fitted):
    ax = sg.pl.jacobian_heatmap(fitted, background=True, show=False)
    _, mesh = parts(ax)
    corners = mesh.get_coordinates()
    centers = (corners[:-1, :-1] + corners[1:, 1:]) / 2
    values = mesh.get_array()
    drawn = ~np.ma.getmaskarray(values)
    jacobian = sg.get.model(fitted).jacobian(torch.as_tensor(centers[drawn], dtype=torch.float32))
    area = torch.linalg.svdvals(jacobian).prod(1).numpy()
    at_cells = sg.get.model(fitted).jacobian(torch.from_numpy(fitted.obsm["X_geoae"]))
    mean = torch.linalg.svdvals(at_cells).prod(1).mean().item()
    np.testing.assert_allclose(values[drawn], np.log10(area / mean), atol=1e-4)
    # only near cells
    gap = np.linalg.norm(centers[drawn][:, None] - fitted.obsm["X_geoae"], axis=2)
    assert gap.min(1).max() < np.ptp(fitted.obsm["X_geoae"], axis=0).max() / 47
    assert 0.05 < drawn.mean() < 0.5


@for_each(
    "vmax, words",
    [
        (None, ["4× smaller", "2× smaller", "as it looks", "2× larger", "4× larger"]),
        (1.3, ["1.3× smaller", "1.1× smaller", "as it looks", "1.1× larger", "1.3× larger"]),
    ],
)
def test_color_bar_says_what_it_shows(fitted, vmax, words):
    ax = sg.pl.jacobian_heatmap(fitted, **({} if vmax is None else {"vmax": vmax}), show=False)
    (bar,) = [a for a in ax.figure.axes if a is not ax]
    assert bar.get_ylabel() == "area in the data"
    assert [text.get_text() for text in bar.get_yticklabels()] == words
    limit = np.log10(vmax or 4)
    np.testing.assert_allclose(bar.get_yticks(), np.linspace(-limit, limit, 5), atol=1e-12)


@for_each("size", [(3.2, 3), (6.4, 4.8)])
@for_each("basis", ["geoae", ["geoae", "X_geoae"]])
def test_color_bar_is_on_the_page(fitted, size, basis):
    with plt.rc_context({"figure.figsize": size}):
        figure = sg.pl.jacobian_heatmap(fitted, basis=basis, return_fig=True)
    figure.canvas.draw()
    extent = figure.axes[-1].get_tightbbox()
    assert extent.x1 < figure.bbox.x1
    *panels, _ = figure.axes
    assert len({round(panel.get_position().width, 6) for panel in panels}) == 1
    assert panels[-1].get_window_extent().x1 < extent.x0


def test_options(fitted, tmp_path):
    ax = sg.pl.jacobian_heatmap(fitted, vmax=2, cmap="PiYG", title="mine", save=tmp_path / "x.png", show=False)
    assert not [c for c in ax.collections if isinstance(c, QuadMesh)]
    assert ax.collections[0].norm.vmax == pytest.approx(np.log10(2))
    assert ax.collections[0].cmap.name == "PiYG"
    assert ax.get_title() == "mine"
    assert (tmp_path / "x.png").stat().st_size > 10_000


@for_each("vmax", [1, 0.5, -2, float("inf"), float("nan")])
def test_a_color_scale_without_room(fitted, vmax):
    with pytest.raises(ValueError, match="Expected `vmax` to be a factor of area above 1, such as 4, found"):
        sg.pl.jacobian_heatmap(fitted, vmax=vmax, show=False)


def test_a_perfect_map_has_a_color_scale(small):
    sg.tl.geoae(small, n_steps=3, progress_bar=False)
    small.obs["geoae_log_area"] = 0.0
    ax = sg.pl.jacobian_heatmap(small, vmax="p99", show=False)
    assert ax.collections[0].norm.vmax == pytest.approx(np.log10(1.01))


def test_color_is_what_the_plot_is_about(fitted):
    with pytest.raises(TypeError, match="color"):
        sg.pl.jacobian_heatmap(fitted, color="bulk_labels", show=False)


def test_a_subset_keeps_the_mean_of_the_whole_run(fitted):
    subset = fitted[fitted.obs["bulk_labels"] == "Dendritic"].copy()
    whole, part = (parts(sg.pl.jacobian_heatmap(a, background=True, show=False)) for a in (fitted, subset))
    np.testing.assert_allclose(np.sort(part[0].get_array()), np.sort(subset.obs["geoae_log_area"]), atol=1e-6)

    def background_at(mesh, z):
        corners = mesh.get_coordinates()
        centers = ((corners[:-1, :-1] + corners[1:, 1:]) / 2).reshape(-1, 2)
        return np.asarray(mesh.get_array()).ravel()[cKDTree(centers).query(z)[1]]

    z = subset.obsm["X_geoae"]
    np.testing.assert_allclose(background_at(part[1], z), background_at(whole[1], z), atol=0.02)


def test_both_sides_with_the_same_colors(fitted):
    left, right = sg.pl.jacobian_heatmap(fitted, side="both", resolution=40, show=False)
    assert [left.get_title(), right.get_title()] == ["decoder", "encoder"]
    for ax, suffix in ((left, ""), (right, "_encoder")):
        cells = ax.collections[0]
        column = fitted.obs[f"geoae_log_area{suffix}"]
        # scanpy draws the largest values last
        np.testing.assert_allclose(np.sort(cells.get_array()), np.sort(column), atol=1e-6)
        assert cells.norm.vmax == left.collections[0].norm.vmax
    assert len(left.figure.axes) == 3


def test_background_of_the_encoder_agrees_with_tl_metric(fitted):
    ax = sg.pl.jacobian_heatmap(fitted, side="encoder", background=True, resolution=40, show=False)
    mesh = next(c for c in ax.collections if isinstance(c, QuadMesh))
    corners = mesh.get_coordinates()
    centers = (corners[:-1, :-1] + corners[1:, 1:]) / 2
    drawn = mesh.get_array()
    shown = ~np.ma.getmaskarray(drawn)
    tensors = sg.tl.metric(fitted, at=centers[shown], side="encoder").tensors
    mean = np.sqrt(np.linalg.det(sg.get.metric_tensors(fitted, side="encoder"))).mean()
    expected = np.log10(np.sqrt(np.linalg.det(tensors)) / mean)
    np.testing.assert_allclose(drawn[shown], expected, atol=0.02)
