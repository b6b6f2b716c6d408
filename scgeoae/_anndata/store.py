"""A zarr store that gets the results of a map block by block, and shows them only when they are whole."""

from __future__ import annotations

import errno
import json
import os
import reprlib
import shutil
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData
from filelock import FileLock, Timeout
from scipy import sparse

from .._files import atomic_write
from .results import removals
from .slots import Slots, names_of_map

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from filelock import BaseFileLock
    from numpy.typing import NDArray

    Columns = Mapping[tuple[str, str], NDArray[Any] | pd.Categorical]

# How anndata recognizes an array.
ENCODING: dict[str, Any] = {"encoding-type": "array", "encoding-version": "0.2.0"}
# Numbers in each file of a graph.
CHUNK = 2**20
# Errors where a disk or the share of a user is full.
FULL = (errno.ENOSPC, errno.EDQUOT)


class Unfinished:
    """The folder ``{out}.part``, in which the results of a map are gathered until all cells have some.

    Cells count as placed once their rows are in a file in ``done``, which is made after their results are written. So a
    process can be killed at any moment, and several can write at a time.

    Parameters
    ----------
    out
        Path of the zarr store that is to be made, or that gets the results.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.folder = out, out.with_name(f"{out.name}.part")
        self.settings, self.reference = self.folder / "settings.json", self.folder / "reference.h5ad"
        self.store, self.done = self.folder / "store", self.folder / "done"
        # exists once all graphs are whole
        self.obsp = self.store / "obsp"
        # becomes the store if there is none
        self.new = self.folder / "new"
        # exists once the results are whole and are being moved
        self.moving = self.folder / "moving"

    @contextmanager
    def locked(self) -> Iterator[Unfinished]:
        """Keep other calls out of the store until this one ends, or raise if one is in it; explain a full disk.

        The lock of a process that is killed ends with it.
        """
        lock = FileLock(f"{self.folder}.lock", timeout=0)
        try:
            with self._explained():
                self._take(lock)
            yield self
        except OSError as error:
            if error.errno not in FULL:
                raise
            msg = (
                f"There is no room for the results in {str(self.folder)!r}: {error.strerror}. Make room, and repeat "
                "the call, which goes on where it stopped."
            )
            raise OSError(error.errno, msg) from error
        finally:
            if lock.is_locked:
                # before its release, so that nobody gets the lock of a file that is gone; Windows does it then
                with suppress(OSError):
                    Path(lock.lock_file).unlink()
                lock.release()

    def _take(self, lock: BaseFileLock) -> None:
        """Take the lock, or raise if another call has it."""
        try:
            lock.acquire()
        except Timeout:
            msg = f"Another call is writing into {str(self.out)!r}: wait until it has ended, or give another `out`."
            raise RuntimeError(msg) from None

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Make the folder, or raise if it holds a map and is of a run with other settings, or cannot be written."""
        text = json.dumps(settings, default=repr, indent=1)
        now = json.loads(text)
        before = json.loads(self.settings.read_text()) if self.settings.exists() else {}
        other = {name: before.get(name) for name in before | now if before.get(name) != now.get(name)}
        if other and self.reference.exists():
            which = ", ".join(f"{name!r} ({reprlib.repr(value)})" for name, value in other.items())
            msg = (
                f"{str(self.folder)!r} holds an unfinished run with another {which}. Repeat the call that began it, or "
                "delete this folder."
            )
            raise ValueError(msg)
        with self._explained():
            if other:
                shutil.rmtree(self.folder, ignore_errors=True)
                self.done.mkdir(parents=True)
                with atomic_write(self.settings) as scratch:
                    scratch.write_text(text)
            if self.out.exists() and not os.access(self.out, os.W_OK):
                raise PermissionError(errno.EACCES, "Permission denied", str(self.out))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say where it is that nothing can be written."""
        try:
            yield
        except OSError as error:
            if error.errno in FULL:
                raise
            msg = (
                f"Cannot write {str(self.folder)!r}, where results are gathered, and {str(self.out)!r}: "
                f"{error.strerror}. Give an `out` in a folder that you can write to."
            )
            raise OSError(error.errno, msg) from error

    def create(self, example: Columns, n: int, block_size: int) -> None:
        """Make empty columns for n cells, with the types and shapes of an example, and a store if there is none yet."""
        import zarr
        from anndata.io import write_elem

        scratch, like = self.folder / "empty", self.out
        if not self.out.exists():
            like = self.new
            shutil.rmtree(like, ignore_errors=True)
            with as_anndata_writes():
                AnnData(obs=pd.DataFrame(index=pd.Index([], dtype=str))).write_zarr(like)
        zarr_format = zarr.open_group(like, mode="r").metadata.zarr_format
        root: Any = zarr.open_group(scratch, mode="w", zarr_format=zarr_format)
        for (attribute, name), values in example.items():
            group = root.require_group(attribute)
            if isinstance(values, pd.Categorical):
                with as_anndata_writes():
                    write_elem(group, name, values[:0])
                del group[name]["codes"]
                group, name, values = group[name], "codes", values.codes  # noqa: PLW2901
            shape = n, *values.shape[1:]
            chunks = min(block_size, n), *values.shape[1:]
            group.create_array(name, shape=shape, dtype=values.dtype, chunks=chunks, attributes=ENCODING)
        scratch.replace(self.store)

    def placed(self, n: int) -> NDArray[np.bool_]:
        """Return which of n cells have results."""
        found = np.zeros(n, dtype=bool)
        for path in self.done.glob("*.npy"):
            found[np.load(path)] = True
        return found

    def write(self, rows: NDArray[np.intp], results: Columns) -> None:
        """Write the results of the cells in some rows."""
        import zarr

        root: Any = zarr.open_group(self.store, mode="r+")
        order = np.argsort(rows)
        first, last = rows[order[0]], rows[order[-1]]
        where = slice(first, last + 1) if last - first + 1 == len(rows) else rows[order]
        for (attribute, name), values in results.items():
            column = root[f"{attribute}/{name}"]
            if isinstance(values, pd.Categorical):
                column, values = column["codes"], values.codes  # noqa: PLW2901
            column.oindex[where] = values[order]
        with atomic_write(self.done / f"{first}.npy") as scratch, scratch.open("wb") as file:
            np.save(file, rows)

    def read(self, attribute: str, name: str, rows: Any = slice(None)) -> NDArray[Any]:
        """Return the results of some cells."""
        import zarr

        root: Any = zarr.open_group(self.store, mode="r")
        return root[f"{attribute}/{name}"].oindex[rows]

    @contextmanager
    def graphs(self, names: Iterable[str], n: int, *, most: int) -> Iterator[dict[str, Any]]:
        """Make graphs of n cells without rows, to which `append` adds some. They are whole at the end of the block.

        Parameters
        ----------
        names
            Their names in ``obsp``.
        most
            Number of edges that none exceeds.
        """
        import zarr
        from anndata.io import sparse_dataset, write_elem

        scratch = self.folder / "graphs"
        zarr_format = zarr.open_group(self.store, mode="r").metadata.zarr_format
        root: Any = zarr.open_group(scratch, mode="w", zarr_format=zarr_format)
        empty = sparse.csr_matrix((0, n), dtype=np.float32)
        # one type for both, as SciPy needs it
        kind = np.int32 if most <= np.iinfo(np.int32).max else np.int64
        empty.indices, empty.indptr = empty.indices.astype(kind), empty.indptr.astype(kind)
        with as_anndata_writes():
            for name in names:
                write_elem(root, name, empty, dataset_kwargs={"chunks": (min(CHUNK, most),)})
        yield {name: sparse_dataset(root[name]) for name in names}
        scratch.replace(self.obsp)

    @property
    def is_whole(self) -> bool:
        """Whether all results are gathered and are being moved into the store."""
        return self.moving.exists()

    def gather(self, names: pd.Index | None, uns: Mapping[str, Any]) -> None:
        """Write what belongs to all cells: their names, if the store is new, and entries of ``uns``."""
        import zarr
        from anndata.io import write_elem

        with as_anndata_writes():
            if names is not None:
                new: Any = zarr.open_group(self.new, mode="r+", use_consolidated=False)
                write_elem(new, "obs", pd.DataFrame(index=names))
            group: Any = zarr.open_group(self.store, mode="r+").require_group("uns")
            for name, value in uns.items():
                write_elem(group, name, value)

    def finish(self, key: str, entry: str) -> None:
        """Move the results of the map `key` into the store, and remove the folder.

        Those slots of an earlier map of this name that are not replaced are removed. The record in ``uns[entry]`` is
        removed first and moved last, so that half of a map never passes for a whole one. Slots are moved in and out as
        a whole; after an interrupt, the call is repeated.
        """
        import zarr
        from anndata.io import read_elem, write_elem

        uns: Any = zarr.open_group(self.store, mode="r+").require_group("uns")
        if not self.out.exists():
            self.moving.touch()
            self.new.replace(self.out)
        _forget_consolidated(self.out)
        root: Any = zarr.open_group(self.out, mode="r+", use_consolidated=False)
        with as_anndata_writes():
            for attribute in {"obsm", "obsp", "uns"} - set(root):
                write_elem(root, attribute, {})
            if not self.moving.exists():
                gone = removals(AnnData(uns=read_elem(root["uns"])), Slots(key), embedding=True)
                gone |= {
                    (attribute, name): None
                    for attribute in ("obs", "obsm", "obsp", "uns")
                    for name in names_of_map(key)
                }
                self._remove(f"uns/{entry}")
                _list_columns(root["obs"], without={name for _, name in gone})
                # records last, since they name other slots
                for (attribute, name), left in sorted(gone.items(), key=lambda slot: slot[0]):
                    if left is None:
                        self._remove(f"{attribute}/{name}")
                    else:
                        write_elem(uns, name, left)
                self.moving.touch()
        for attribute in ("obs", "obsm", "obsp"):
            for array in sorted((self.store / attribute).glob("*/")):
                self._remove(f"{attribute}/{array.name}")
                array.replace(self.out / attribute / array.name)
        _list_columns(root["obs"])
        for name in sorted(uns, key=lambda name: name == entry):
            self._remove(f"uns/{name}")
            (self.store / "uns" / name).replace(self.out / "uns" / name)
        with warnings.catch_warnings():
            # that the third version of the format does not define them yet; anndata writes them all the same
            warnings.simplefilter("ignore", UserWarning)
            zarr.consolidate_metadata(self.out)
        # without it, what is left of the folder is not used again
        self.settings.unlink()
        shutil.rmtree(self.folder)

    def _remove(self, slot: str) -> None:
        """Take a slot out of the store at once, if it is there; deleting it in place could leave a part of it."""
        old = self.folder / "old"
        shutil.rmtree(old, ignore_errors=True)
        if (self.out / slot).exists():
            (self.out / slot).replace(old)


@contextmanager
def as_anndata_writes() -> Iterator[None]:
    """Keep to anndata's default of arrays that are not sharded, without its warning that this default will change."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "zarr v3 autosharding")
        yield


def _list_columns(obs: Any, without: Collection[str] = ()) -> None:
    """Write which columns a data frame in a store has."""
    columns = {name for name in obs if not name.startswith("__")} - {obs.attrs["_index"], *without}
    known = [name for name in obs.attrs["column-order"] if name in columns]
    obs.attrs["column-order"] = known + sorted(columns - set(known))


def _forget_consolidated(path: Path) -> None:
    """Remove the copy of all metadata in a store, which would show arrays as they were."""
    (path / ".zmetadata").unlink(missing_ok=True)
    metadata = path / "zarr.json"
    if metadata.exists():
        found = json.loads(metadata.read_text())
        if found.pop("consolidated_metadata", None) is not None:
            with atomic_write(metadata) as scratch:
                scratch.write_text(json.dumps(found))
