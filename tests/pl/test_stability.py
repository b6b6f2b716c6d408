from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import EllipseCollection
from matplotlib.colors import to_rgba
from matplotlib.transforms import Affine2D

import scgeoae as sg
from scgeoae.pl._stability import WORDS


@pytest.fixture(scope="module")
def measured(fitted):
    """Ellipses of known size: twice as wide as high, wider to the right. Do not change: take a copy."""
    adata = fitted.copy()
    z = adata.obsm["X_geoae"]
    half = 0.2 + 0.3 * (z[:, 0] - z[:, 0].min()) / np.ptp(z[:, 0])
    turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    shape = np.square(half)[:, None, None] * (turn @ np.diag([4.0, 1.0]) @ turn.T)
    adata.obsm["geoae_stability"] = shape[:, [0, 0, 1], [0, 1, 1]].astype(np.float32)
    adata.obs["geoae_uncertainty"] = (2 * half).astype(np.float32)
    return adata


def outlines(ax):
    (found,) = [c for c in ax.collections if isinstance(c, EllipseCollection)]
    return found


def test_outlines_are_the_stored_ellipses_of_the_cells_in_their_middle(measured):
    ax = sg.pl.stability(measured, color="bulk_labels", show=False)
    found = outlines(ax)
    centers = np.asarray(found.get_offsets())
    gap = np.abs(centers[:, None] - measured.obsm["X_geoae"]).max(2)
    cells = gap.argmin(1)
    assert gap.min(1).max() < 1e-5
    assert 5 <= len(cells) <= 25
    np.testing.assert_allclose(found.get_widths(), 2 * measured.obs["geoae_uncertainty"].iloc[cells], rtol=1e-4)
    np.testing.assert_allclose(found.get_heights(), found.get_widths() / 2, rtol=1e-4)
    np.testing.assert_allclose(found.get_angles() % 180, np.degrees(0.3), rtol=1e-3)
    # on the axes: all points of an outline fulfil vᵀ S⁻¹ v = 1
    angle = np.linspace(0, 2 * np.pi, 20)
    half = np.array([found.get_widths()[0], found.get_heights()[0]]) / 2
    points = Affine2D().rotate_deg(found.get_angles()[0]).transform(np.stack([np.cos(angle), np.sin(angle)], 1) * half)
    shape = measured.obsm["geoae_stability"][cells[0]][[0, 1, 1, 2]].reshape(2, 2)
    np.testing.assert_allclose(np.einsum("na,ab,nb->n", points, np.linalg.inv(shape), points), 1, rtol=1e-3)
    dots = ax.collections[-1]
    np.testing.assert_allclose(dots.get_offsets(), centers)


def test_outlines_do_not_overlap_and_the_densest_places_come_first(measured):
    adata = measured.copy()
    few = outlines(sg.pl.stability(adata, color="bulk_labels", show=False)).get_offsets()
    adata.obsm["geoae_stability"] = 10_000 * adata.obsm["geoae_stability"]
    (only,) = np.asarray(outlines(sg.pl.stability(adata, color="bulk_labels", show=False)).get_offsets())
    assert (only == few[0]).all()


def test_cells_have_the_color_of_their_uncertainty_unless_another_is_given(measured):
    figure = sg.pl.stability(measured, return_fig=True)
    ax, bar = figure.axes
    assert bar.get_ylabel() == "uncertainty (units of the map)"
    cells = next(c for c in ax.collections if len(c.get_offsets()) == measured.n_obs)
    np.testing.assert_allclose(np.sort(cells.get_array()), np.sort(measured.obs["geoae_uncertainty"]), rtol=1e-5)
    top = np.percentile(measured.obs["geoae_uncertainty"], 98)
    assert cells.get_clim() == pytest.approx((0, top))


def test_the_legend_says_what_an_outline_holds(measured):
    axes = sg.pl.stability(measured, color=["bulk_labels", "phase"], edgecolor="red", show=False)
    for ax in axes:
        (legend,) = [a for a in ax.artists if a.get_gid() == "indicatrices"]
        assert " ".join(legend.get_children()[0].get_children()[1].get_text().split()) == WORDS
        assert tuple(outlines(ax).get_edgecolor()[0]) == to_rgba("red")
    ax = sg.pl.stability(measured, legend=False, show=False)
    assert not [a for a in ax.artists if a.get_gid() == "indicatrices"]


def test_without_stability_the_call_that_measures_it_is_named(fitted, measured):
    with pytest.raises(KeyError, match=r"run sg.tl.stability\(adata\) first"):
        sg.pl.stability(fitted, show=False)
    adata = measured.copy()
    adata.obsm["geoae_stability"][3] = np.nan
    with pytest.raises(ValueError, match=r"1 of 700 ellipses .* run sg.tl.stability\(adata\) again"):
        sg.pl.stability(adata, show=False)
    adata = fitted.copy()
    adata.obsm["X_mine"] = np.zeros((700, 3))
    with pytest.raises(ValueError, match="draws maps of 2 dimensions"):
        sg.pl.stability(adata, basis="mine", show=False)


def test_a_map_by_another_method_does_not_send_to_a_call_that_fails(fitted):
    with pytest.raises(ValueError, match=r"made again; run sg.tl.geoae\(adata\) and sg.tl.stability\(adata\)"):
        sg.pl.stability(fitted, basis="umap", show=False)


def test_a_rare_group_gets_an_outline_or_is_named_in_the_legend(measured):
    adata = measured.copy()
    z = adata.obsm["X_geoae"]
    is_near = np.linalg.norm(z - z[0], axis=1) <= np.sort(np.linalg.norm(z - z[0], axis=1))[2]
    adata.obs["rare"] = np.where(is_near, "three", "others")

    def drawn():
        ax = sg.pl.stability(adata, color="rare", show=False)
        (legend,) = [a for a in ax.artists if a.get_gid() == "indicatrices"]
        words = " ".join(legend.get_children()[0].get_children()[1].get_text().split())
        centers = np.asarray(outlines(ax).get_offsets())
        return centers, words

    adata.obsm["geoae_stability"] = 0.01 * adata.obsm["geoae_stability"]
    centers, words = drawn()
    assert np.abs(centers[:, None] - z[is_near]).max(2).min() < 1e-5
    assert words == WORDS
    adata.obsm["geoae_stability"] = 1e6 * adata.obsm["geoae_stability"]
    centers, words = drawn()
    assert len(centers) == 1
    assert words == f"{WORDS} There is no room for one of three."
