from __future__ import annotations

import importlib.util
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
from scanpy import logging as logg
from tqdm.auto import tqdm

from .._anndata.incoming import incoming_representation
from .._anndata.map import read_map
from .._anndata.placing import Placer
from .._anndata.results import Results, changes_of_map
from .._anndata.source import Source
from .._anndata.store import Unfinished
from .._arguments import check_flag, check_path, checked_integer, checked_map_key, checked_seed
from .._files import atomic_write
from .._matrix import dense
from .._runtime import default_torch_modes
from ._geoae import geoae

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData
    from anndata.experimental import AnnCollection
    from numpy.typing import NDArray

    from .._anndata.representation import Representation


@default_torch_modes
def atlas(
    adata: str | Path | AnnData | AnnCollection,
    *,
    out: str | Path | None = None,
    n_sample: int = 100_000,
    use_rep: str | None = None,
    layer: str | None = None,
    key_added: str | None = None,
    block_size: int = 2**16,
    client: Any = None,
    random_state: int | np.random.RandomState | None = 0,
    progress_bar: bool = True,
    **kwargs: Any,
) -> AnnData:
    r"""Map more cells than memory holds: make a map of a sample, and place all cells on it, block by block.

    The sample is mapped by `scgeoae.tl.geoae`, and every cell is placed as `scgeoae.tl.transform` does, so that its
    position does not depend on the cells around it. The time grows in proportion to the number of cells. Memory holds
    the sample and one block of cells.

    Results are gathered in the folder ``{out}.part`` beside the store. If the call is interrupted or killed, or the
    disk is full, repeat it with the same arguments and cells: once the sample is mapped, only the missing blocks are
    placed. The map appears in the store only when it is whole. It replaces an earlier map of the same name.

    Parameters
    ----------
    adata
        Path of a zarr store or an h5ad file, which is read lazily; or an AnnData in memory, backed or lazy, or an
        AnnCollection.
    out
        Path of the zarr store for the results, which must not exist yet. By default, results are written into the
        store of the cells, if `adata` is the path of a zarr store.
    n_sample
        Number of cells, drawn at random, that the map is made from.
    use_rep, layer, key_added, kwargs
        As in `scgeoae.tl.geoae`, and chosen by the same rules. If there is no representation, the principal components
        of the sample are computed, and the genes of all cells are projected onto them.
    block_size
        Number of cells that are placed at a time.
    client
        A ``dask.distributed.Client``. Its workers place the cells; they read and write the same paths. If one is
        lost, another does its work.
    random_state
        Seed of the sample and of the map.
    progress_bar
        Whether to show progress bars.

    Returns
    -------
    The sample, with its map and everything that `scgeoae.tl.geoae` writes. Other functions take it: draw it, measure
    its distortion, or place new cells on it with `scgeoae.tl.transform`. To get it back from the store, without its
    graph, take the rows in ``uns["{key}"]["sample"]``.

    The store gets, with ``key = key_added or "geoae"`` and in the units of `scgeoae.tl.geoae`:

    ``obsm["X_{key}"]`` : (n, d) float32
        Positions of all cells.
    ``obsm["{key}_metric"]``, ``obsm["{key}_metric_encoder"]`` : (n, d(d+1)/2) float32
        Metric tensors.
    ``obs["{key}_log_area"]``, ``obs["{key}_anisotropy"]``, and the same with ``_encoder`` : float32
        Distortion at each cell. Areas are relative to the mean over the sample.
    ``obs["{key}_reconstruction_error"]`` : float32
        Squared distance between the cell and its reconstruction.
    ``obs["{key}_outlier_score"]``, ``obs["{key}_outlier"]`` : float32, bool
        How unlike the sample a cell is, as in `scgeoae.tl.transform`.
    ``uns["{key}"]`` : dict
        As in `scgeoae.tl.geoae`, without a graph, and ``sample``: the row numbers of the sample.

    Raises
    ------
    FileNotFoundError
        If there is no file or folder of such a name.
    ImportError
        If the packages of ``scgeoae[atlas]`` are not installed.
    FileExistsError
        If there is something else at `out`.
    KeyError
        If `use_rep` or `layer` does not exist.
    TypeError
        If `copy` is given, since nothing is written into `adata`.
    ValueError
        If an argument is out of range, values are not finite, or the folder belongs to a run with other arguments or
        cells.

    See Also
    --------
    scgeoae.tl.transform : Place other cells on the map of the sample.

    Examples
    --------
    >>> import tempfile
    >>> import anndata, scanpy as sc, scgeoae as sg
    >>> store = tempfile.mkdtemp() + "/cells.zarr"
    >>> sc.datasets.pbmc68k_reduced().write_zarr(store)
    >>> sample = sg.tl.atlas(store, n_sample=500, n_steps=20, progress_bar=False)
    >>> sample.shape
    (500, 765)
    >>> anndata.read_zarr(store).obsm["X_geoae"].shape
    (700, 2)
    """
    n_sample = checked_integer(n_sample, "n_sample", 4)
    block_size = checked_integer(block_size, "block_size", 1)
    check_flag(progress_bar, "progress_bar")
    key, seed = checked_map_key(key_added, "geoae"), checked_seed(random_state)
    if "copy" in kwargs:
        msg = "`copy` has no effect, since the results are written into a store; leave it out."
        raise TypeError(msg)
    for package in ("dask", "xarray", "zarr"):
        if importlib.util.find_spec(package) is None:
            msg = f"sg.tl.atlas needs the package {package!r}: pip install 'scgeoae[atlas]'."
            raise ImportError(msg)
    cells = Source(adata)
    store = Unfinished(_target(cells, out))
    if client is not None and cells.path is None:
        msg = "With a `client`, give the path of the cells as `adata`, so that its workers can read them."
        raise ValueError(msg)

    start = logg.info(f"mapping {cells.n_obs} cells by a sample of {min(n_sample, cells.n_obs)}")
    given = {"n_sample": n_sample, "use_rep": use_rep, "layer": layer, "key": key, "block_size": block_size}
    store.begin({"source": str(cells.path), "shape": [cells.n_obs, cells.n_vars], "seed": seed, **given, **kwargs})
    rows = np.sort(np.random.default_rng(seed).permutation(cells.n_obs)[:n_sample])
    job = Job(cells, store, key, block_size)
    if not store.sample.exists():
        sample = cells.sample(rows)
        geoae(
            sample, use_rep=use_rep, layer=layer, key_added=key, random_state=seed, progress_bar=progress_bar, **kwargs
        )
        with atomic_write(store.sample) as scratch:
            sample.write_h5ad(scratch)
    elif not job.has(rows[0]):
        msg = f"The cells are not those that were mapped; delete the folder {str(store.folder)!r} and repeat the call."
        raise ValueError(msg)
    if not store.store.exists():
        store.create(job.results(0, min(2, cells.n_obs)), cells.names(slice(None)), block_size)
    todo = store.missing(-(-cells.n_obs // block_size))
    done = map(job.run, todo) if client is None else _on_workers(client, job, todo)
    for _ in tqdm(done, total=len(todo), desc="placing", unit="block", delay=1, disable=not progress_bar, leave=False):
        pass
    record = {name: value for name, value in job.sample.uns[key].items() if not name.endswith("_key")}
    store.finish(key, {**record, "sample": rows})
    logg.info("    finished", time=start, deep=f"the map is in {str(store.out)!r}")
    return job.sample


class Job:
    """Places blocks of cells on the map of a sample, and writes the results.

    Parameters
    ----------
    cells
        All cells.
    store
        Where the sample with its map is, and where the results go.
    key
        Name of the map.
    block_size
        Number of cells in a block.
    """

    def __init__(self, cells: Source, store: Unfinished, key: str, block_size: int) -> None:
        self.cells, self.store, self.key, self.block_size = cells, store, key, block_size

    @cached_property
    def sample(self) -> AnnData:
        return anndata.read_h5ad(self.store.sample)

    @cached_property
    def placer(self) -> Placer:
        return Placer(read_map(self.sample, self.key))

    def run(self, i: int) -> int:
        """Place block i, write its results, and return its number."""
        start = i * self.block_size
        self.store.write(i, start, self.results(start, min(start + self.block_size, self.cells.n_obs)))
        return i

    def results(self, start: int, stop: int) -> dict[tuple[str, str], NDArray[Any]]:
        """Return what is stored of the cells from `start` to `stop`, by attribute and name."""
        m = self.placer.map
        try:
            block, found = self.read(start, stop)
            placed = self.placer.place(found)
        except ValueError as error:
            msg = f"Among the cells in rows {start} to {stop - 1}: {error}"
            raise ValueError(msg) from error
        results = Results(
            tensors=self.placer.tensors(placed),
            params=m.params,
            scores={},
            is_own=True,
            embedding=placed.embedding,
            reconstruction_error=placed.error,
            outlier_score=placed.score,
            outlier=placed.score > 1,
        )
        slots = changes_of_map(block, self.key, results).slots
        return {slot: value for slot, value in slots.items() if slot[0] in ("obs", "obsm") and value is not None}

    def has(self, first: int) -> bool:
        """Whether the first cell of the sample is still in that row of the source."""
        _, found = self.read(first, first + 1)
        now, before = dense(found.matrix[:1]), dense(self.placer.map.representation.matrix[:1])
        return np.allclose(now, before, rtol=0, atol=1e-3 * np.abs(before).max())

    def read(self, start: int, stop: int) -> tuple[AnnData, Representation]:
        """Return the cells from `start` to `stop` and their representation."""
        m = self.placer.map
        genes, layer, use_rep = m.model.genes, None, None
        # a PCA of the sample is not in the source
        if self.cells.has(m.params["use_rep"]):
            use_rep = m.params["use_rep"]
        elif genes is not None:
            layer = genes.layer
        block = self.cells.block(start, stop, use_rep=use_rep, layer=layer)
        found = incoming_representation(
            block, m, use_rep=use_rep, layer=layer, units="same" if use_rep is None else None, impute=False
        )
        return block, found


def _target(cells: Source, out: str | Path | None) -> Path:
    """Return the path of the store that gets the results."""
    if out is None:
        if cells.path is None or not cells.path.is_dir():
            msg = "Only a zarr store can get the results of its own cells; give the path of another one as `out`."
            raise ValueError(msg)
        return cells.path
    check_path(out)
    target = Path(out).resolve()
    if target == cells.path and target.is_dir():
        return target
    if target.exists() and not Unfinished(target).moving.exists():
        msg = f"There is something at {str(out)!r} already; give another `out`, or delete it."
        raise FileExistsError(msg)
    if not target.parent.is_dir():
        msg = f"There is no folder {str(target.parent)!r} to write {target.name!r} to."
        raise FileNotFoundError(msg)
    return target


def _on_workers(client: Any, job: Job, todo: list[int]) -> Iterable[Any]:
    """Place the blocks on the workers of a Dask cluster, and yield what is done."""
    from dask.distributed import as_completed

    where = str(job.cells.path), str(job.store.out), job.key, job.block_size
    # the time tells this run from an earlier one in the same folder
    futures = client.map(_on_worker, todo, where=where, begun=job.store.sample.stat().st_mtime_ns, pure=False)
    for future in as_completed(futures):
        yield future.result()


def _on_worker(i: int, where: tuple[str, str, str, int], begun: int) -> int:
    return _job(where, begun).run(i)


@lru_cache(maxsize=1)
def _job(where: tuple[str, str, str, int], begun: int) -> Job:
    path, out, key, block_size = where
    return Job(Source(path), Unfinished(Path(out)), key, block_size)
