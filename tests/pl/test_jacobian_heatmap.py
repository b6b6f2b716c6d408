from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.collections import QuadMesh
from scipy.spatial import cKDTree

import scgeoae as sg


def parts(ax):
    (mesh,) = [c for c in ax.collections if isinstance(c, QuadMesh)]
    return ax.collections[0], mesh


def test_cells_and_background_share_one_scale(fitted):
    ax = sg.pl.jacobian_heatmap(fitted, show=False)
    cells, mesh = parts(ax)
    for artist in (cells, mesh):
        assert artist.norm.vmin == -artist.norm.vmax
        assert artist.norm(0) == 0.5
    assert cells.norm.vmax == mesh.norm.vmax >= 0.1
    # Scanpy draws high values last
    np.testing.assert_allclose(np.sort(cells.get_array()), np.sort(fitted.obs["geoae_log_area"]), atol=1e-6)


def test_background_is_the_jacobian_on_the_support(fitted):
    ax = sg.pl.jacobian_heatmap(fitted, show=False)
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
    # only near cells, and around every cell in view
    gap = np.linalg.norm(centers[drawn][:, None] - fitted.obsm["X_geoae"], axis=2)
    assert gap.min(1).max() < np.ptp(fitted.obsm["X_geoae"], axis=0).max() / 25
    assert 0.05 < drawn.mean() < 0.9


def test_color_bar_says_what_it_shows(fitted):
    ax = sg.pl.jacobian_heatmap(fitted, show=False)
    bars = [a for a in ax.figure.axes if a is not ax]
    assert [bar.get_ylabel() for bar in bars] == [r"$\log_{10}$ ($\sqrt{\det G}$ / mean)"]


def test_options(fitted, tmp_path):
    ax = sg.pl.jacobian_heatmap(
        fitted, vmax=0.5, background=False, cmap="PiYG", title="mine", save=tmp_path / "x.png", show=False
    )
    assert not [c for c in ax.collections if isinstance(c, QuadMesh)]
    assert ax.collections[0].norm.vmax == 0.5
    assert ax.collections[0].cmap.name == "PiYG"
    assert ax.get_title() == "mine"
    assert (tmp_path / "x.png").stat().st_size > 10_000


def test_color_is_what_the_plot_is_about(fitted):
    with pytest.raises(TypeError, match="color"):
        sg.pl.jacobian_heatmap(fitted, color="bulk_labels", show=False)


def test_a_subset_keeps_the_mean_of_the_whole_run(fitted):
    subset = fitted[fitted.obs["bulk_labels"] == "Dendritic"].copy()
    whole, part = (parts(sg.pl.jacobian_heatmap(a, vmax=1, show=False)) for a in (fitted, subset))
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
    labels = [a.get_ylabel() for a in left.figure.axes if a not in (left, right)]
    assert ["G" in labels[0], "P" in labels[1]] == [True, True]


def test_background_of_the_encoder_agrees_with_tl_metric(fitted):
    ax = sg.pl.jacobian_heatmap(fitted, side="encoder", resolution=40, show=False)
    mesh = next(c for c in ax.collections if isinstance(c, QuadMesh))
    corners = mesh.get_coordinates()
    centers = (corners[:-1, :-1] + corners[1:, 1:]) / 2
    drawn = mesh.get_array()
    shown = ~np.ma.getmaskarray(drawn)
    tensors = sg.tl.metric(fitted, at=centers[shown], side="encoder").tensors
    mean = np.sqrt(np.linalg.det(sg.get.metric_tensors(fitted, side="encoder"))).mean()
    expected = np.log10(np.sqrt(np.linalg.det(tensors)) / mean)
    np.testing.assert_allclose(drawn[shown], expected, atol=0.02)
