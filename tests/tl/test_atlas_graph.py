"""The metric graph of all cells of an atlas, which is made of some rows at a time."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import zarr
from scipy import sparse

import scgeoae as sg
from scgeoae._anndata import stored_graph
from scgeoae._anndata.blockwise import Job
from scgeoae._anndata.store import Unfinished
from scgeoae._anndata.stored_graph import write_graph
from scgeoae.graphs import metric_graph, nearest_others

from ..conftest import pbmc

GIVEN = {"n_sample": 60, "n_steps": 5, "block_size": 50, "progress_bar": False, "refine": False, "use_rep": "X_pca"}
NAMES = ("geoae_metric", "geoae_distances", "geoae_connectivities")


def write_cells(folder: Path) -> Path:
    cells = pbmc()[:100].copy()
    # zarr cannot store it in the third version of the format
    del cells.raw, cells.uns["rank_genes_groups"]
    cells.write_zarr(folder / "cells.zarr")
    return folder / "cells.zarr"


@pytest.fixture(scope="module")
def atlas(tmp_path_factory) -> Path:
    """A store with the map of all cells and its graph."""
    path = write_cells(tmp_path_factory.mktemp("atlas"))
    sg.tl.atlas(path, graph=True, **GIVEN)
    return path


def check_graph(found: anndata.AnnData, k: int) -> None:
    """The matrices are those of the positions and tensors beside them, made at once."""
    z = found.obsm["X_geoae"]
    triangles = found.obsm["geoae_metric"]
    metric = triangles[:, [0, 1, 1, 2]].reshape(-1, 2, 2)
    for name, expected in zip(NAMES, metric_graph(z, metric, nearest_others(z, k)), strict=True):
        for part in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(found.obsp[name], part), getattr(expected, part), name)
            assert getattr(found.obsp[name], part).dtype == getattr(expected, part).dtype


def placed(path: Path, n: int = 100) -> Unfinished:
    """Return a folder in which n cells have positions, some the same, and metric tensors."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(n, 2)).astype(np.float32)
    z[: n // 4] = z[0]
    root = rng.normal(size=(n, 2, 2))
    metric = np.einsum("nab,ncb->nac", root, root)
    columns = {("obsm", "X_geoae"): z, ("obsm", "geoae_metric"): metric[:, [0, 0, 1], [0, 1, 1]].astype(np.float32)}
    unfinished = Unfinished(path)
    unfinished.begin({"a": 1})
    unfinished.create(columns, n, n)
    unfinished.write(np.arange(n), columns)
    return unfinished


def moved(unfinished: Unfinished, n: int) -> anndata.AnnData:
    unfinished.gather(pd.Index(map(str, range(n))) if not unfinished.out.exists() else None, {"geoae": {"a": 1}})
    unfinished.finish("geoae", "geoae")
    return anndata.read_zarr(unfinished.out)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(("n", "k", "n_rows", "chunk"), [(100, 5, 7, 16), (100, 5, 1000, 2**20), (2, 1, 1, 1)])
def test_the_graph_in_a_store_is_that_in_memory(n, k, n_rows, chunk, zarr_format, tmp_path, monkeypatch):
    monkeypatch.setattr(stored_graph, "N_ROWS", n_rows)
    monkeypatch.setattr("scgeoae._anndata.store.CHUNK", chunk)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with anndata.settings.override(zarr_write_format=zarr_format):
            unfinished = placed(tmp_path / "map.zarr", n)
    write_graph(unfinished, "geoae", k, progress_bar=False)
    found = moved(unfinished, n)
    check_graph(found, k)
    group = zarr.open_group(tmp_path / "map.zarr")["obsp/geoae_distances"]
    assert group.metadata.zarr_format == zarr_format
    assert dict(group.attrs) == {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": [n, n]}
    assert group["data"].chunks == (min(chunk, 2 * n * k),)
    assert not unfinished.folder.exists()


def test_a_graph_may_have_more_edges_than_32_bits_count(tmp_path):
    unfinished = placed(tmp_path / "map.zarr", 10)
    rows = sparse.random(10, 10, 0.5, format="csr", dtype=np.float32, random_state=0)
    with unfinished.graphs(["geoae_distances"], 10, most=2**31) as graphs:
        for start in (0, 5):
            graphs["geoae_distances"].append(rows[start : start + 5])
    found = moved(unfinished, 10).obsp["geoae_distances"]
    assert (found.indices.dtype, found.indptr.dtype) == (np.int64, np.int64)
    # SciPy computes with it
    np.testing.assert_array_equal((found @ found).toarray(), (rows @ rows).toarray())


def test_half_of_a_graph_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_graph, "N_ROWS", 30)
    unfinished = placed(tmp_path / "map.zarr")
    make = stored_graph.connectivities_of

    def stops(distances: sparse.csr_matrix, width: np.ndarray, start: int) -> sparse.csr_matrix:
        if start == 60:
            raise KeyboardInterrupt
        return make(distances, width, start)

    with monkeypatch.context() as patch:
        patch.setattr(stored_graph, "connectivities_of", stops)
        with pytest.raises(KeyboardInterrupt):
            write_graph(unfinished, "geoae", 5, progress_bar=False)
    assert not unfinished.obsp.exists()
    write_graph(unfinished, "geoae", 5, progress_bar=False)
    check_graph(moved(unfinished, 100), 5)


def test_an_interrupted_call_makes_the_graph_again_and_places_no_cell_twice(tmp_path, monkeypatch):
    path = write_cells(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(stored_graph, "connectivities_of", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            sg.tl.atlas(path, graph=True, n_neighbors=10, **GIVEN)
    assert not [name for name in anndata.read_zarr(path).obsp if "geoae" in name]
    with pytest.raises(ValueError, match=r"another 'graph' \(True\)"):
        sg.tl.atlas(path, n_neighbors=10, **GIVEN)
    monkeypatch.setattr(Job, "place", None)
    sample = sg.tl.atlas(path, graph=True, n_neighbors=10, **GIVEN)
    check_graph(anndata.read_zarr(path), 10)
    assert sample.obsp["geoae_distances"].shape == (60, 60)
    assert not Path(f"{path}.part").exists()


@pytest.mark.slow
def test_an_interrupted_call_ends_with_the_store_of_an_undisturbed_one(atlas, tmp_path, monkeypatch):
    """And a later one without the argument removes the graph."""
    path = write_cells(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(stored_graph, "connectivities_of", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            sg.tl.atlas(path, graph=True, **GIVEN)
    sg.tl.atlas(path, graph=True, **GIVEN)
    found, expected = anndata.read_zarr(path), anndata.read_zarr(atlas)
    for name in NAMES:
        assert (found.obsp[name] != expected.obsp[name]).nnz == 0
    np.testing.assert_array_equal(found.obsm["X_geoae"], expected.obsm["X_geoae"])
    sg.tl.atlas(path, **GIVEN)
    found = anndata.read_zarr(path)
    assert not [name for name in found.obsp if "geoae" in name]
    assert not [name for name in found.uns["geoae"] if name.endswith("_key")]


def test_scanpy_clusters_all_cells_by_the_graph_in_the_store(atlas):
    found = anndata.read_zarr(atlas)
    check_graph(found, 15)
    sc.tl.leiden(found, neighbors_key="geoae", flavor="igraph", n_iterations=2)
    assert found.obs["leiden"].nunique() > 1


def test_a_graph_that_was_read_lazily_is_never_dense(atlas, monkeypatch):
    whole, lazy = anndata.read_zarr(atlas), anndata.experimental.read_lazy(atlas)
    monkeypatch.setattr(sparse.csr_matrix, "toarray", None)
    for adata in (lazy, whole):
        sg.tl.pseudotime(adata, root=adata.obs_names[0])
    np.testing.assert_array_equal(lazy.obs["geoae_pseudotime"].to_numpy(), whole.obs["geoae_pseudotime"].to_numpy())


def test_new_cells_are_placed_without_reading_the_graph(atlas, tmp_path):
    path = shutil.copytree(atlas, tmp_path / "cells.zarr")
    lazy = anndata.experimental.read_lazy(path)
    shutil.rmtree(path / "obsp")
    new = pbmc()[:20].copy()
    sg.tl.transform(new, lazy, use_rep="X_pca")
    expected = pbmc()[:20].copy()
    sg.tl.transform(expected, anndata.read_zarr(atlas), use_rep="X_pca")
    np.testing.assert_allclose(new.obsm["X_geoae"], expected.obsm["X_geoae"], atol=1e-5)
