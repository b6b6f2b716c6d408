"""New cells that memory does not hold land where they land in memory, wherever they are read from."""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import zarr
from anndata import AnnData
from scipy import sparse

import scgeoae as sg
from scgeoae._anndata.blockwise import Job
from scgeoae._anndata.source import open_source
from scgeoae._anndata.store import Unfinished

from ..for_each import for_each

GIVEN = {"block_size": 60, "progress_bar": False}


def counts(n: int, seed: int = 0) -> AnnData:
    """Counts of two kinds of cells, of 60 genes."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(2, size=n)
    profile = np.random.default_rng(1).gamma(1.0, 2.0, size=(3, 60))
    rate = profile[kind] + rng.uniform(size=(n, 1)) * profile[2]
    adata = AnnData(sparse.csr_matrix(rng.poisson(3 * rate).astype(np.float32)))
    adata.var_names = [f"gene{i}" for i in range(60)]
    adata.obs["kind"] = pd.Categorical(np.array(["b", "a"])[kind], categories=["c", "b", "a"])
    return adata


def log1p(adata: AnnData) -> AnnData:
    sc.pp.normalize_total(adata, target_sum=1e3)
    sc.pp.log1p(adata)
    return adata


@pytest.fixture(scope="module")
def known() -> AnnData:
    """Cells with a map of their components. Do not change."""
    adata = log1p(counts(240))
    sc.pp.pca(adata, n_comps=6)
    adata.uns["kind_colors"] = np.array(["#000000", "#111111", "#222222"])
    sg.tl.geoae(adata, n_steps=20, progress_bar=False)
    return adata


@pytest.fixture
def new(known) -> AnnData:
    """Counts, and components of the reference in `obsm`."""
    adata = counts(150, seed=2)
    adata.obs = adata.obs[[]].copy()
    adata.obs_names = [f"new{i}" for i in range(150)]
    placed = sg.tl.transform(adata, known, copy=True)
    adata.obsm["X_rep"] = placed.obsm["X_pca"] + np.float32(0.01)
    return adata


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def inside(folder: Path, name: str) -> contextlib.chdir:
    """Enter a new folder."""
    (folder / name).mkdir()
    return contextlib.chdir(folder / name)


class Blocks:
    """Blocks of cells, some of them larger than those that are placed at a time."""

    def __init__(self, adata: AnnData) -> None:
        self.adata, self.n_read = adata, 0

    def __iter__(self):
        for start, stop in ((0, 7), (7, 90), (90, 100), (100, self.adata.n_obs)):
            self.n_read += 1
            yield self.adata[start:stop].copy()


def in_zarr(adata: AnnData, path: str, zarr_format: int) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with anndata.settings.override(zarr_write_format=zarr_format):
            adata.write_zarr(path)
    return path


def lazy(adata: AnnData) -> AnnData:
    return anndata.experimental.read_lazy(in_zarr(adata, "lazy.zarr", 2))


def in_dask(adata: AnnData) -> AnnData:
    import dask.array

    found = adata.copy()
    found.X = dask.array.from_array(adata.X.toarray(), chunks=(40, 60)).map_blocks(sparse.csr_matrix)
    found.obsm["X_rep"] = dask.array.from_array(adata.obsm["X_rep"], chunks=(40, 6))
    return found


def as_h5ad(adata: AnnData, path: str = "new.h5ad") -> str:
    adata.write_h5ad(path)
    return path


def collection(adata: AnnData) -> anndata.experimental.AnnCollection:
    return anndata.experimental.AnnCollection([adata[:70].copy(), adata[70:].copy()], join_vars="inner")


def parts(adata: AnnData) -> list[object]:
    """A file whose genes are in another order, a store, and cells in memory with a gene more."""
    last = adata[100:].copy()
    more = AnnData(sparse.csr_matrix(np.ones((50, 1), np.float32)), last.obs, pd.DataFrame(index=["more"]))
    last = anndata.concat([more, last], axis=1, merge="same")
    last.obsm["X_rep"] = adata.obsm["X_rep"][100:]
    return [as_h5ad(adata[:20, ::-1].copy()), Path(in_zarr(adata[20:100].copy(), "new.zarr", 2)), last]


SOURCES = {
    "an h5ad file": as_h5ad,
    "a zarr store": lambda adata: Path(in_zarr(adata, "new.zarr", 2)),
    "a zarr store of format 3": lambda adata: in_zarr(adata, "new.zarr", 3),
    "backed": lambda adata: anndata.read_h5ad(as_h5ad(adata), backed="r"),
    "read lazily": lazy,
    "Dask arrays": in_dask,
    "an AnnCollection": collection,
    "a list of parts": parts,
    "blocks": Blocks,
}


def check_same(found: AnnData, expected: AnnData, labels: tuple[str, ...] = ()) -> None:
    assert list(found.obs_names) == list(expected.obs_names)
    for name in ("X_geoae", "geoae_metric", "geoae_metric_encoder"):
        np.testing.assert_allclose(found.obsm[name], expected.obsm[name], rtol=1e-6, atol=1e-6)
    columns = [name for name in expected.obs if name.startswith("geoae_") and name != "geoae_outlier"]
    columns += [f"{name}_confidence" for name in labels]
    assert len(columns) >= 6
    for name in columns:
        np.testing.assert_allclose(found.obs[name], expected.obs[name], rtol=1e-5, atol=1e-6)
    assert list(found.obs["geoae_outlier"]) == list(expected.obs["geoae_outlier"])
    for name in labels:
        pd.testing.assert_series_equal(found.obs[name], expected.obs[name])
        assert list(found.uns[f"{name}_colors"]) == list(expected.uns[f"{name}_colors"])
    for name, value in sg.get.scores(expected).items():
        np.testing.assert_allclose(sg.get.scores(found)[name], value, rtol=1e-4)
    assert found.uns["geoae"]["params"].keys() == expected.uns["geoae"]["params"].keys()


FIRST = ("a zarr store of format 3", "a list of parts", "blocks")


@pytest.mark.parametrize(
    "kinds", [FIRST, pytest.param([kind for kind in SOURCES if kind not in FIRST], marks=pytest.mark.slow)]
)
def test_cells_land_as_in_memory_wherever_they_are(known, new, folder, kinds):
    """Counts are converted, each cell by its own total, and projected; their labels come along."""
    for kind in kinds:
        with inside(folder, kind):
            check_counts(known, new, kind)


def check_counts(known: AnnData, new: AnnData, kind: str) -> None:
    expected = sg.tl.transform(new, known, obs="kind", copy=True)
    assert sg.tl.transform(SOURCES[kind](new), known, obs="kind", out="out.zarr", **GIVEN) is None
    check_same(anndata.read_zarr("out.zarr"), expected, ("kind",))
    assert {path.name for path in Path().iterdir()} <= {"out.zarr", "new.h5ad", "new.zarr", "lazy.zarr"}


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_cells_of_a_collection_keep_its_names(known, new):
    parts = {"a": new[:70].copy(), "b": new[70:].copy()}
    for part in parts.values():
        part.obs_names = [str(i) for i in range(part.n_obs)]
    collection = anndata.experimental.AnnCollection(parts, join_vars="inner", label="part", index_unique="-")
    sg.tl.transform(collection, known, use_rep="X_rep", out="out.zarr", **GIVEN)
    assert list(anndata.read_zarr("out.zarr").obs_names) == [
        *(f"{i}-a" for i in range(70)),
        *(f"{i}-b" for i in range(80)),
    ]
    sample = sg.tl.atlas(collection, out="map.zarr", use_rep="X_rep", n_sample=100, n_steps=20, **GIVEN)
    found = anndata.read_zarr("map.zarr")
    assert list(sample.obs_names) == list(found.obs_names[found.uns["geoae"]["sample"]])
    assert list(sample.obs["part"]) == [name[-1] for name in sample.obs_names]


@for_each("join", [None, "inner", "outer"])
def test_a_sample_of_a_collection_has_its_columns(join):
    """Also if it has no cells of a part that lacks a column."""
    parts = [counts(6), counts(4, seed=1)]
    parts[0].obs["first"], parts[1].obs["second"] = np.arange(6), list("abcd")
    given = {"join_obs": join, "label": "part", "index_unique": "-"}
    with warnings.catch_warnings():
        # pandas 2 says that of columns that a part lacks
        warnings.simplefilter("ignore", FutureWarning)
        collection = anndata.experimental.AnnCollection(parts, **given)
    collection.obs["own"] = np.arange(10) ** 2
    expected = collection.to_adata().obs
    assert {"kind", "part", "own"} <= set(expected)
    assert ("second" in expected) == (join == "outer")
    for rows in ([0, 2, 5, 6, 9], [1, 3]):
        found = open_source(collection).sample(np.array(rows)).obs
        for name, column in expected.iloc[rows].items():
            pd.testing.assert_series_equal(found[name].astype(object), column.astype(object))
        assert list(found.index) == list(expected.index[rows])


@pytest.mark.parametrize(
    "kinds",
    [
        ["an h5ad file", "a list of parts"],
        pytest.param(["read lazily", "Dask arrays", "an AnnCollection", "blocks"], marks=pytest.mark.slow),
    ],
)
def test_a_representation_is_read(known, new, folder, kinds):
    for kind in kinds:
        with inside(folder, kind):
            check_representation(known, new, kind)


def check_representation(known: AnnData, new: AnnData, kind: str) -> None:
    expected = sg.tl.transform(new, known, use_rep="X_rep", copy=True)
    sg.tl.transform(SOURCES[kind](new), known, use_rep="X_rep", out="out.zarr", **GIVEN)
    check_same(anndata.read_zarr("out.zarr"), expected)


@pytest.mark.usefixtures("folder")
def test_units_are_found_once_for_all_blocks(known):
    """A block of cells without counts, and another of whole numbers, would have other units on their own."""
    new = log1p(counts(150, seed=2))
    new.X = new.X.toarray()
    new.X[:60], new.X[60:120] = 0, np.round(new.X[60:120])
    expected = sg.tl.transform(new, known, copy=True)
    sg.tl.transform(new, known, out="out.zarr", **GIVEN)
    check_same(anndata.read_zarr("out.zarr"), expected)


@pytest.mark.usefixtures("folder")
def test_missing_genes_get_their_mean(known, new):
    new = new[:, 4:].copy()
    path = as_h5ad(new)
    with pytest.raises(ValueError, match="lack 4 of the 60 genes"):
        sg.tl.transform(path, known, out="out.zarr", **GIVEN)
    expected = sg.tl.transform(new, known, missing="mean", units="counts", copy=True)
    sg.tl.transform(path, known, missing="mean", units="counts", out="out.zarr", **GIVEN)
    check_same(anndata.read_zarr("out.zarr"), expected)


@pytest.mark.usefixtures("folder")
def test_results_go_into_the_store_of_the_cells(known, new):
    new.obs["own"], new.uns["own"] = 1.5, {"a": 1}
    in_zarr(new, "new.zarr", 3)
    with pytest.raises(ValueError, match="Only a zarr store"):
        sg.tl.transform(as_h5ad(new), known)
    sg.tl.transform("new.zarr", known, obs="kind", **GIVEN)
    expected = sg.tl.transform(new, known, obs="kind", copy=True)
    found = anndata.read_zarr("new.zarr")
    check_same(found, expected, ("kind",))
    assert (found.obs["own"] == 1.5).all()
    assert found.uns["own"] == {"a": 1}
    assert found.X.shape == new.shape
    # a second time, over its own labels, but not over those of somebody else
    sg.tl.transform("new.zarr", known, obs="kind", **GIVEN)
    check_same(anndata.read_zarr("new.zarr"), expected, ("kind",))
    new.obs["kind"] = "mine"
    in_zarr(new, "other.zarr", 2)
    with pytest.raises(ValueError, match="has its own labels"):
        sg.tl.transform("other.zarr", known, obs="kind", **GIVEN)
    sg.tl.transform("other.zarr", known, obs="kind", out="out.zarr", **GIVEN)


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_a_map_of_another_method_keeps_its_record(known, new):
    """Its name in `uns` belongs to the package that made it."""
    known = known.copy()
    known.obsm["X_umap"], known.uns["umap"] = known.obsm["X_geoae"] * 2, {"params": {"a": 0.5}}
    sg.tl.distortion(known, basis="umap", use_rep="X_pca", n_steps=20, progress_bar=False)
    new.uns["umap"] = {"params": {"a": 0.7}}
    in_zarr(new, "new.zarr", 2)
    expected = sg.tl.transform(new, known, key="umap", copy=True)
    sg.tl.transform("new.zarr", known, key="umap", **GIVEN)
    found = anndata.read_zarr("new.zarr")
    np.testing.assert_allclose(found.obsm["X_umap"], expected.obsm["X_umap"], rtol=1e-6, atol=1e-6)
    assert found.uns["umap"] == {"params": {"a": 0.7}}
    assert sg.get.scores(found, key="umap").keys() == sg.get.scores(expected, key="umap").keys()


@pytest.mark.parametrize("form", ["X", *(pytest.param(form, marks=pytest.mark.slow) for form in ("layer", "backed"))])
@pytest.mark.usefixtures("folder")
def test_forms_of_the_reference(known, new, form):
    """The folder gets what its map was made from, which is X, in memory or on disk, or a layer."""
    reference, given = known.copy(), {}
    del new.obsm
    log1p(new)
    if form == "layer":
        reference.layers["log"], new.layers["log"] = reference.X.copy(), new.X.copy()
        reference.X, new.X = reference.X * 3, new.X * 3
        given["layer"] = "log"
    sg.tl.geoae(reference, n_pcs=0, n_steps=20, progress_bar=False, **given)
    if form == "backed":
        reference = anndata.read_h5ad(as_h5ad(reference, "reference.h5ad"), backed="r")
    path = as_h5ad(new)
    expected = sg.tl.transform(new, reference, obs="kind", copy=True)
    sg.tl.transform(path, reference, obs="kind", out="out.zarr", **GIVEN)
    check_same(anndata.read_zarr("out.zarr"), expected, ("kind",))


@for_each("kind", ["a zarr store", "blocks"])
def test_an_interrupted_call_goes_on(known, new, folder, kind):
    with inside(folder, kind), pytest.MonkeyPatch.context() as patch:
        check_goes_on(SOURCES[kind](new), new, known, patch)


def check_goes_on(source: object, new: AnnData, known: AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
    placed, place = [], Job.place

    def stops(self: Job, rows: np.ndarray, block: AnnData) -> int:
        if len(placed) == 1:
            raise KeyboardInterrupt
        placed.append(rows.tolist())
        return place(self, rows, block)

    def goes_on(self: Job, rows: np.ndarray, block: AnnData) -> int:
        placed.append(rows.tolist())
        return place(self, rows, block)

    monkeypatch.setattr(Job, "place", stops)
    with pytest.raises(KeyboardInterrupt):
        sg.tl.transform(source, known, out="out.zarr", **GIVEN)
    assert not Path("out.zarr").exists()
    with pytest.raises(ValueError, match="another 'units'"):
        sg.tl.transform(source, known, units="counts", out="out.zarr", **GIVEN)
    other = known.copy()
    other.obsm["X_geoae"] = other.obsm["X_geoae"] + 1
    with pytest.raises(ValueError, match="another 'map'"):
        sg.tl.transform(source, other, out="out.zarr", **GIVEN)
    monkeypatch.setattr(Job, "place", goes_on)
    sg.tl.transform(source, known, out="out.zarr", **GIVEN)
    assert sorted(row for rows in placed for row in rows) == list(range(150))
    check_same(anndata.read_zarr("out.zarr"), sg.tl.transform(new, known, copy=True))
    assert not Path("out.zarr.part").exists()


@pytest.mark.usefixtures("folder")
def test_another_call_into_the_same_store_is_refused(known, new, monkeypatch):
    place = Job.place

    def placing(self: Job, rows: np.ndarray, block: AnnData) -> int:
        for given in ({}, {"use_rep": "X_rep"}):
            with pytest.raises(
                RuntimeError, match=r"Another call is writing into '.*out\.zarr': wait .* another `out`"
            ):
                sg.tl.transform(new, known, out="out.zarr", **GIVEN, **given)
        with pytest.raises(RuntimeError, match=r"Another call is writing into '.*out\.zarr'"):
            sg.tl.atlas(new, out="out.zarr", use_rep="X_rep", n_sample=100, **GIVEN)
        if rows[0] == 0:
            sg.tl.transform(new, known, out="other.zarr", **GIVEN)
        return place(self, rows, block)

    def alone(self: Job, rows: np.ndarray, block: AnnData) -> int:
        return placing(self, rows, block) if self.store.out.name == "out.zarr" else place(self, rows, block)

    monkeypatch.setattr(Job, "place", alone)
    sg.tl.transform(new, known, out="out.zarr", **GIVEN)
    expected = sg.tl.transform(new, known, copy=True)
    for out in ("out.zarr", "other.zarr"):
        check_same(anndata.read_zarr(out), expected)
    assert {path.name for path in Path().iterdir()} == {"out.zarr", "other.zarr"}


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_a_call_without_room_says_where_and_goes_on(known, new, monkeypatch):
    """Wherever it stops; the errors of zarr and HDF5 do not have a path."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    message = (
        r"There is no room for the results in '.*out\.zarr\.part': No space left .* Make room, and repeat the call"
    )
    for owner, name in (
        (Path, "mkdir"),
        (AnnData, "write_h5ad"),
        *((Unfinished, name) for name in ("create", "write", "gather", "finish")),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, full)
            with pytest.raises(OSError, match=message) as raised:
                sg.tl.transform(new, known, out="out.zarr", **GIVEN)
            assert raised.value.errno == 28, name
    sg.tl.transform(new, known, out="out.zarr", **GIVEN)
    check_same(anndata.read_zarr("out.zarr"), sg.tl.transform(new, known, copy=True))


@pytest.mark.usefixtures("folder")
def test_cells_that_changed_are_not_mixed(known, new, monkeypatch):
    new.write_h5ad("new.h5ad")
    with monkeypatch.context() as patch:
        patch.setattr(Job, "place", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            sg.tl.transform("new.h5ad", known, out="out.zarr", **GIVEN)
    new[::-1].write_h5ad("new.h5ad")
    with pytest.raises(ValueError, match="another 'cells'"):
        sg.tl.transform("new.h5ad", known, out="out.zarr", **GIVEN)


@pytest.mark.usefixtures("folder")
def test_errors_say_what_to_do(known, new):
    path = as_h5ad(new)
    with pytest.raises(TypeError, match="`copy` has no effect"):
        sg.tl.transform(path, known, out="out.zarr", copy=True)
    with pytest.raises(ValueError, match="give their path as `adata_new`"):
        sg.tl.transform(new, known, client=object())
    for source in (new, Blocks(new), [path, new]):
        with pytest.raises(ValueError, match="one after another, can only be placed here"):
            sg.tl.transform(source, known, out="out.zarr", client=object())
    with pytest.raises(TypeError, match=r"Expected `client` to be a dask.distributed.Client, found <object"):
        sg.tl.transform([path], known, out="out.zarr", client=object())
    with pytest.raises(TypeError, match="can be read only once; give an object whose method __iter__ begins anew"):
        sg.tl.transform(iter(Blocks(new)), known, out="out.zarr")
    with pytest.raises(TypeError, match="Expected an AnnData, found a str"):
        sg.tl.transform({"a", "b"}, known, out="out.zarr")
    for nothing in ([], set()):
        with pytest.raises(ValueError, match="There are no"):
            sg.tl.transform(nothing, known, out="out.zarr")
    with pytest.raises(KeyError, match="no column"):
        sg.tl.transform(path, known, obs="no column", out="out.zarr")
    assert not Path("out.zarr.part").exists()


@pytest.mark.usefixtures("folder")
def test_blocks_that_do_not_fit_together(known, new):
    class Promising(Blocks):
        n_obs = 0

    class Different(Blocks):
        def __iter__(self):
            yield self.adata[:10].copy()
            yield self.adata[10:, ::-1].copy()

    blocks = Promising(new)
    blocks.n_obs = 150
    sg.tl.transform(blocks, known, out="right.zarr", **GIVEN)
    assert list(anndata.read_zarr("right.zarr").obs_names) == list(new.obs_names)
    # the first of four blocks for its genes, all for the units, and all to be placed
    assert blocks.n_read == 1 + 4 + 4
    blocks.n_obs = 200
    with pytest.raises(ValueError, match="50 of 200 cells did not come"):
        sg.tl.transform(blocks, known, use_rep="X_rep", out="out.zarr", **GIVEN)
    blocks.n_obs = 100
    with pytest.raises(ValueError, match="more than the 100 cells"):
        sg.tl.transform(blocks, known, use_rep="X_rep", out="out.zarr", **GIVEN)
    with pytest.raises(ValueError, match="begins with cell 'new10' has other genes than the first one"):
        sg.tl.transform(Different(new), known, out="out.zarr", **GIVEN)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.usefixtures("folder")
def test_batches_of_annbatch_land_in_their_rows(known, new, monkeypatch, shuffle):
    annbatch = pytest.importorskip("annbatch")
    new.obs["name"] = new.obs_names

    def loader(**kwargs: object) -> object:
        found = annbatch.Loader(chunk_size=8, preload_nchunks=4, batch_size=32, shuffle=shuffle, **kwargs)
        bare = new.copy()
        del bare.obsm
        return found.add_adata(bare)

    expected = sg.tl.transform(new, known, copy=True)
    place, n_placed = Job.place, []

    def stops(self: Job, rows: np.ndarray, block: AnnData) -> int:
        if len(n_placed) == 1:
            raise KeyboardInterrupt
        n_placed.append(len(rows))
        return place(self, rows, block)

    with monkeypatch.context() as patch:
        patch.setattr(Job, "place", stops)
        with pytest.raises(KeyboardInterrupt):
            sg.tl.transform(loader(return_index=True), known, out="out.zarr", **GIVEN)
    sg.tl.transform(loader(return_index=True), known, out="out.zarr", **GIVEN)
    check_same(anndata.read_zarr("out.zarr"), expected)
    with pytest.raises(ValueError, match=r"need `return_index=True`"):
        sg.tl.transform(loader(), known, out="other.zarr", **GIVEN)
    with pytest.raises(ValueError, match="22 of 150 cells did not come"):
        sg.tl.transform(loader(return_index=True, drop_last=True), known, out="other.zarr", **GIVEN)


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_workers_of_a_cluster_read_a_list_of_files(known, new):
    distributed = pytest.importorskip("distributed")
    expected = sg.tl.transform(new, known, obs="kind", copy=True)
    files = [as_h5ad(new[:70].copy(), "a.h5ad"), as_h5ad(new[70:].copy(), "b.h5ad")]
    with (
        distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        sg.tl.transform(files, known, obs="kind", out="out.zarr", client=client, **GIVEN | {"block_size": 20})
    check_same(anndata.read_zarr("out.zarr"), expected, ("kind",))
    assert zarr.open_group("out.zarr")["obs/kind/codes"].chunks == (20,)
