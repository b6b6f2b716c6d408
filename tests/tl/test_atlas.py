"""Maps of more cells than memory holds: each is placed on the map of a sample, wherever the cells are."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import zarr
from scipy import sparse

import scgeoae as sg
from scgeoae._anndata.blockwise import Job
from scgeoae._anndata.slots import COLUMNS
from scgeoae._anndata.store import Unfinished
from scgeoae.tl import _atlas
from scgeoae.training.distributed import Processes

from ..conftest import pbmc

GIVEN = {"n_sample": 300, "n_steps": 20, "block_size": 150, "progress_bar": False}
N_KILLS = 50
OBSM = ("X_geoae", "geoae_metric", "geoae_metric_encoder")
OBS = ("log_area", "anisotropy", "log_area_encoder", "anisotropy_encoder", "reconstruction_error", "outlier_score")


@pytest.fixture
def cells() -> anndata.AnnData:
    adata = pbmc().copy()
    adata.X = sparse.csr_matrix(adata.X)
    # zarr cannot store it in the third version of the format
    del adata.raw, adata.uns["rank_genes_groups"]
    return adata


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check_same(found: anndata.AnnData, expected: anndata.AnnData) -> None:
    assert list(found.obs_names) == list(expected.obs_names)
    for name in OBSM:
        np.testing.assert_allclose(found.obsm[name], expected.obsm[name], rtol=1e-5, atol=1e-6)
    for name in OBS:
        np.testing.assert_allclose(found.obs[f"geoae_{name}"], expected.obs[f"geoae_{name}"], rtol=1e-5, atol=1e-6)
    assert list(found.obs["geoae_outlier"]) == list(expected.obs["geoae_outlier"])


def in_memory(cells: anndata.AnnData, sample: anndata.AnnData, **kwargs: object) -> anndata.AnnData:
    """Place all cells at once."""
    expected = cells.copy()
    sg.tl.transform(expected, sample, **kwargs)
    return expected


def sources(cells: anndata.AnnData) -> dict[str, object]:
    from anndata.experimental import AnnCollection, read_lazy

    cells.write_h5ad("cells.h5ad")
    cells.write_zarr("cells.zarr")
    return {
        "in memory": cells,
        "backed": anndata.read_h5ad("cells.h5ad", backed="r"),
        "read lazily": read_lazy("cells.zarr"),
        "an AnnCollection": AnnCollection([cells[:400].copy(), cells[400:].copy()], join_vars="inner"),
        "an h5ad file": "cells.h5ad",
        "a zarr store": Path("cells.zarr"),
    }


@pytest.mark.parametrize(
    "kinds",
    [
        ["a zarr store", "an AnnCollection"],
        pytest.param(["in memory", "backed", "read lazily", "an h5ad file"], marks=pytest.mark.slow),
    ],
)
@pytest.mark.usefixtures("folder")
def test_positions_are_those_in_memory_wherever_the_cells_are(kinds, cells):
    for kind, source in sources(cells).items():
        if kind not in kinds:
            continue
        sample = sg.tl.atlas(source, out=f"{kind}.zarr", use_rep="X_pca", **GIVEN)
        assert sample.n_obs == 300, kind
        found = anndata.read_zarr(f"{kind}.zarr")
        check_same(found, in_memory(cells, sample, use_rep="X_pca"))
        # those of the sample are where its own map has them
        rows = found.uns["geoae"]["sample"]
        assert list(found.obs_names[rows]) == list(sample.obs_names), kind
        np.testing.assert_allclose(found.obsm["X_geoae"][rows], sample.obsm["X_geoae"], atol=1e-5)
        assert not Path(f"{kind}.zarr.part").exists(), kind


@pytest.mark.usefixtures("folder")
def test_genes_are_projected_onto_components_of_the_sample(cells):
    for name in ("obsm", "varm", "uns", "obsp"):
        getattr(cells, name).clear()
    cells.write_zarr("cells.zarr")
    with pytest.warns(UserWarning, match="computing it with sc.pp.pca"):
        sample = sg.tl.atlas("cells.zarr", out="map.zarr", **GIVEN)
    check_same(anndata.read_zarr("map.zarr"), in_memory(cells, sample, units="same"))


@pytest.mark.parametrize("zarr_format", [pytest.param(2, marks=pytest.mark.slow), 3])
@pytest.mark.filterwarnings("ignore:This setting will be removed")
@pytest.mark.usefixtures("folder")
def test_a_store_keeps_its_own_slots_and_loses_those_of_an_earlier_map(zarr_format, cells):
    sg.tl.geoae(cells, n_steps=10, refine=False, progress_bar=False)
    with anndata.settings.override(zarr_write_format=zarr_format), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cells.write_zarr("cells.zarr")
    sample = sg.tl.atlas("cells.zarr", use_rep="X_pca", **GIVEN)
    found = anndata.read_zarr("cells.zarr")
    check_same(found, in_memory(cells, sample, use_rep="X_pca"))
    assert list(found.obs["bulk_labels"]) == list(cells.obs["bulk_labels"])
    assert "X_umap" in found.obsm
    assert not [name for name in found.obsp if "geoae" in name]
    assert sg.get.model(found).n_components == 2
    # a lazy reader sees the same
    lazy = anndata.experimental.read_lazy("cells.zarr")
    np.testing.assert_array_equal(lazy.obsm["X_geoae"].compute(), found.obsm["X_geoae"])


@pytest.mark.usefixtures("folder")
def test_an_interrupted_run_goes_on_where_it_was(cells, monkeypatch):
    cells.write_zarr("cells.zarr")
    whole = sg.tl.atlas("cells.zarr", out="whole.zarr", use_rep="X_pca", **GIVEN)
    place, blocks = Job.place, []

    def stops(self: Job, rows: np.ndarray, block: anndata.AnnData) -> int:
        if len(blocks) == 2:
            raise KeyboardInterrupt
        blocks.append(rows[0] // 150)
        return place(self, rows, block)

    monkeypatch.setattr(Job, "place", stops)
    with pytest.raises(KeyboardInterrupt):
        sg.tl.atlas("cells.zarr", use_rep="X_pca", **GIVEN)
    assert "X_geoae" not in anndata.read_zarr("cells.zarr").obsm
    with pytest.raises(ValueError, match=r"another 'n_sample' \(300\). Repeat the call that began it, or delete"):
        sg.tl.atlas("cells.zarr", use_rep="X_pca", **GIVEN | {"n_sample": 200})

    def counted(self: Job, rows: np.ndarray, block: anndata.AnnData) -> int:
        blocks.append(rows[0] // 150)
        return place(self, rows, block)

    monkeypatch.setattr(Job, "place", counted)
    sample = sg.tl.atlas("cells.zarr", use_rep="X_pca", **GIVEN)
    assert blocks == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(sample.obsm["X_geoae"], whole.obsm["X_geoae"])
    check_same(anndata.read_zarr("cells.zarr"), anndata.read_zarr("whole.zarr"))


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_half_of_a_map_never_passes_for_a_whole_one(cells, monkeypatch):
    """Stop at each array and at the record that are moved into a store with an earlier map, and finish later."""
    sg.tl.geoae(cells, n_steps=10, refine=False, progress_bar=False)
    cells.write_zarr("before.zarr")
    moves, replace = [], Path.replace

    def move(self: Path, target: Path) -> Path:
        if Path(target).parts[-3] == "cells.zarr" and "store" in self.parts:
            moves.append(target.name)
            if len(moves) == stop_at:
                raise OSError(28, "No space left on device")
        return replace(self, target)

    expected = None
    for stop_at in range(1, 15):
        shutil.copytree("before.zarr", "cells.zarr")
        if stop_at > 1:
            shutil.copytree("before.part", "cells.zarr.part")
        moves.clear()
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", move)
            with pytest.raises(OSError, match="No space left"):
                sg.tl.atlas("cells.zarr", use_rep="X_pca", graph=True, **GIVEN)
        assert "geoae" not in anndata.read_zarr("cells.zarr").uns
        if stop_at == 1:
            shutil.copytree("cells.zarr.part", "before.part")
            Path("before.part/moving").unlink()
        sample = sg.tl.atlas("cells.zarr", use_rep="X_pca", graph=True, **GIVEN)
        found = anndata.read_zarr("cells.zarr")
        if expected is None:
            expected = in_memory(cells, sample, use_rep="X_pca")
            expected.obsp.update({name: graph for name, graph in found.obsp.items() if name.startswith("geoae_")})
        check_same(found, expected)
        for name in ("metric", "distances", "connectivities"):
            assert (found.obsp[f"geoae_{name}"] != expected.obsp[f"geoae_{name}"]).nnz == 0
        shutil.rmtree("cells.zarr")
    # the last of them was the record
    assert len(moves) == 14


@pytest.mark.usefixtures("folder")
def test_errors_say_what_to_do(cells, monkeypatch):
    cells.write_zarr("cells.zarr")
    cells.write_h5ad("cells.h5ad")
    with pytest.raises(FileNotFoundError, match=r"no file or store 'none\.zarr'"):
        sg.tl.atlas("none.zarr")
    zarr.open_group("other.zarr", mode="w")
    Path("cells.txt").touch()
    for source in ("other.zarr", "cells.txt"):
        with pytest.raises(ValueError, match=rf"'{source}' is neither a zarr store nor an \.h5ad file"):
            sg.tl.atlas(source, out="map.zarr")
    for source in (cells, "cells.h5ad"):
        with pytest.raises(ValueError, match="give the path of another one as `out`"):
            sg.tl.atlas(source)
    with pytest.raises(FileExistsError, match="give another `out`"):
        sg.tl.atlas("cells.h5ad", out="cells.zarr")
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        sg.tl.atlas("cells.h5ad", out="nowhere/map.zarr")
    with pytest.raises(ValueError, match="give the path of the cells as `adata`"):
        sg.tl.atlas(cells, out="map.zarr", client=object())
    with pytest.raises(TypeError, match=r"a dask.distributed.Client, found 'tcp://.*'; start workers .*Client\(\)"):
        sg.tl.atlas("cells.zarr", client="tcp://127.0.0.1:8786")
    with pytest.raises(TypeError, match="`copy` has no effect"):
        sg.tl.atlas("cells.zarr", copy=True)
    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None if name == "zarr" else find_spec(name))
        with pytest.raises(ImportError, match=r"package 'zarr': pip install 'scgeoae\[atlas\]'"):
            sg.tl.atlas("cells.zarr")
    with pytest.raises(KeyError, match="'X_none'"):
        sg.tl.atlas("cells.zarr", use_rep="X_none", **GIVEN)


@pytest.mark.usefixtures("folder")
def test_cells_without_finite_numbers_are_found(cells):
    sample = np.sort(np.random.default_rng(0).permutation(cells.n_obs)[:300])
    bad = np.setdiff1d(np.arange(450, 600), sample)[0]
    cells.obsm["X_pca"][bad] = np.nan
    with pytest.raises(ValueError, match=r"Among the cells in rows 450 to 599: 1 of 150 cells have NaN"):
        sg.tl.atlas(cells, out="map.zarr", use_rep="X_pca", **GIVEN)
    assert not Path("map.zarr").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_workers_of_a_cluster_place_the_cells_and_one_is_lost(cells):
    distributed = pytest.importorskip("distributed")
    given = GIVEN | {"use_rep": "X_pca", "block_size": 10}
    cells.write_zarr("cells.zarr")
    alone = sg.tl.atlas("cells.zarr", out="alone.zarr", **given)
    done, killed = Path("map.zarr.part/done"), []

    def kill(pid: int) -> None:
        while not (done.exists() and len(list(done.iterdir())) >= 5):
            time.sleep(0.01)
        os.kill(pid, signal.SIGKILL)
        killed.append(len(list(done.iterdir())))

    with (
        distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        pool.submit(kill, cluster.workers[0].pid)
        sample = sg.tl.atlas("cells.zarr", out="map.zarr", client=client, **given)
    assert killed
    assert killed[0] < 70
    np.testing.assert_array_equal(sample.obsm["X_geoae"], alone.obsm["X_geoae"])
    check_same(anndata.read_zarr("map.zarr"), anndata.read_zarr("alone.zarr"))


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_a_run_that_is_killed_at_any_moment_goes_on_to_the_same_store(cells):
    cells.write_zarr("cells.zarr")
    given = GIVEN | {"block_size": 5, "use_rep": "X_pca", "out": "map.zarr"}
    context = multiprocessing.get_context("forkserver")
    # a new process then starts at once, and most moments are those of the run
    context.set_forkserver_preload(["scanpy", "scgeoae", "scgeoae.tl"])

    def run(seconds: float | None = None) -> int:
        process = context.Process(target=sg.tl.atlas, args=("cells.zarr",), kwargs=given)
        process.start()
        process.join(seconds)
        process.kill()
        process.join()
        return process.exitcode

    assert run() == 0
    expected, seconds = anndata.read_zarr("map.zarr"), []
    for _ in range(3):
        shutil.rmtree("map.zarr")
        start = time.perf_counter()
        assert run() == 0
        seconds.append(time.perf_counter() - start)
    rng, killed_in = np.random.default_rng(0), Counter()
    while killed_in.total() < N_KILLS:
        shutil.rmtree("map.zarr")
        was_killed = run(rng.uniform(0.05, 1) * np.median(seconds)) != 0
        part = Unfinished(Path("map.zarr").resolve())
        is_whole = Path("map.zarr").exists() and not part.settings.exists()
        if was_killed and not is_whole:
            stages = {"moving": part.moving, "placing": part.store, "mapping": part.folder}
            killed_in[next((stage for stage, path in stages.items() if path.exists()), "reading")] += 1
        if not is_whole:
            assert run() == 0
            assert not part.folder.exists()
        check_same(anndata.read_zarr("map.zarr"), expected)
    assert killed_in["mapping"] > 0
    assert killed_in["placing"] > 0


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_genes_of_a_layer_are_projected(cells):
    """X is in other units, so that its cells would lie elsewhere."""
    cells.layers["other"] = cells.X * 2
    with pytest.warns(UserWarning, match="computing it with sc.pp.pca"):
        sample = sg.tl.atlas(cells, out="map.zarr", layer="other", refine=False, **GIVEN)
    check_same(anndata.read_zarr("map.zarr"), in_memory(cells, sample, layer="other", units="same"))


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_components_in_a_data_frame_and_names_in_nullable_strings_are_read_lazily(cells):
    components = cells.obsm["X_pca"]
    cells.obsm["X_pca"] = pd.DataFrame(components, cells.obs_names, [f"PC{i}" for i in range(components.shape[1])])
    cells.obs_names = cells.obs_names.astype("string")
    with anndata.settings.override(allow_write_nullable_strings=True):
        cells.write_zarr("cells.zarr")
    sample = sg.tl.atlas("cells.zarr", use_rep="X_pca", refine=False, **GIVEN)
    check_same(anndata.read_zarr("cells.zarr"), in_memory(cells, sample, use_rep="X_pca"))


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_a_call_with_a_mistake_is_mended_and_repeated(cells):
    """Nothing is kept of a run whose sample has no map yet."""
    cells.write_zarr("cells.zarr")
    given = GIVEN | {"refine": False}
    with pytest.raises(KeyError, match="'X_none'"):
        sg.tl.atlas("cells.zarr", use_rep="X_none", **given)
    with pytest.raises(ValueError, match="n_steps"):
        sg.tl.atlas("cells.zarr", use_rep="X_pca", **given | {"n_steps": -1})
    sg.tl.atlas("cells.zarr", out="cells.zarr", use_rep="X_pca", **given)
    assert not Path("cells.zarr.part").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_another_run_is_refused_while_the_sample_is_mapped(cells, monkeypatch):
    given = GIVEN | {"refine": False, "use_rep": "X_pca"}
    cells.write_zarr("cells.zarr")
    make, mapped = _atlas.geoae, []

    def mapping(sample: anndata.AnnData, **kwargs: object) -> None:
        mapped.append(sample)
        for seed in (0, 5):
            with pytest.raises(RuntimeError, match=r"Another call is writing into '.*cells\.zarr': wait until"):
                sg.tl.atlas("cells.zarr", random_state=seed, **given)
        make(sample, **kwargs)

    monkeypatch.setattr(_atlas, "geoae", mapping)
    sample = sg.tl.atlas("cells.zarr", **given)
    assert mapped == [sample]
    check_same(anndata.read_zarr("cells.zarr"), in_memory(cells, sample, use_rep="X_pca"))
    assert [path.name for path in Path().iterdir()] == ["cells.zarr"]


@pytest.mark.usefixtures("folder")
def test_each_process_of_a_group_needs_its_own_store(cells, monkeypatch):
    cells.write_zarr("cells.zarr")
    monkeypatch.setattr(_atlas, "processes", lambda: Processes(1, 2))
    with pytest.raises(ValueError, match=r"The 2 processes .* out=f'map\{torch\.distributed\.get_rank\(\)\}\.zarr'"):
        sg.tl.atlas("cells.zarr", **GIVEN)
    assert not Path("cells.zarr.part").exists()


@pytest.mark.usefixtures("folder")
def test_an_interrupted_run_goes_on_only_with_the_same_cells_arguments_and_store(cells, monkeypatch):
    given = GIVEN | {"refine": False, "use_rep": "X_pca"}
    cells.write_zarr("cells.zarr")
    with monkeypatch.context() as patch:
        patch.setattr(Job, "place", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            sg.tl.atlas("cells.zarr", **given)
        with pytest.raises(KeyboardInterrupt):
            sg.tl.atlas(cells, out="map.zarr", **given)
    # a default in place of what was given is another argument
    with pytest.raises(ValueError, match="another 'n_steps'"):
        sg.tl.atlas("cells.zarr", **{name: value for name, value in given.items() if name != "n_steps"})
    # the store belongs to the run in it
    with pytest.raises(FileExistsError, match="give another `out`"):
        sg.tl.atlas(cells, out="cells.zarr", **given)
    changed = cells.copy()
    changed.obsm["X_pca"][np.random.default_rng(0).permutation(cells.n_obs)[:300].max(), 3] += 1
    for other in (cells[::-1].copy(), changed):
        with pytest.raises(ValueError, match="not those that were mapped; delete the folder"):
            sg.tl.atlas(other, out="map.zarr", **given)
    sg.tl.atlas(cells, out="map.zarr", **given)


def test_a_store_without_groups_gets_them(tmp_path):
    out = tmp_path / "cells.zarr"
    anndata.io.write_elem(zarr.open_group(out, mode="w", zarr_format=2), "obs", pd.DataFrame(index=list("abcd")))
    unfinished, arrays = Unfinished(out), {("obsm", "X_geoae"): np.ones((4, 2))}
    unfinished.begin({"a": 1})
    unfinished.create(arrays, 4, 4)
    unfinished.write(np.arange(4), arrays)
    unfinished.gather(None, {"geoae": {"n": 1}})
    unfinished.finish("geoae", "geoae")
    assert anndata.io.read_elem(zarr.open_group(out)["uns"]) == {"geoae": {"n": 1}}
    np.testing.assert_array_equal(zarr.open_group(out)["obsm/X_geoae"][:], 1)


def test_what_is_left_of_a_removed_folder_is_not_used(tmp_path, monkeypatch):
    unfinished = Unfinished(tmp_path / "map.zarr")
    unfinished.begin({"a": 1})
    arrays = {("obsm", "X_geoae"): np.ones((4, 2))}
    unfinished.create(arrays, 4, 4)
    unfinished.write(np.arange(4), arrays)
    unfinished.gather(pd.Index(list("abcd")), {"geoae": {"n": 1}})

    rmtree = shutil.rmtree

    def stop(path: Path, *args: object, **kwargs: object) -> None:
        if path == unfinished.folder:
            raise KeyboardInterrupt
        rmtree(path, *args, **kwargs)

    monkeypatch.setattr(shutil, "rmtree", stop)
    with pytest.raises(KeyboardInterrupt):
        unfinished.finish("geoae", "geoae")
    assert unfinished.placed(4).all()
    monkeypatch.setattr(shutil, "rmtree", rmtree)
    unfinished.begin({"a": 1})
    assert not unfinished.placed(4).any()


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_slots_of_an_earlier_map_are_never_deleted_in_place(cells, monkeypatch):
    """A kill would leave a part of them, and the store could not be read. Columns named as the map are kept."""
    key = "geoae"
    cells.obs[key], cells.uns[key] = "a", {"params": {"a": np.ones(3)}}
    cells.obsm[f"X_{key}"] = np.ones((cells.n_obs, 2))
    cells.obsp[f"{key}_distances"] = sparse.identity(cells.n_obs, format="csr")
    cells.obs[f"{key}_outlier"] = pd.Categorical(["a"] * cells.n_obs)
    cells.obs[f"{key}_density_B"], cells.uns[f"{key}_density"] = 1.0, {"conditions": ["A", "B"]}
    cells.obsm[f"velocity_{key}"] = np.ones((cells.n_obs, 2))
    cells.uns[f"velocity_{key}"] = {"params": {"key": key, "method": "projection"}}
    bases = [key, "umap"]
    cells.uns["evaluation"] = pd.DataFrame({name: bases if name == "basis" else "1" for name in COLUMNS}, ["0", "1"])
    cells.write_zarr("cells.zarr")
    removed, rmtree = [], shutil.rmtree

    def note(path: Path, *args: object, **kwargs: object) -> None:
        removed.append(Path(path).resolve())
        rmtree(path, *args, **kwargs)

    monkeypatch.setattr(shutil, "rmtree", note)
    sg.tl.atlas("cells.zarr", use_rep="X_pca", refine=False, **GIVEN)
    assert removed
    assert not [path for path in removed if path.is_relative_to(Path("cells.zarr").resolve())]
    found = anndata.read_zarr("cells.zarr")
    assert list(found.obs[key].unique()) == ["a"]
    assert found.obs[f"{key}_outlier"].dtype == bool
    assert "a" not in found.uns[key]["params"]
    assert f"{key}_distances" not in found.obsp
    assert f"{key}_density_B" not in found.obs
    assert f"velocity_{key}" not in found.obsm
    assert list(found.uns["evaluation"]["basis"]) == ["umap"]


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_the_sample_is_regained_from_the_store(cells):
    cells.write_zarr("cells.zarr")
    sample = sg.tl.atlas("cells.zarr", use_rep="X_pca", **GIVEN)
    adata = anndata.experimental.read_lazy("cells.zarr")
    regained = adata[np.asarray(adata.uns["geoae"]["sample"])].to_memory()
    found = in_memory(cells[:50], regained, use_rep="X_pca")
    np.testing.assert_allclose(
        found.obsm["X_geoae"], in_memory(cells[:50], sample, use_rep="X_pca").obsm["X_geoae"], atol=1e-5
    )


@pytest.mark.usefixtures("folder")
def test_what_no_file_can_hold_stays_with_the_sample(cells, monkeypatch):
    """The map is written after training, and read again by a call that goes on."""
    cells.uns["odd"], cells.obs["odd"] = object(), [(i,) for i in range(cells.n_obs)]
    given = GIVEN | {"refine": False, "out": "map.zarr"}
    for name in ("obsm", "obsp"):
        getattr(cells, name).clear()
    del cells.uns["neighbors"]
    # what is left of an earlier PCA
    cells.varm["PCs"] = np.zeros_like(cells.varm["PCs"])
    with monkeypatch.context() as patch:
        patch.setattr(Job, "place", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt), pytest.warns(UserWarning, match="computing it with sc.pp.pca"):
            sg.tl.atlas(cells, **given)
    sample = sg.tl.atlas(cells, **given)
    rows = anndata.read_zarr("map.zarr").uns["geoae"]["sample"]
    expected = cells[rows].copy()
    with pytest.warns(UserWarning, match="computing it with sc.pp.pca"):
        sg.tl.geoae(expected, n_steps=20, refine=False, progress_bar=False)
    assert sample.uns["odd"] is cells.uns["odd"]
    assert list(sample.obs.columns) == list(expected.obs.columns)
    assert sample.obs["odd"].equals(expected.obs["odd"])
    for attribute in ("obsm", "varm", "obsp", "uns"):
        assert set(getattr(sample, attribute)) == set(getattr(expected, attribute)), attribute
    for name in expected.obsm:
        np.testing.assert_allclose(sample.obsm[name], expected.obsm[name], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(sample.varm["PCs"], expected.varm["PCs"], atol=1e-6)
    np.testing.assert_allclose(sample.uns["pca"]["variance"], expected.uns["pca"]["variance"], rtol=1e-5)
    assert abs(sample.obsp["geoae_distances"] - expected.obsp["geoae_distances"]).max() < 1e-5


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_ctrl_c_in_training_leaves_the_store_as_it_was(cells, monkeypatch):
    cells.write_zarr("cells.zarr")

    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in Path("cells.zarr").rglob("*") if path.is_file()}

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    before = files()
    with monkeypatch.context() as patch:
        patch.setattr("scgeoae.training.refine.Positions.step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sg.tl.atlas("cells.zarr", use_rep="X_pca", **GIVEN)
    assert files() == before
    # also with other arguments, since nothing was mapped yet
    sample = sg.tl.atlas("cells.zarr", use_rep="X_pca", **GIVEN | {"n_sample": 200})
    check_same(anndata.read_zarr("cells.zarr"), in_memory(cells, sample, use_rep="X_pca"))


@pytest.mark.usefixtures("folder")
def test_a_folder_that_cannot_be_written_is_found_before_training(cells, monkeypatch):
    cells.write_zarr("cells.zarr")
    monkeypatch.setattr("scgeoae.tl._atlas.geoae", None)
    mkdir = Path.mkdir

    def read_only(self: Path, *args: object, **kwargs: object) -> None:
        if self.is_relative_to(Path("cells.zarr.part").resolve()):
            raise PermissionError(13, "Permission denied", str(self))
        mkdir(self, *args, **kwargs)

    message = (
        r"Cannot write '.*cells.zarr.part', .*: Permission denied. Give an `out` in a folder that you can write to"
    )
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", read_only)
        with pytest.raises(OSError, match=message):
            sg.tl.atlas("cells.zarr", **GIVEN)
    # the store alone
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda path, mode: path != Path("cells.zarr").resolve())
        with pytest.raises(OSError, match=message):
            sg.tl.atlas("cells.zarr", **GIVEN)


@pytest.mark.usefixtures("folder")
def test_a_list_of_files_and_blocks_are_mapped_as_one(cells):
    """With genes that are projected onto components of the sample."""

    class Blocks:
        n_obs = cells.n_obs

        def __iter__(self):
            return (cells[start : start + 170].copy() for start in range(0, 700, 170))

    for name in ("obsm", "varm", "uns", "obsp"):
        getattr(cells, name).clear()
    cells[:300].write_h5ad("a.h5ad")
    cells[300:].write_zarr("b.zarr")
    maps = []
    for source in (cells, ["a.h5ad", "b.zarr"], Blocks()):
        out = f"{len(maps)}.zarr"
        with pytest.warns(UserWarning, match="computing it with sc.pp.pca"):
            sample = sg.tl.atlas(source, out=out, refine=False, **GIVEN)
        assert list(sample.obs["bulk_labels"]) == list(cells[sample.obs_names].obs["bulk_labels"])
        maps.append(anndata.read_zarr(out))
    for found in maps[1:]:
        check_same(found, maps[0])
        np.testing.assert_array_equal(found.uns["geoae"]["sample"], maps[0].uns["geoae"]["sample"])


@pytest.mark.usefixtures("folder")
def test_shuffled_batches_of_annbatch_are_mapped_as_the_cells_in_memory(cells):
    annbatch = pytest.importorskip("annbatch")
    for name in ("obsm", "varm", "uns", "obsp"):
        getattr(cells, name).clear()
    loader = annbatch.Loader(chunk_size=10, preload_nchunks=8, batch_size=80, shuffle=True, return_index=True)
    maps = []
    for source in (cells, loader.add_adata(cells)):
        out = f"{len(maps)}.zarr"
        with pytest.warns(UserWarning, match="computing it with sc.pp.pca"):
            sg.tl.atlas(source, out=out, refine=False, **GIVEN)
        maps.append(anndata.read_zarr(out))
    check_same(maps[1], maps[0])
