"""Place cells on a map block by block, and gather the results in a store."""

from __future__ import annotations

import importlib.util
import pickle
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
from anndata import AnnData
from tqdm.auto import tqdm

from .._arguments import check_path
from .._files import atomic_write
from .._matrix import in_memory
from .columns import obs_column, obs_labels
from .labels import transferred
from .map import read_map
from .placing import Placer
from .results import Results, changes_of_map
from .slots import names_of_map
from .source import Single
from .store import Unfinished
from .stored_graph import write_graph
from .write import check_finite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from .incoming import Incoming
    from .map import Map
    from .source import Source


@dataclass
class Job:
    """Places blocks of cells on a map, and writes the results. The workers of a cluster get a copy."""

    cells: Source
    store: Unfinished
    """Where the map is, and where the results go."""
    key: str
    """Name of the map."""
    incoming: Incoming
    """How the representation is found."""
    block_size: int
    labels: tuple[str, ...] = ()
    """Columns of labels that are transferred."""

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @cached_property
    def placer(self) -> Placer:
        """Who places them, on the map that is read from the folder."""
        reference = anndata.read_h5ad(self.store.reference)
        return Placer(read_map(reference, self.key), {name: obs_labels(reference, name) for name in self.labels})

    @property
    def slots(self) -> dict[str, Any]:
        """Slots that are read of each cell."""
        return {"use_rep": self.incoming.use_rep, "layer": self.incoming.layer}

    def run(self, start: int) -> int:
        """Place the block that begins with the cell `start`, and return how many cells it has."""
        rows = np.arange(start, min(start + self.block_size, self.cells.n_obs))
        return self.place(rows, self.cells.read(slice(rows[0], rows[-1] + 1), **self.slots))

    def place(self, rows: NDArray[np.intp], block: AnnData) -> int:
        """Place the cells of a block, write the results into their rows, and return how many cells these are."""
        try:
            self.store.write(rows, self.results(block))
        except ValueError as error:
            msg = f"Among the cells in rows {rows.min()} to {rows.max()}: {error}"
            raise ValueError(msg) from error
        return len(rows)

    def results(self, block: AnnData) -> dict[tuple[str, str], NDArray[Any] | pd.Categorical]:
        """Return what is stored of cells, by attribute and name."""
        m = self.placer.map
        placed = self.placer.place(self.incoming.of(block, m))
        results = Results(
            tensors=self.placer.tensors(placed),
            params=m.params,
            scores={},
            is_own=m.is_own,
            embedding=placed.embedding,
            reconstruction_error=placed.error,
            outlier_score=placed.score,
            outlier=placed.score > 1,
            computed={"obs": transferred(self.placer.labels, placed.labels)},
        )
        changes = changes_of_map(block, self.key, results)
        check_finite(changes)
        return {
            slot: value for slot, value in changes.slots.items() if slot[0] in ("obs", "obsm") and value is not None
        }

    def run_all(
        self,
        example: AnnData,
        uns: Callable[[], Mapping[str, Any]],
        *,
        n_neighbors: int = 0,
        client: Any = None,
        progress_bar: bool = True,
    ) -> None:
        """Place all cells that are not placed yet, and move the results into the store when they are whole.

        Parameters
        ----------
        example
            Some of the cells.
        uns
            Returns the entries of ``uns``, once all cells are placed.
        n_neighbors
            Number of neighbors of each cell in the metric graph, or 0 for no graph.
        client
            Of a Dask cluster, whose workers place the cells.
        """
        cells, store = self.cells, self.store
        if not store.store.exists():
            store.create(self.results(Single(example).read(slice(0, 2), **self.slots)), cells.n_obs, self.block_size)
        placed = store.placed(cells.n_obs)
        done: Iterable[int] = ()
        if client is not None:
            done = _on_workers(client, self, np.flatnonzero(~placed[:: self.block_size]) * self.block_size)
        elif not placed.all():
            done = (self.place(*block) for block in cells.blocks(placed, self.block_size, **self.slots))
        n = int(np.count_nonzero(~placed))
        with tqdm(total=n, desc="placing", unit="cell", delay=1, disable=not progress_bar, leave=False) as bar:
            for n_done in done:
                bar.update(n_done)
        if n_neighbors and not store.obsp.exists():
            write_graph(store, self.key, n_neighbors, progress_bar=progress_bar)
        if not store.is_whole:
            store.gather(None if store.out.exists() else cells.names(), uns())
        store.finish(self.key, self.placer.map.entry)


def map_alone(m: Map, labels: Iterable[str] = ()) -> AnnData:
    """Return an AnnData with no more than a map, the representation that it was made from, and columns of labels.

    Any file can hold it. It has no graph.
    """
    adata, use_rep = m.adata, m.params["use_rep"]
    names = names_of_map(m.key)
    columns = dict.fromkeys([name for name in adata.obs.columns if name in names] + list(labels))
    found = AnnData(
        obs=pd.DataFrame(index=adata.obs_names),
        var=pd.DataFrame(index=adata.var_names),
        **{
            attribute: {name: value for name, value in getattr(adata, attribute).items() if name in wanted}
            for attribute, wanted in (("obsm", {m.slot, use_rep, *names}), ("uns", {m.entry}))
        },
    )
    for name in columns:
        found.obs[name] = obs_labels(adata, name) if name in set(labels) else obs_column(adata, name)
    if use_rep == "X":
        layer = m.params.get("layer")
        matrix = in_memory(adata.X if layer is None else adata.layers[layer])
        if layer is None:
            found.X = matrix
        else:
            found.layers[layer] = matrix
    return found


def write_reference(store: Unfinished, reference: AnnData) -> None:
    """Write the map that cells are placed on."""
    with atomic_write(store.reference) as scratch:
        reference.write_h5ad(scratch)


def check_packages(function: str) -> None:
    """Raise if packages are missing that stores need."""
    for package in ("dask", "xarray", "zarr"):
        if importlib.util.find_spec(package) is None:
            msg = f"{function} needs the package {package!r}: pip install 'scgeoae[atlas]'."
            raise ImportError(msg)


def check_client(client: Any, cells: Source, argument: str) -> None:
    """Raise if the workers of a cluster cannot place these cells."""
    if client is None:
        return
    if cells.places is None:
        msg = (
            f"With a `client`, give the path of the cells as `{argument}`, or a list of paths, so that its workers can "
            "read them; cells in memory, or blocks that come one after another, can only be placed here."
        )
        raise ValueError(msg)
    from dask.distributed import Client

    if not isinstance(client, Client):
        msg = (
            f"Expected `client` to be a dask.distributed.Client, found {client!r}; start workers on this machine with "
            "client = dask.distributed.Client()."
        )
        raise TypeError(msg)


def target_of(cells: Source, out: str | Path | None) -> Path:
    """Return the path of the store that gets the results."""
    if out is None:
        if cells.path is None or not cells.path.is_dir():
            msg = "Only a zarr store can get the results of its own cells; give the path of another one as `out`."
            raise ValueError(msg)
        return cells.path
    check_path(out, "out")
    target = Path(out).resolve()
    if target == cells.path and target.is_dir():
        return target
    if target.exists() and not Unfinished(target).is_whole:
        msg = f"There is something at {str(out)!r} already; give another `out`, or delete it."
        raise FileExistsError(msg)
    if not target.parent.is_dir():
        msg = f"There is no folder {str(target.parent)!r} to write {target.name!r} to."
        raise FileNotFoundError(msg)
    if target.suffix == ".h5ad":
        msg = f"Results go into a zarr store, and {str(out)!r} is the name of a file: give one that ends in .zarr."
        raise ValueError(msg)
    return target


def _on_workers(client: Any, job: Job, starts: NDArray[np.intp]) -> Iterator[int]:
    """Place the blocks on the workers of a Dask cluster, and yield how many cells are placed."""
    from dask.distributed import as_completed

    # a task of its own, which is repeated if its worker is lost; in bytes, since the scheduler may not have the files
    shared = client.submit(pickle.loads, pickle.dumps(job), pure=False)
    for future in as_completed(client.map(_on_worker, starts.tolist(), job=shared, pure=False)):
        yield future.result()


def _on_worker(start: int, job: Job) -> int:
    return job.run(start)
