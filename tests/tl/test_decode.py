from __future__ import annotations

import numpy as np
import pytest
import torch
from anndata import AnnData

import scgeoae as sg


def test_representation_and_genes(fitted):
    z = fitted.obsm["X_geoae"]
    at = np.concatenate([z[:4], z[:1] + 1])
    decoded = sg.tl.decode(fitted, at)
    x = sg.get.model(fitted).decode(torch.from_numpy(at)).numpy()
    np.testing.assert_allclose(decoded.obsm["X_pca"], x, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(decoded.obsm["X_geoae"], at)
    np.testing.assert_allclose(decoded.obs["geoae_distance"][:4], 0, atol=1e-6)
    assert decoded.obs["geoae_distance"].iloc[4] > 0
    # the PCA of this file is of other values than its X: its genes are those that regression finds
    assert list(decoded.var_names) == list(fitted.var_names)


@pytest.fixture(scope="module")
def with_genes():
    """Exactly 3 components of 20 genes, so that decoding can be checked against the cells. Do not change."""
    import scanpy as sc

    rng = np.random.default_rng(0)
    t = rng.uniform(-1, 1, size=(300, 2))
    x = np.column_stack([3 * t, t[:, :1] ** 2])
    y = x @ rng.normal(size=(3, 20)) + rng.normal(size=20)
    adata = AnnData(y.astype(np.float32))
    adata.var_names = [f"g{i}" for i in range(20)]
    adata.var["highly_variable"] = np.arange(20) < 15
    sc.pp.pca(adata, n_comps=3, mask_var="highly_variable")
    sg.tl.geoae(adata, use_rep="X_pca", progress_bar=False, n_steps=400, neighbors_weight=0)
    return adata


def test_genes_are_those_of_the_cells(with_genes):
    decoded = sg.tl.decode(with_genes, with_genes.obsm["X_geoae"])
    assert list(decoded.var_names) == [f"g{i}" for i in range(15)]
    error = np.sqrt(np.square(decoded.X - with_genes.X[:, :15]).mean())
    assert error < 0.1 * with_genes.X.std()
    # the 5 without loadings are linear in the components too, and found by regression
    others = sg.tl.decode(with_genes, with_genes.obsm["X_geoae"], genes=["g19", "g2", "g16"])
    assert list(others.var_names) == ["g19", "g2", "g16"]
    assert np.sqrt(np.square(others.X - with_genes[:, ["g19", "g2", "g16"]].X).mean()) < 0.1 * with_genes.X.std()
    np.testing.assert_allclose(others.X[:, 1], decoded.X[:, 2], atol=1e-4)
    part = sg.tl.decode(with_genes, [0.5, 0], genes="g19")
    assert part.shape == (1, 1)


def test_loadings_of_another_matrix_are_not_believed(with_genes):
    other = with_genes.copy()
    other.X = 100 * other.X[:, ::-1]
    # the map remembers what it was made of
    z = other.obsm["X_geoae"]
    np.testing.assert_array_equal(sg.tl.decode(other, z).X, sg.tl.decode(with_genes, z).X)
    sg.tl.geoae(other, use_rep="X_pca", progress_bar=False, n_steps=400, neighbors_weight=0)
    decoded = sg.tl.decode(other, other.obsm["X_geoae"])
    assert set(decoded.var["source"]) == {"regression"}
    # all 20 by regression, as good as before
    assert decoded.n_vars == 20
    assert np.sqrt(np.square(decoded.X - other.X).mean()) < 0.1 * other.X.std()


def test_the_way_there_and_back(with_genes):
    z = with_genes.obsm["X_geoae"]
    model = sg.get.model(with_genes)
    back = model.encode(torch.from_numpy(sg.tl.decode(with_genes, z, genes=[]).obsm["X_pca"])).numpy()
    diameter = np.linalg.norm(np.ptp(z, axis=0))
    assert np.median(np.linalg.norm(back - z, axis=1)) < 0.01 * diameter


def test_maps_of_x(small):
    sg.tl.geoae(small, progress_bar=False, n_steps=30)
    decoded = sg.tl.decode(small, np.zeros((3, 2)))
    expected = sg.get.model(small).decode(torch.zeros(3, 2)).numpy()
    np.testing.assert_allclose(decoded.X, expected, atol=1e-6)
    assert pytest.approx(expected[:, 3:4]) == sg.tl.decode(small, np.zeros((3, 2)), genes=["3"]).X
    assert list(decoded.obsm) == ["X_geoae"]


def test_without_genes(small):
    bare = AnnData(obsm={"X_pca": small.X})
    sg.tl.geoae(bare, use_rep="X_pca", progress_bar=False, n_steps=10)
    assert sg.tl.decode(bare, [0, 0]).shape == (1, 0)
    with pytest.raises(ValueError, match="The map knows no genes"):
        sg.tl.decode(bare, [0, 0], genes=["CD3D"])


def test_errors(fitted):
    for wrong in ([0, 0, 0], np.zeros((2, 3)), [[np.nan, 0]], [], "spam", [[]]):
        with pytest.raises(ValueError, match=r"Expected `coordinates` to be finite positions of shape \(m, 2\)"):
            sg.tl.decode(fitted, wrong)
    with pytest.raises(KeyError, match="Did not find 'spam', 'eggs' among the 765 genes of the map"):
        sg.tl.decode(fitted, [0, 0], genes=["spam", "CST3", "eggs"])
    with pytest.raises(KeyError, match=r"run sg\.tl\.geoae"):
        sg.tl.decode(fitted, [0, 0], key="other")


def test_plot(with_genes):
    ax = sg.pl.decoded_genes(with_genes, ["g0", "g17"], show=False)
    assert [panel.get_title() for panel in ax] == ["g0", "g17"]
    mesh = ax[0].collections[1]
    expected = sg.tl.decode(with_genes, with_genes.obsm["X_geoae"], genes="g0").X
    low, high = mesh.get_clim()
    assert (low, high) == pytest.approx(tuple(np.quantile(expected, [0.01, 0.99])), rel=1e-3, abs=1e-3)
    with pytest.raises(ValueError, match="holds one panel, but 2 genes"):
        sg.pl.decoded_genes(with_genes, ["g0", "g1"], ax=ax[0], show=False)


def test_genes_of_raw(reduced):
    adata = reduced.copy()
    adata.raw = adata
    adata = adata[:, 100:].copy()
    name = adata.raw.var_names[5]
    sg.tl.geoae(adata, progress_bar=False, n_steps=60)
    decoded = sg.tl.decode(adata, adata.obsm["X_geoae"], genes=[name, adata.var_names[3]])
    assert list(decoded.var["source"]) == ["regression of raw", "regression"]
    # the linear regression on the representation, by another route
    x = np.column_stack([adata.obsm["X_pca"], np.ones(adata.n_obs)])
    slopes = np.linalg.lstsq(x, np.asarray(adata.raw[:, name].X, dtype=np.float64).ravel(), rcond=None)[0]
    expected = np.column_stack([decoded.obsm["X_pca"], np.ones(adata.n_obs)]) @ slopes
    np.testing.assert_allclose(decoded[:, name].X.ravel(), expected, atol=1e-3)
    panels = sg.pl.decoded_genes(adata, [name, adata.var_names[3]], show=False)
    labels = [axes.get_ylabel() for axes in panels[0].figure.axes if "units" in axes.get_ylabel()]
    assert labels == ["expression, in units of raw", "expression, in units of X"]


def test_names_that_are_there_twice(with_genes):
    adata = with_genes.copy()
    adata.var_names = ["g0", *adata.var_names[1:19], "g18"]
    adata.raw = AnnData(np.zeros((300, 2), dtype=np.float32), obs=adata.obs)
    adata.raw.var.index = ["r", "r"]
    sg.tl.geoae(adata, use_rep="X_pca", progress_bar=False, n_steps=20)
    z = adata.obsm["X_geoae"]
    expected = sg.get.model(adata).decode(torch.from_numpy(z)).numpy() @ adata.varm["PCs"][3] + adata.X[:, 3].mean()
    np.testing.assert_allclose(sg.tl.decode(adata, z, genes="g3").X[:, 0], expected, atol=1e-4)
    sg.pl.decoded_genes(adata, "g3", show=False)
    with pytest.raises(ValueError, match="Several genes are named 'g18'"):
        sg.tl.decode(adata, z, genes="g18")


def test_a_map_of_a_layer_that_is_gone_decodes_what_is_in_x(with_genes):
    import scanpy as sc

    adata = with_genes.copy()
    adata.layers["log"] = adata.X.copy()
    sc.pp.pca(adata, n_comps=3, layer="log")
    del adata.layers["log"]
    sg.tl.geoae(adata, use_rep="X_pca", progress_bar=False, n_steps=20)
    assert set(sg.tl.decode(adata, [0, 0]).var["source"]) == {"regression"}
