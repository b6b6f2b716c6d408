"""What a view is given is what the AnnData has, and enough to compute what the model computes."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

import scgeoae as sg
from scgeoae.pl._widget.colors import Measured, palette

from ...for_each import for_each
from ...payload import arrays_of

QUICK = {"n_steps": 6, "hidden": (8, 8), "progress_bar": False}
ACTIVATIONS = {
    "silu": lambda p: p / (1 + np.exp(-p)),
    "elu": lambda p: np.where(p > 0, p, np.expm1(np.minimum(p, 0))),
    "tanh": np.tanh,
    "softplus": lambda p: np.logaddexp(p, 0),
}


def payload(adata, *, kernel=True, **arguments):
    manifest, buffer = sg.pl.interactive(adata, **arguments)._scene.payload(kernel=kernel)
    return json.loads(json.dumps(manifest, allow_nan=False)), arrays_of(manifest, buffer)


def decoded(manifest, arrays, z):
    """The decoder as the contract with the browser has it, in double precision."""
    of = manifest["decoder"]
    part = {name.removeprefix("decoder."): array.astype(np.float64) for name, array in arrays.items()}
    u = z / of["unit"] @ part["rotation"].T + part["origin"]
    h = u
    for i in range(of["layers"]):
        h = h @ part[f"w{i}"].T + part[f"b{i}"]
        if i < of["layers"] - 1:
            h = ACTIVATIONS[of["activation"]](h)
    return (u @ part["axes"].T + h) * of["scale"] + part["center"]


def metric(manifest, arrays, z, step=1e-4):
    """The metric by central differences, (n, 2, 2)."""
    steps = step * manifest["decoder"]["unit"] * np.eye(2)
    rise = [(decoded(manifest, arrays, z + s) - decoded(manifest, arrays, z - s)) / (2 * s.sum()) for s in steps]
    jacobian = np.stack(rise, axis=-1)
    h = arrays.get("decoder.ambient", np.ones(jacobian.shape[1]))
    h = np.diag(h) if h.ndim == 1 else h
    return jacobian.swapaxes(1, 2) @ h.astype(np.float64) @ jacobian


def stored_metric(adata):
    """The entries 00, 01 and 11 of the tensors of a UMAP."""
    return sg.get.metric_tensors(adata, key="umap")[:, [0, 0, 1], [0, 1, 1]]


def expression(arrays, x):
    if "loadings" in arrays:
        y = x @ arrays["loadings"].T.astype(np.float64) + arrays["gene_means"]
    else:
        y = x[:, arrays["gene_columns"]] + arrays["gene_means"]
    return np.maximum(y, arrays["gene_floor"])


def test_positions_and_colors_are_those_of_the_data(fitted):
    manifest, arrays = payload(fitted, color=["bulk_labels", "CST3", "n_counts"], basis=["geoae", "umap"])
    for view, slot in zip(manifest["views"], ("X_geoae", "X_umap"), strict=True):
        np.testing.assert_array_equal(arrays[view["array"]], fitted.obsm[slot].astype(np.float32))
    assert manifest["unit"] == manifest["views"][0]["unit"]
    determinants = np.linalg.det(sg.get.metric_tensors(fitted))
    assert manifest["unit"]["local"] == pytest.approx(np.median(determinants ** (1 / 4)), rel=1e-4)
    assert manifest["views"][1]["unit"] is None  # nobody measured it
    labels, gene, number = manifest["colors"]
    column = fitted.obs["bulk_labels"]
    np.testing.assert_array_equal(np.array(labels["categories"])[arrays[labels["array"]]], column)
    assert labels["palette"] == [color.lower() for color in fitted.uns["bulk_labels_colors"]]
    np.testing.assert_array_equal(arrays[gene["array"]], fitted.raw[:, "CST3"].X.toarray().ravel())
    np.testing.assert_allclose(arrays[number["array"]], fitted.obs["n_counts"])
    assert number["range"] == pytest.approx(np.quantile(fitted.obs["n_counts"], [0.01, 0.99]), rel=1e-3)


@for_each("activation", ACTIVATIONS)
def test_the_arrays_are_the_decoder_and_its_metric(small, activation):
    sg.tl.geoae(small, activation=activation, **QUICK)
    manifest, arrays = payload(small)
    z = small.obsm["X_geoae"][:20].astype(np.float64) + 0.1
    model = sg.get.model(small).double()
    np.testing.assert_allclose(decoded(manifest, arrays, z), model.decode(z), atol=1e-5)
    np.testing.assert_allclose(metric(manifest, arrays, z), model.metric(z), rtol=1e-4, atol=1e-6)


def test_the_metric_of_the_representation_counts(small):
    sg.tl.geoae(small, ambient=np.linspace(1, 3, 8), **QUICK)
    sg.tl.geoae(small, ambient="mahalanobis", key_added="whole", **QUICK)
    for key in ("geoae", "whole"):
        manifest, arrays = payload(small, basis=key)
        z = small.obsm[f"X_{key}"][:20].astype(np.float64)
        expected = sg.get.metric_tensors(small, key=key)[:20]
        np.testing.assert_allclose(metric(manifest, arrays, z), expected, rtol=1e-3, atol=1e-6)


def test_genes_are_decoded_as_by_tl(fitted, small):
    sg.tl.geoae(small, **QUICK)
    for adata, some in ((fitted, ["CST3", "CD79A", "NKG7"]), (small, ["3", "0"])):
        z = adata.obsm["X_geoae"][:30].astype(np.float64)
        for genes in (None, some):
            manifest, arrays = payload(adata, genes=genes)
            expected = sg.tl.decode(adata, z, genes=genes)
            assert manifest["genes"] == list(expected.var_names)
            found = expression(arrays, decoded(manifest, arrays, z))
            np.testing.assert_allclose(found, expected.X, atol=2e-4)
            np.testing.assert_array_equal(arrays["gene_scale"].shape, [len(manifest["genes"])])


def test_of_many_genes_the_most_variable_are_decoded(fitted, monkeypatch):
    monkeypatch.setattr("scgeoae.pl._widget.scene.MAX_GENES", 10)
    manifest, arrays = payload(fitted)
    std = np.asarray(fitted.X).std(0)
    assert set(manifest["genes"]) == set(fitted.var_names[np.argsort(-std)[:10]])
    np.testing.assert_allclose(arrays["gene_scale"], std[fitted.var_names.get_indexer(manifest["genes"])], rtol=1e-4)


def test_neighbors_are_those_in_the_data(fitted):
    manifest, arrays = payload(fitted)
    expected = NearestNeighbors(n_neighbors=10).fit(fitted.obsm["X_pca"]).kneighbors(return_distance=False)
    assert (arrays["neighbors"] == expected).mean() > 0.99
    assert manifest["notes"] == []


def test_a_page_of_many_cells_says_that_it_has_no_neighbors(fitted, monkeypatch):
    monkeypatch.setattr("scgeoae.pl._widget.scene.MAX_SEARCHED", 1000)
    monkeypatch.setattr("scgeoae.pl._widget.scene.MAX_COMPARED", 1000)
    for kernel, notes in ((True, []), (False, ["A page of 700 cells has no nearest cells in the data."])):
        manifest, arrays = payload(fitted, kernel=kernel)
        assert "neighbors" not in arrays
        assert manifest["notes"] == notes


def test_tears_and_tensors_of_a_umap_beside_the_map(small):
    small.obsm["X_umap"] = np.ascontiguousarray(small.X[:, :2] * [1, 3])
    small.obsm["X_umap"][:10] += 30
    sg.tl.geoae(small, **QUICK)
    sg.tl.distortion(small, basis="umap", **QUICK)
    manifest, arrays = payload(small, basis=["geoae", "umap"])
    first, second = manifest["views"]
    assert (first["metric"], first["torn"]) == (None, None)
    edges = {tuple(sorted(edge)) for edge in np.transpose(small.obsp["umap_torn"].nonzero()).tolist()}
    assert edges
    found = list(zip(*(arrays[second["torn"][end]].tolist() for end in ("row", "col")), strict=True))
    assert len(found) == len(edges)
    assert {tuple(sorted(edge)) for edge in found} == edges
    np.testing.assert_allclose(arrays[second["metric"]], stored_metric(small))


def test_a_map_of_adopt_is_the_only_view(small):
    small.obsm["X_umap"] = np.ascontiguousarray(small.X[:, :2])
    sg.tl.adopt(small, basis="umap", **QUICK)
    manifest, arrays = payload(small, basis="umap")
    z = small.obsm["X_umap"][:9].astype(np.float64)
    np.testing.assert_allclose(decoded(manifest, arrays, z), sg.get.model(small, key="umap").decode(z), atol=1e-4)


def test_an_estimate_has_tensors_and_no_decoder(small):
    small.obsm["X_umap"] = np.ascontiguousarray(small.X[:, :2])
    sg.tl.distortion(small, basis="umap", method="laplacian", progress_bar=False)
    manifest, arrays = payload(small, basis="umap")
    assert manifest["decoder"] is None
    assert "no decoder" in manifest["notes"][0]
    np.testing.assert_allclose(arrays["metric"], stored_metric(small))


def test_an_embedding_that_was_not_measured_is_refused(fitted):
    with pytest.raises(KeyError, match=r"run sg\.tl\.distortion\(adata, basis='umap'\) first"):
        sg.pl.interactive(fitted, basis="umap")


def test_a_map_without_genes_says_so(small):
    points = AnnData(obs=small.obs[["side"]], obsm={"X_pca": small.X})
    sg.tl.geoae(points, use_rep="X_pca", **QUICK)
    manifest, _ = payload(points, color="side")
    assert manifest["genes"] == []
    assert manifest["notes"] == ["This map knows no genes, because adata.X had none when it was made."]
    with pytest.raises(KeyError, match="Did not find 'CST3' among the genes"):
        sg.pl.interactive(points, genes="CST3")


def drawn(values):
    return Measured(AnnData(obs=one_column(values)), None, None).color("a")


def one_column(values):
    return pd.DataFrame({"a": values}, index=[f"cell{i}" for i in range(len(values))])


@pytest.mark.parametrize("n", [3, 10, 20, 28, 60, 102, 150, 300])
def test_default_colors_are_those_of_scanpy(n):
    import scanpy as sc

    labels = pd.Categorical([f"g{i:03}" for i in range(n)])
    entry, codes = drawn(labels)
    assert codes.dtype == (np.uint8 if n <= 255 else np.uint16)
    adata = AnnData(obs=one_column(labels), obsm={"X_b": np.zeros((n, 2))})
    sc.pl.embedding(adata, "b", color="a", show=False, legend_loc=None)
    assert entry["palette"] == palette(adata.uns["a_colors"], n)


def test_missing_labels_and_numbers():
    entry, codes = drawn(pd.Categorical(["b", None, "a"], categories=["a", "b"]))
    assert (entry["categories"], codes.tolist()) == (["a", "b"], [1, 255, 0])
    entry, codes = drawn(pd.array([True, None, False], dtype="boolean"))
    assert (entry["categories"], codes.tolist()) == (["False", "True"], [1, 255, 0])
    entry, values = drawn([1.0, np.nan, np.inf, 3.0])
    np.testing.assert_array_equal(values, [1, np.nan, np.nan, 3])
    assert entry["range"] == pytest.approx([1.02, 2.98])
    entry, values = drawn([np.nan, np.nan])
    assert entry["range"] == [0, 1]
    entry, _ = drawn([2.0, 2.0])
    assert entry["range"] == [2, 2]


def test_numbers_of_many_cells_are_half_as_long(monkeypatch):
    monkeypatch.setattr("scgeoae.pl._widget.colors.MAX_FULL", 2)
    assert drawn([1.0, 2.0, 3.0]).values.dtype == np.float16
    assert drawn([1.0, 2.0, 1e6]).values.dtype == np.float32  # beyond float16
    assert drawn([1.0, 2.0]).values.dtype == np.float32


def test_where_measured_expression_comes_from(tmp_path):
    adata = AnnData(sparse.csr_matrix(np.arange(12, dtype=np.float32).reshape(4, 3)))
    adata.raw = AnnData(np.full((4, 2), 7.0), var=pd.DataFrame(index=["0", "more"]))
    adata.layers["counts"] = np.full((4, 3), 5.0)
    adata.write_h5ad(tmp_path / "a.h5ad")
    import anndata

    for given in (adata, adata[[0, 1, 2, 3]], anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")):
        for (use_raw, layer, gene), expected in {
            (None, None, "0"): [7] * 4,
            (None, None, "more"): [7] * 4,
            (None, None, "1"): [1, 4, 7, 10],
            (False, None, "0"): [0, 3, 6, 9],
            (None, "counts", "0"): [5] * 4,
        }.items():
            assert Measured(given, use_raw, layer).expression(gene).tolist() == expected
        assert Measured(given, use_raw=True, layer=None).genes() == ["0", "more"]
        with pytest.raises(KeyError, match=r"among the genes of adata\.raw"):
            Measured(given, use_raw=True, layer=None).expression("1")


def test_the_size_of_each_part(fitted):
    """What docs/interactive.md says of it."""
    _, arrays = payload(fitted, color=["bulk_labels", "n_counts"])
    n, n_genes = fitted.n_obs, len(arrays["gene_means"])
    sizes = {name: arrays[name].nbytes for name in ("view0", "color0", "color1", "neighbors", "loadings")}
    assert sizes == {"view0": 8 * n, "color0": n, "color1": 4 * n, "neighbors": 40 * n, "loadings": 4 * 50 * n_genes}
