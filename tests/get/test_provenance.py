"""What is recorded of a run is enough to say why two maps differ."""

from __future__ import annotations

import anndata
import numpy as np
import pytest
import torch

import scgeoae as sg

from ..for_each import for_each


def run(adata, **kwargs):
    sg.tl.geoae(adata, **({"n_steps": 10, "hidden": (8,), "progress_bar": False} | kwargs))
    return adata


def test_everything_is_there(small):
    found = sg.get.provenance(run(small))
    assert set(found["kind"]) == {"data", "argument", "environment", "map"}
    assert found.loc["versions.torch", "value"] == torch.__version__
    assert found.loc["n_threads", "value"] == torch.get_num_threads()
    assert found.loc["device", "value"] == "cpu"
    assert found.loc["n_steps", "value"] == 10


def test_equal_runs_have_no_row_also_from_a_file(small, tmp_path):
    other = run(small.copy())
    run(small).write_h5ad(tmp_path / "x.h5ad")
    assert sg.get.provenance(anndata.read_h5ad(tmp_path / "x.h5ad"), other=other).empty


def test_the_reason_is_named(small):
    reference = run(small.copy())
    changed = small.copy()
    changed.X[3, 2] += 0.01
    for other, reason in (
        (run(changed), "data"),
        (run(small.copy(), random_state=1), "random_state"),
        (run(small.copy(), regularizer={"isometric": 0.1, "curvature": 0.01}), "regularizer.curvature"),
    ):
        found = sg.get.provenance(reference, other=other)
        assert reason in found.index
        assert "embedding" in found.index
        assert not set(found["kind"]) & {"environment"}


def test_data_are_the_same_in_another_type_and_not_in_another_order(small):
    reference = run(small.copy())
    double = small.copy()
    double.X = double.X.astype(np.float64)
    assert "data" not in sg.get.provenance(reference, other=run(double)).index
    assert "data" in sg.get.provenance(reference, other=run(small[::-1].copy())).index


def test_number_of_threads(small):
    reference, before = run(small.copy()), torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        other = run(small.copy())
    finally:
        torch.set_num_threads(before)
    found = sg.get.provenance(reference, other=other)
    assert found.loc["n_threads", ["value", "other"]].tolist() == [before, before + 1]


def test_a_map_that_was_changed_afterwards(small):
    other = run(small).copy()
    other.obsm["X_geoae"] = other.obsm["X_geoae"] + 1
    assert sg.get.provenance(small, other=other).index.tolist() == ["embedding"]


def test_files_of_the_first_versions(small):
    old = run(small).copy()
    environment = old.uns["geoae"]["params"].pop("environment")
    del old.uns["geoae"]["params"]["data"]
    old.uns["geoae"]["params"] |= {"n_threads": environment["n_threads"], "versions": {"torch": "2.3.0"}}
    found = sg.get.provenance(old, other=small)
    assert found.loc["data", "value"] is None
    assert found.loc["versions.torch", "value"] == "2.3.0"
    assert "n_threads" not in found.index


@for_each("method", ["decoder", "laplacian"])
def test_other_embeddings(small, method):
    small.obsm["X_umap"] = np.asarray(small.X[:, :2])
    sg.tl.distortion(small, method=method, n_steps=10, hidden=(8,), progress_bar=False)
    assert "versions.torch" in sg.get.provenance(small, key="umap").index


def test_no_map(small):
    with pytest.raises(KeyError, match=r"run sg.tl.geoae\(adata\) first"):
        sg.get.provenance(small)
    with pytest.raises(KeyError, match="key_added='b'"):
        sg.get.provenance(run(small), other=small, other_key="b")


def test_a_large_argument_is_told_by_its_digest(small):
    wide = np.concatenate([small.X, small.X**2], axis=1)[:, :12]
    adata = type(small)(wide)
    weights = np.eye(12) + 0.1
    run(adata, ambient=weights)
    found = sg.get.provenance(adata).loc["ambient", "value"]
    assert found.startswith("float32 of shape (12, 12), ")
    other = adata.copy()
    run(other, ambient=2 * weights)
    assert "ambient" in sg.get.provenance(adata, other=other).index
    huge = np.broadcast_to(np.int64(0), (10**6, 10**6))
    other.uns["geoae"]["params"]["n_neighbors"] = huge
    assert sg.get.provenance(other).loc["n_neighbors", "value"] == "int64 of shape (1000000, 1000000)"
