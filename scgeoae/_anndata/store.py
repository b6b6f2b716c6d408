"""A zarr store that gets the results of a map block by block, and shows them only when they are whole."""

from __future__ import annotations

import json
import shutil
import warnings
from typing import TYPE_CHECKING, Any

import pandas as pd
from anndata import AnnData

from .._files import atomic_write
from .results import removals
from .slots import SIDES, Slots

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Arrays = Mapping[tuple[str, str], NDArray[Any]]

# How anndata recognizes an array.
ENCODING: dict[str, Any] = {"encoding-type": "array", "encoding-version": "0.2.0"}


class Unfinished:
    """The folder ``{out}.part``, in which the results of a map are gathered until all cells have some.

    A block counts once there is a file of its number in ``done``, which is made after its results are written. So a
    process can be killed at any moment, and several can write at a time.

    Parameters
    ----------
    out
        Path of the zarr store that is to be made, or that gets the results.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.folder = out, out.with_name(f"{out.name}.part")
        self.settings, self.sample = self.folder / "settings.json", self.folder / "sample.h5ad"
        self.store, self.done = self.folder / "store", self.folder / "done"
        # exists once the results are whole and are being moved
        self.moving = self.folder / "moving"

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Make the folder, or raise if it holds the mapped sample of a run with other settings."""
        text = json.dumps(settings, default=repr, indent=1)
        now = json.loads(text)
        before = json.loads(self.settings.read_text()) if self.settings.exists() else {}
        other = [repr(name) for name in before | now if before.get(name) != now.get(name)]
        if other and self.sample.exists():
            msg = (
                f"{str(self.folder)!r} holds an unfinished run with another {', '.join(other)}. Repeat the call that "
                "began it, or delete this folder."
            )
            raise ValueError(msg)
        if other:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.done.mkdir(parents=True)
            with atomic_write(self.settings) as scratch:
                scratch.write_text(text)

    def create(self, example: Arrays, names: pd.Index, block_size: int) -> None:
        """Make empty arrays for the cells of these names, with the types and columns of an example.

        If there is no store yet, one with these cells is made, too.
        """
        import zarr

        new, scratch, n = self.folder / "new", self.folder / "empty", len(names)
        if not self.out.exists():
            shutil.rmtree(new, ignore_errors=True)
            AnnData(obs=pd.DataFrame(index=names)).write_zarr(new)
        like = zarr.open_group(self.out if self.out.exists() else new, mode="r")
        root: Any = zarr.open_group(scratch, mode="w", zarr_format=like.metadata.zarr_format)
        for (attribute, name), values in example.items():
            shape = n, *values.shape[1:]
            chunks = min(block_size, n), *values.shape[1:]
            root.require_group(attribute).create_array(
                name, shape=shape, dtype=values.dtype, chunks=chunks, attributes=ENCODING
            )
        scratch.replace(self.store)

    def missing(self, n_blocks: int) -> list[int]:
        """Return the numbers of the blocks that have no results yet."""
        return [i for i in range(n_blocks) if not (self.done / str(i)).exists()]

    def write(self, i: int, start: int, results: Arrays) -> None:
        """Write the results of block i, whose first cell is `start`."""
        import zarr

        root: Any = zarr.open_group(self.store, mode="r+")
        for (attribute, name), values in results.items():
            root[f"{attribute}/{name}"][start : start + len(values)] = values
        (self.done / str(i)).touch()

    def finish(self, key: str, record: Mapping[str, Any]) -> None:
        """Move the results of the map `key` into the store, and remove the folder.

        Those slots of an earlier map of this name that are not replaced are removed. The record in ``uns`` is removed
        first and moved last, so that half of a map never passes for a whole one. Slots are moved in and out as a whole;
        after an interrupt, the call is repeated.
        """
        import zarr
        from anndata.io import read_elem, write_elem

        uns: Any = zarr.open_group(self.store, mode="r+").require_group("uns")
        write_elem(uns, key, dict(record))
        if not self.out.exists():
            self.moving.touch()
            (self.folder / "new").replace(self.out)
        _forget_consolidated(self.out)
        root: Any = zarr.open_group(self.out, mode="r+", use_consolidated=False)
        for attribute in {"obsm", "obsp", "uns"} - set(root):
            write_elem(root, attribute, {})
        if not self.moving.exists():
            gone = removals(AnnData(uns=read_elem(root["uns"])), Slots(key), embedding=True)
            gone |= {(attribute, name): None for attribute in ("obs", "obsm", "obsp", "uns") for name in _names(key)}
            self._remove(f"uns/{key}")
            _list_columns(root["obs"], without={name for _, name in gone})
            # records last, since they name other slots
            for (attribute, name), left in sorted(gone.items(), key=lambda slot: slot[0]):
                if left is None:
                    self._remove(f"{attribute}/{name}")
                else:
                    write_elem(uns, name, left)
            self.moving.touch()
        for attribute in ("obs", "obsm"):
            for array in sorted((self.store / attribute).glob("*/")):
                self._remove(f"{attribute}/{array.name}")
                array.replace(self.out / attribute / array.name)
        _list_columns(root["obs"])
        for name in sorted(uns, key=lambda name: name == key):
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


def _names(key: str) -> set[str]:
    """Return the names of all slots of a map but its record, whose name a column may have."""
    return {name for side in SIDES for name in vars(Slots(key, side)).values()} - {key}


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
