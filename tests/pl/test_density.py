from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import LogNorm

import scgeoae as sg


@pytest.fixture(scope="module")
def compared(fitted):
    """A map on which phases are compared. Do not change: take a copy."""
    return sg.tl.density(fitted, groupby="phase", reference="G1", copy=True)


def cells(ax, n=700):
    return next(found for found in ax.collections if len(found.get_offsets()) == n)


def bar(ax):
    """Return the color bar to the right of a panel."""
    x, y = ax.get_position().x1, ax.get_position().y0
    others = [other for other in ax.figure.axes if other.get_label() == "<colorbar>"]
    return min(others, key=lambda o: abs(o.get_position().x0 - x) + 3 * abs(o.get_position().y0 - y))


def test_density_of_all_cells(compared):
    adata = sg.tl.density(compared, copy=True)
    ax = sg.pl.density(adata, show=False)
    drawn = cells(ax)
    np.testing.assert_array_equal(drawn.get_array(), adata.obs["geoae_density"])
    np.testing.assert_allclose(drawn.get_offsets(), adata.obsm["X_geoae"])
    assert isinstance(drawn.norm, LogNorm)
    limits = np.percentile(adata.obs["geoae_density"], [1, 99])
    np.testing.assert_allclose([drawn.norm.vmin, drawn.norm.vmax], limits)
    assert bar(ax).get_ylabel() == "cells per squared unit of X_pca"


def test_conditions_and_their_ratios(compared):
    *densities, g2m, s = sg.pl.density(compared, max_fdr=0.05, max_ratio=4, show=False)
    assert [ax.get_title() for ax in densities] == ["G1", "G2M", "S"]
    assert [ax.get_title() for ax in (g2m, s)] == ["G2M / G1", "S / G1"]
    norms = [cells(ax).norm for ax in densities]
    assert len({(norm.vmin, norm.vmax) for norm in norms}) == 1
    np.testing.assert_array_equal(cells(densities[1]).get_array(), compared.obs["geoae_density_G2M"])
    # none is drawn without a color, as those of density 0 would be
    assert not np.ma.is_masked(norms[1](cells(densities[1]).get_array()))
    drawn = cells(s)
    is_gray = (compared.obs["geoae_fdr_S"] > 0.05).to_numpy()
    assert 0 < is_gray.sum() < 700
    shown = drawn.get_array()
    assert np.ma.getmaskarray(shown).sum() == is_gray.sum()
    # gray ones are below
    order = np.argsort(~is_gray, kind="stable")
    np.testing.assert_allclose(drawn.get_offsets(), compared.obsm["X_geoae"][order])
    np.testing.assert_allclose(shown.compressed(), compared.obs["geoae_log_ratio_S"][~is_gray])
    assert (drawn.norm.vmin, drawn.norm.vmax) == (-2, 2)
    assert bar(s).get_ylabel() == "log2 ratio of densities\n(gray: FDR > 0.05)"


def test_some_conditions(compared):
    assert [ax.get_title() for ax in sg.pl.density(compared, conditions="S", show=False)] == ["S", "S / G1"]
    assert sg.pl.density(compared, conditions=["G1"], show=False).get_title() == "G1"


def test_two_conditions_have_one_ratio(fitted):
    adata = fitted.copy()
    adata.obs["half"] = np.arange(700) % 2
    sg.tl.density(adata, groupby="half")
    axes = sg.pl.density(adata, show=False)
    assert [ax.get_title() for ax in axes] == ["0", "1", "1 / 0"]
    # in one row
    assert len({round(ax.get_position().y0, 2) for ax in axes}) == 1
    np.testing.assert_array_equal(np.sort(cells(axes[2]).get_array().data), np.sort(adata.obs["geoae_log_ratio_1"]))


def test_errors(compared, fitted):
    with pytest.raises(KeyError, match=r"geoae_density'\]; run sg.tl.density\(adata\) first"):
        sg.pl.density(fitted, show=False)
    with pytest.raises(KeyError, match=r"umap_density'\]; run sg.tl.density\(adata, key='umap'\) first"):
        sg.pl.density(fitted, basis="umap", show=False)
    with pytest.raises(TypeError, match=r"got it as `key`; run sg.pl.density\(adata, basis='umap'\)"):
        sg.pl.density(fitted, key="umap", show=False)
    with pytest.raises(KeyError, match=r"Did not find 'spam' among the conditions .* which are 'G1', 'G2M', 'S'"):
        sg.pl.density(compared, conditions=["S", "spam"], show=False)
    with pytest.raises(ValueError, match="`max_ratio` to be above 1"):
        sg.pl.density(compared, max_ratio=1, show=False)
    ax = sg.pl.embedding(fitted, show=False)
    with pytest.raises(ValueError, match="`ax` holds one panel, and 3 conditions have 5"):
        sg.pl.density(compared, ax=ax, show=False)
