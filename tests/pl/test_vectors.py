from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from matplotlib.patches import FancyArrow
from matplotlib.quiver import Quiver

import scgeoae as sg
from scgeoae.nn import Autoencoder

from ..for_each import for_each
from ..planted import plant


@pytest.fixture
def flat():
    """1,000 cells on a plane that is a tenth of the map, with vectors that turn and partly leave it."""
    rng = np.random.default_rng(0)
    z = rng.uniform(-10, 10, size=(1000, 2))
    model = Autoencoder(5, hidden=(4,)).start_at(center=torch.zeros(5), scale=torch.tensor(1.0), axes=torch.eye(5)[:2])
    with torch.no_grad():
        model.decoder.linear.mul_(0.1)
    x = np.column_stack([0.1 * z, rng.normal(size=(1000, 3))])
    adata = plant(AnnData(x.astype(np.float32)), model, z, "X")
    adata.obs["group"] = pd.Categorical(np.where(z[:, 0] > 0, "right", "left"))
    adata.uns["geoae"]["scores"]["chord"] = 10.0  # lengths on the map relative to those in the data
    drift = np.zeros((1000, 5))
    drift[:, 0], drift[:, 1] = -0.1 * z[:, 1], 0.1 * z[:, 0]
    drift[:, 2] = np.linalg.norm(drift, axis=1) * np.where(z[:, 0] > 0, 3, 0)
    sg.tl.project_vectors(adata, drift, key_added="drift")
    return adata


def arrows(ax):
    (found,) = [artist for artist in ax.collections if isinstance(artist, Quiver)]
    return found


def sample(ax):
    """The arrow of the legend, and its words."""
    (box,) = [artist for artist in ax.artists if artist.get_gid() == "vectors"]
    (arrow,) = box.findobj(FancyArrow)
    words = " ".join(text.get_text() for text in box.findobj(plt.Text))
    return arrow.get_xy()[:, 0].max() - arrow.get_xy()[:, 0].min(), " ".join(words.split())


def test_an_arrow_is_the_mean_of_the_cells_in_a_tile(flat):
    ax = sg.pl.vectors(flat, "drift", n_tiles=8, color="group", show=False)
    found, z, steps = arrows(ax), flat.obsm["X_geoae"], flat.obsm["drift_geoae"]
    width = np.ptp(z, axis=0).max() / 8
    tile = pd.Series(map(tuple, np.floor((z - z.min(0)) / width).astype(int)))
    means = pd.DataFrame(np.column_stack([z, steps])).groupby(tile).mean().to_numpy()
    order, expected = np.lexsort(found.get_offsets().T), means[np.lexsort(means[:, :2].T)]
    np.testing.assert_allclose(found.get_offsets()[order], expected[:, :2], rtol=1e-5)
    drawn = np.column_stack([found.U, found.V])[order]
    factor = np.linalg.norm(drawn, axis=1) / np.linalg.norm(expected[:, 2:], axis=1)
    np.testing.assert_allclose(factor, factor[0], rtol=1e-4)
    np.testing.assert_allclose(drawn, factor[0] * expected[:, 2:], atol=1e-4)
    # drawn in units of the map, nine in ten at most a tile and a half long
    assert (found.angles, found.scale_units, found.scale) == ("xy", "xy", 1)
    assert np.quantile(np.linalg.norm(drawn, axis=1), 0.9) == pytest.approx(1.5 * width)
    # a tenth of an arrow on the map is its length in the data
    length, words = sample(ax)
    in_data = float(words.removeprefix("Arrow: ≈ ").split(" ")[0])
    assert length == pytest.approx(factor[0] * 10 * in_data)
    assert f"≈ {in_data:g} units of X." in words or f"≈ {in_data:g} unit of X." in words
    twice = arrows(sg.pl.vectors(flat, "drift", n_tiles=8, scale=2, show=False))
    np.testing.assert_allclose(twice.U, 2 * found.U, rtol=1e-5)


def test_arrows_that_leave_the_surface_are_pale(flat):
    ax = sg.pl.vectors(flat, "drift", show=False)
    is_left = arrows(ax).get_offsets()[:, 0] < -1
    is_right = arrows(ax).get_offsets()[:, 0] > 1
    opacity = arrows(ax).get_facecolor()[:, 3]
    np.testing.assert_allclose(opacity[is_left], 1, atol=1e-6)
    # a tenth of the squared length remains
    np.testing.assert_allclose(opacity[is_right], np.sqrt(0.1), rtol=1e-4)
    assert "Pale arrows leave the surface (median:" in sample(ax)[1]
    ax = sg.pl.vectors(flat, "drift", fade=False, arrow_color="red", show=False)
    np.testing.assert_allclose(arrows(ax).get_facecolor(), [[1, 0, 0, 1]] * len(arrows(ax).U))
    assert "Pale" not in sample(ax)[1]


def test_arrows_of_cells(flat):
    ax = sg.pl.vectors(flat[::-1], "drift", where="cells", legend=False, show=False)
    flat = flat[::-1].copy()
    np.testing.assert_allclose(arrows(ax).get_offsets(), flat.obsm["X_geoae"])
    drawn, steps = np.column_stack([arrows(ax).U, arrows(ax).V]), flat.obsm["drift_geoae"]
    lengths = np.linalg.norm(drawn, axis=1) * np.linalg.norm(steps, axis=1)
    np.testing.assert_allclose((drawn * steps).sum(1), lengths, rtol=1e-5)
    assert not [artist for artist in ax.artists if artist.get_gid() == "vectors"]


def test_tiles_with_few_cells_have_no_arrow(flat):
    part = flat[:60].copy()
    found = arrows(sg.pl.vectors(part, "drift", show=False))
    assert 1 <= len(found.U) <= 12
    assert len(arrows(sg.pl.vectors(part, "drift", n_tiles=30, show=False)).U) > 40
    assert len(arrows(sg.pl.vectors(flat[:3].copy(), "drift", show=False)).U) == 1


@for_each("n, options", [(1, {}), (1000, {"scale": 100})])
def test_the_arrow_of_the_legend_fits(flat, n, options):
    ax = sg.pl.vectors(flat[:n].copy(), "drift", show=False, **options)
    size = ax.figure.get_size_inches().copy()
    ax.figure.canvas.draw()
    assert 0 < sample(ax)[0] <= np.ptp(ax.get_xlim()) / 2
    assert size.max() < 10
    assert ax.figure.get_size_inches().max() < 10


def test_vectors_of_length_zero(flat):
    sg.tl.project_vectors(flat, np.zeros((1000, 5)), key_added="nothing")
    ax = sg.pl.vectors(flat, "nothing", show=False)
    assert not np.any([arrows(ax).U, arrows(ax).V])


def test_several_colors_and_given_axes(flat):
    panels = sg.pl.vectors(flat, "drift", color=["group", None], show=False)
    assert len(panels) == 2
    assert all(len(arrows(panel).U) for panel in panels)
    _, ax = plt.subplots()
    assert sg.pl.vectors(flat, "drift", ax=ax, show=False) is ax


def test_errors(flat):
    with pytest.raises(KeyError, match=r"run sg.tl.project_vectors\(adata, 'velocity'\) first"):
        sg.pl.vectors(flat, show=False)
    with pytest.raises(ValueError, match="to be 'tiles' or 'cells'"):
        sg.pl.vectors(flat, "drift", where="grid", show=False)
    with pytest.raises(TypeError, match="Expected `vectors` to be a name"):
        sg.pl.vectors(flat, ["drift"], show=False)
    # scvelo writes its own arrows there
    for other in (flat.obsm["drift_geoae"].astype(float) * 0.01, flat.obsm["drift_geoae"][:, :1]):
        flat.obsm["drift_geoae"] = other
        with pytest.raises(
            ValueError,
            match=r"vectors in .*'\] do not have .* replaced .* scv.tl.velocity_embedding\(adata, basis='geoae'\)",
        ):
            sg.pl.vectors(flat, "drift", show=False)
