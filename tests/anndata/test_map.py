"""A map is one object: it is read once, whatever a function asks of it."""

from __future__ import annotations

import numpy as np
import pytest

import scgeoae as sg
from scgeoae._anndata import map as map_module
from scgeoae._anndata.map import read_map

QUICK = {"n_steps": 5, "hidden": (4,), "progress_bar": False}


@pytest.fixture(scope="module")
def stored():
    import anndata

    rng = np.random.default_rng(0)
    adata = anndata.AnnData(rng.normal(size=(60, 6)).astype(np.float32))
    adata.obs["group"] = np.repeat(["a", "b", "c"], 20)
    adata.obs["group"] = adata.obs["group"].astype("category")
    sg.tl.geoae(adata, **QUICK)
    sg.tl.curvature(adata)
    adata.obsm["X_umap"] = adata.X[:, :2].copy()
    adata.obsm["X_tsne"] = adata.X[:, 2:4].copy()
    adata.obsm["X_plain"] = adata.X[:, 4:6].copy()
    sg.tl.distortion(adata, **QUICK)
    sg.tl.distortion(adata, basis="tsne", method="laplacian")
    return adata


CALLS = {
    "tl.decode": lambda adata: sg.tl.decode(adata, [[0, 0]]),
    "tl.geodesic": lambda adata: sg.tl.geodesic(adata, "a", "b", groupby="group"),
    "tl.geodesic_distances": lambda adata: sg.tl.geodesic_distances(adata, "group"),
    "tl.pseudotime": lambda adata: sg.tl.pseudotime(adata, "a", groupby="group"),
    "tl.curvature": sg.tl.curvature,
    "tl.metric": lambda adata: sg.tl.metric(adata, side="encoder"),
    "tl.rank_genes_by_jacobian": lambda adata: sg.tl.rank_genes_by_jacobian(adata, "group", direction="into"),
    "tl.evaluate": lambda adata: sg.tl.evaluate(adata, basis="geoae"),
    "tl.distortion": lambda adata: sg.tl.distortion(adata, basis="geoae"),
    "tl.transform": lambda adata: sg.tl.transform(adata[:5].copy(), adata),
    "pl.indicatrices": lambda adata: sg.pl.indicatrices(adata, where="grid", side="both", show=False),
    "pl.jacobian_heatmap": lambda adata: sg.pl.jacobian_heatmap(adata, side="both", show=False),
    "pl.curvature_heatmap": lambda adata: sg.pl.curvature_heatmap(adata, show=False),
    "pl.decoded_genes": lambda adata: sg.pl.decoded_genes(adata, ["0", "1"], show=False),
    "pl.gene_compass": lambda adata: sg.pl.gene_compass(adata, "group", "a", show=False),
    "get.model": sg.get.model,
    "get.scores": sg.get.scores,
    "get.provenance": sg.get.provenance,
    "get.metric_tensors": sg.get.metric_tensors,
}


@pytest.mark.parametrize("name", CALLS)
def test_the_model_is_built_at_most_once(stored, name, monkeypatch):
    built = []

    def counted(arrays):
        built.append(1)
        return from_arrays(arrays)

    from_arrays = map_module.from_arrays
    monkeypatch.setattr(map_module, "from_arrays", counted)
    CALLS[name](stored)
    assert len(built) <= 1


@pytest.mark.parametrize(
    ("key", "kind", "is_own", "has_model"),
    [
        ("geoae", "autoencoder", True, True),
        ("umap", "fitted", False, True),
        ("tsne", "laplacian", False, False),
        ("plain", None, False, False),
    ],
)
def test_kinds(stored, key, kind, is_own, has_model):
    for name in (key, f"X_{key}"):
        m = read_map(stored, name)
        assert (m.key, m.kind, m.is_own, m.has_model) == (key, kind, is_own, has_model)
        assert m.positions.shape == (60, 2)


@pytest.mark.parametrize("entry", [{}, "text", np.arange(3), {"history": {}}, {"scores": {}}, {"params": {"a": 1}}])
def test_entries_of_other_packages(stored, entry):
    adata = stored[:, :].copy()
    adata.uns["plain"] = entry
    assert not read_map(adata, "plain").has_model
    assert "plain" in set(sg.tl.evaluate(adata, basis=["plain", "umap"], use_rep="X")["basis"])
    assert "plain" in set(sg.tl.evaluate(adata, basis="plain")["basis"])
    sg.tl.distortion(adata, basis="plain", **QUICK)
    assert read_map(adata, "plain").kind == "fitted"
    del adata.uns["plain_distortion"]
    sg.tl.adopt(adata, basis="plain", **QUICK)
    assert read_map(adata, "plain").has_model
    assert not read_map(adata, "plain").is_own


def test_parts_are_read_once(stored):
    m = read_map(stored, "geoae")
    for part in ("positions", "params", "scores", "model", "graph", "representation"):
        assert getattr(m, part) is getattr(m, part)
    assert m.metric("encoder") is m.metric("encoder") is not m.metric()
    assert m.unit is m.unit
    assert m.n_cells == 60
    np.testing.assert_array_equal(m.genes.names, stored.var_names)
    np.testing.assert_allclose(m.representation.dense(), stored.X)
