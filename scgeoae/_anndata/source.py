"""Cells that are read some rows at a time, wherever they are."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
from anndata import AnnData

from .._arguments import check_adata
from .._matrix import dense, in_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Rows = NDArray[np.intp] | slice


def open_source(source: Any) -> Source:
    """Return the cells of a path, an AnnData, several of these, an AnnCollection, or an iterable of blocks."""
    if isinstance(source, str | Path):
        return Stored(source)
    if not needs_store(source):
        return Single(source)
    if hasattr(source, "adatas"):
        return Joined([Single(part) for part in source.adatas], source.var_names, source.obs)
    if not isinstance(source, list | tuple):
        return Stream(source)
    if not source:
        msg = "There are no cells in an empty list."
        raise ValueError(msg)
    return Joined([open_source(part) for part in source])


def needs_store(source: Any) -> bool:
    """Return whether results cannot be written into the source, since it is no AnnData."""
    if isinstance(source, str | Path) or hasattr(source, "adatas"):
        return True
    # of an AnnData or MuData, or of tables and arrays, which are mistakes
    is_one = any(hasattr(source, name) for name in ("obsm", "mod", "columns", "dtype"))
    return isinstance(source, Iterable) and not isinstance(source, Mapping) and not is_one


class Source(ABC):
    """Cells that are read some rows at a time."""

    n_obs: int
    var_names: pd.Index
    path: Path | None = None
    """Of the file or store, if there is one."""

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of cells and genes."""
        return self.n_obs, len(self.var_names)

    @property
    @abstractmethod
    def places(self) -> Any:
        """Paths of all cells, or None if any of them are not in a file."""

    @abstractmethod
    def has(self, attribute: str, name: str) -> bool:
        """Return whether all cells have a slot."""

    @abstractmethod
    def names(self) -> pd.Index:
        """Return the names of all cells."""

    @abstractmethod
    def sample(self, rows: NDArray[np.intp], *, graphs: bool = True) -> AnnData:
        """Return some cells, in ascending order, with all that is known about them; optionally without their graphs."""

    @abstractmethod
    def read(self, rows: slice, *, use_rep: str | None, layer: str | None) -> AnnData:
        """Return some cells with ``obsm[use_rep]`` alone, or with the genes in X or a layer."""

    def close(self) -> None:  # noqa: B027
        """Close the files that were opened."""

    def blocks(
        self, placed: NDArray[np.bool_], size: int, *, use_rep: str | None, layer: str | None
    ) -> Iterator[tuple[NDArray[np.intp], AnnData]]:
        """Yield the rows and the cells, read as by `read`, of each block that is not placed yet."""
        for start in (np.flatnonzero(~placed[::size]) * size).tolist():
            rows = np.arange(start, min(start + size, self.n_obs))
            yield rows, self.read(slice(rows[0], rows[-1] + 1), use_rep=use_rep, layer=layer)


class Single(Source):
    """The cells of an AnnData in memory, backed or lazy."""

    def __init__(self, adata: Any) -> None:
        check_adata(adata)
        self.adata, self.n_obs, self.var_names = adata, int(adata.shape[0]), adata.var_names

    @property
    def places(self) -> str | None:
        return None

    @property
    def columns(self) -> list[str]:
        """Names of the columns of `obs`."""
        return list(self.adata.obs.columns)

    def has(self, attribute: str, name: str) -> bool:
        return name in getattr(self.adata, attribute)

    def names(self) -> pd.Index:
        return self.adata.obs_names

    def sample(self, rows: NDArray[np.intp], *, graphs: bool = True) -> AnnData:
        return self.adata[rows].to_memory()

    def read(self, rows: Rows, *, use_rep: str | None, layer: str | None) -> AnnData:
        if use_rep is not None:
            found = self._matrix("obsm", use_rep)
            # a data frame has its rows there
            matrix = dense(getattr(found, "iloc", found)[rows])
            return AnnData(obs=pd.DataFrame(index=_numbers(len(matrix))), obsm={use_rep: matrix})
        matrix = in_memory((self._matrix("X") if layer is None else self._matrix("layers", layer))[rows])
        names = pd.DataFrame(index=_numbers(matrix.shape[0])), pd.DataFrame(index=self.var_names)
        return AnnData(None if layer else matrix, *names, layers={layer: matrix} if layer else None)

    def _matrix(self, *slot: str) -> Any:
        attribute, *names = slot
        found = getattr(self.adata, attribute)
        return found[names[0]] if names else found


class Stored(Single):
    """The cells of an h5ad file or a zarr store.

    Its matrices are opened one by one, since a lazy AnnData has the names of all cells in memory
    (findings/lazy_range_index.sh).

    Parameters
    ----------
    path
        Of the file or the store.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).resolve()
        if not self.path.exists():
            msg = f"There is no file or store {str(path)!r}."
            raise FileNotFoundError(msg)
        try:
            self.opened = _opened(self.path)
            self.n_obs, self.var_names = len(_index(self.opened, "obs")), _names(_index(self.opened, "var")[:])
        except (FileNotFoundError, KeyError) as error:
            msg = f"{str(path)!r} is neither a zarr store nor an .h5ad file with an AnnData."
            raise ValueError(msg) from error
        self._matrices: dict[tuple[str, ...], Any] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        # workers of a cluster open the file again
        return Stored, (self.path,)

    def close(self) -> None:
        if hasattr(self.opened, "close"):
            self.opened.close()

    @property
    def places(self) -> str:
        return str(self.path)

    @property
    def columns(self) -> list[str]:
        return list(self.opened["obs"].attrs["column-order"])

    def has(self, attribute: str, name: str) -> bool:
        return f"{attribute}/{name}" in self.opened

    def names(self) -> pd.Index:
        return self._names(slice(None))

    def _names(self, rows: Rows) -> pd.Index:
        return _names(_index(self.opened, "obs")[rows])

    def sample(self, rows: NDArray[np.intp], *, graphs: bool = True) -> AnnData:
        adata = _read_lazy(self.opened)
        if not graphs:
            del adata.obsp
        found = adata[rows].to_memory()
        found.obs_names, found.var_names = self._names(rows), self.var_names
        return found

    def _matrix(self, *slot: str) -> Any:
        from anndata.experimental import read_elem_lazy

        if slot not in self._matrices:
            self._matrices[slot] = read_elem_lazy(self.opened["/".join(slot)])
        return self._matrices[slot]


class Joined(Source):
    """Several parts, one after another, joined as by `anndata.concat`.

    Parameters
    ----------
    parts
        Those parts.
    var_names
        Genes, by default those that all parts share.
    obs
        Names of all cells and columns, by default those that they have in their parts.
    """

    def __init__(
        self, parts: Sequence[Source], var_names: pd.Index | None = None, obs: pd.DataFrame | None = None
    ) -> None:
        self.parts, self.obs = parts, obs
        self.starts = np.cumsum([0, *(part.n_obs for part in parts)])
        self.n_obs = int(self.starts[-1])
        if var_names is None:
            var_names = anndata.concat([AnnData(var=pd.DataFrame(index=part.var_names)) for part in parts]).var_names
        self.var_names = var_names

    def close(self) -> None:
        for part in self.parts:
            part.close()

    @property
    def places(self) -> list[Any] | None:
        found = [part.places for part in self.parts]
        return None if None in found else found

    def has(self, attribute: str, name: str) -> bool:
        return all(part.has(attribute, name) for part in self.parts)

    def names(self) -> pd.Index:
        if self.obs is not None:
            return self.obs.index
        return pd.Index(np.concatenate([part.names() for part in self.parts]))

    def sample(self, rows: NDArray[np.intp], *, graphs: bool = True) -> AnnData:
        parts = []
        for part, start, stop in zip(self.parts, self.starts, self.starts[1:], strict=False):
            own = rows[slice(*np.searchsorted(rows, [start, stop]))]
            if len(own):
                parts.append(part.sample(own - start, graphs=graphs))
                if self.obs is not None:
                    parts[-1].obs_names = self.obs.index[own]
        found = self._concat(parts)
        if self.obs is not None:
            obs = self.obs.iloc[rows]
            found.obs = pd.concat([found.obs.loc[:, ~found.obs.columns.isin(obs.columns)], obs], axis=1)
        return found

    def read(self, rows: slice, *, use_rep: str | None, layer: str | None) -> AnnData:
        own = [
            slice(*np.clip([rows.start, rows.stop], *self.starts[i : i + 2]) - self.starts[i]) for i in self._numbers
        ]
        parts = zip(self.parts, own, strict=True)
        found = [part.read(of, use_rep=use_rep, layer=layer) for part, of in parts if of.start < of.stop]
        return found[0] if use_rep is not None and len(found) == 1 else self._concat(found, index_unique="-")

    @property
    def _numbers(self) -> range:
        return range(len(self.parts))

    def _concat(self, parts: list[AnnData], index_unique: str | None = None) -> AnnData:
        found = _concat(parts, index_unique)
        return found[:, self.var_names].copy() if found.n_vars else found


class Stream(Source):
    """Blocks of cells that come one after another, each time that they are asked for.

    Parameters
    ----------
    source
        An iterable of AnnData, or an ``annbatch.Loader``. If it has no `n_obs`, its cells are counted.
    """

    def __init__(self, source: Any) -> None:
        if iter(source) is source:
            msg = (
                f"The blocks of {type(source).__name__!r} can be read only once; give an object whose method __iter__ "
                "begins anew, or a list of files."
            )
            raise TypeError(msg)
        self.source, n_obs = source, getattr(source, "n_obs", None)
        # known once all blocks were read
        self._names: NDArray[Any] | None = None
        self.first: AnnData | None = next((block for _, block in self._items()), None)
        if self.first is None:
            msg = f"There are no blocks of cells in {type(source).__name__!r}."
            raise ValueError(msg)
        self.var_names = self.first.var_names
        self.n_obs = sum(block.n_obs for _, block in self._items()) if n_obs is None else int(n_obs)

    @property
    def places(self) -> None:
        return None

    def has(self, attribute: str, name: str) -> bool:
        return name in getattr(self.first, attribute)

    def names(self) -> pd.Index:
        if self._names is None:
            self._names = np.empty(self.n_obs, dtype=object)
            for rows, block in self._items():
                self._names[rows] = block.obs_names
        return pd.Index(self._names)

    def sample(self, rows: NDArray[np.intp], *, graphs: bool = True) -> AnnData:
        parts, order = [], []
        for found, block in self._items():
            wanted = np.isin(found, rows)
            if wanted.any():
                parts.append(Single(block).sample(np.flatnonzero(wanted)))
                order.append(found[wanted])
        self._check_all(np.isin(rows, np.concatenate([*order, []])))
        return _concat(parts)[np.argsort(np.concatenate(order))].copy()

    def read(self, rows: slice, *, use_rep: str | None, layer: str | None) -> AnnData:
        """Not possible, since there is no random access."""
        raise NotImplementedError

    def blocks(
        self, placed: NDArray[np.bool_], size: int, *, use_rep: str | None, layer: str | None
    ) -> Iterator[tuple[NDArray[np.intp], AnnData]]:
        placed, parts, order, n = placed.copy(), [], [], 0
        names = np.empty(self.n_obs, dtype=object)
        for rows, block in self._items():
            names[rows] = block.obs_names
            new = np.flatnonzero(~placed[rows])
            placed[rows] = True
            if len(new):
                parts.append(Single(block).read(new, use_rep=use_rep, layer=layer))
                order.append(rows[new])
                n += len(new)
            if n >= size:
                yield np.concatenate(order), _concat(parts, "-")
                parts, order, n = [], [], 0
        if n:
            yield np.concatenate(order), _concat(parts, "-")
        self._check_all(placed)
        self._names = names

    def _items(self) -> Iterator[tuple[NDArray[np.intp], AnnData]]:
        """Yield the row numbers and the cells of each block."""
        start = 0
        for item in self.source:
            rows, block = _of_loader(item) if isinstance(item, Mapping) else (None, item)
            check_adata(block)
            if rows is None:
                rows = np.arange(start, start + block.n_obs)
            start += block.n_obs
            if hasattr(self, "var_names") and not block.var_names.equals(self.var_names):
                msg = f"The block that begins with cell {block.obs_names[0]!r} has other genes than the first one."
                raise ValueError(msg)
            if start > getattr(self, "n_obs", start):
                msg = f"There are more than the {self.n_obs} cells that `n_obs` promises."
                raise ValueError(msg)
            yield rows, block

    def _check_all(self, came: NDArray[np.bool_]) -> None:
        if missing := np.count_nonzero(~came):
            msg = (
                f"{missing} of {len(came)} cells did not come; each has to come once whenever the blocks are read "
                "(in an annbatch.Loader: drop_last=False)."
            )
            raise ValueError(msg)


def _of_loader(item: Mapping[str, Any]) -> tuple[NDArray[np.intp], AnnData]:
    """Return the row numbers and the cells of a batch of an ``annbatch.Loader``."""
    matrix, obs, var, rows = (item.get(name) for name in ("X", "obs", "var", "index"))
    if var is None or rows is None:
        what = "`return_index=True`, to know their rows" if rows is None else "`var`, to know their genes"
        msg = f"Batches of cells need {what}: annbatch.Loader(return_index=True).add_adata(adata)."
        raise ValueError(msg)
    names = _numbers(rows) if obs is None else obs.index.astype(str)
    frame = pd.DataFrame(index=names) if obs is None else obs.set_axis(names)
    return np.asarray(rows, dtype=np.intp), AnnData(in_memory(matrix), frame, var)


def _concat(parts: list[AnnData], index_unique: str | None = None) -> AnnData:
    if len(parts) == 1:
        return parts[0]
    found = anndata.concat(parts, merge="same", uns_merge="same", index_unique=index_unique)
    # the base of the logarithm; other records may be of graphs, which are not joined
    found.uns = {name: value for name, value in found.uns.items() if name == "log1p"}
    return found


def _numbers(n: int | NDArray[np.intp]) -> pd.Index:
    return pd.RangeIndex(n).astype(str) if isinstance(n, int) else pd.Index(n).astype(str)


def _opened(path: Path) -> Any:
    """Return the root of a zarr store, or an open HDF5 file."""
    if path.is_dir():
        import zarr

        return zarr.open_group(path, mode="r")
    import h5py

    if not h5py.is_hdf5(path):
        raise FileNotFoundError
    return h5py.File(path, mode="r")


def _read_lazy(opened: Any) -> AnnData:
    from anndata.experimental import read_lazy

    with warnings.catch_warnings():
        # consolidated metadata only save time
        warnings.filterwarnings("ignore", "Did not read zarr as consolidated")
        # the names of ten million cells take 1 GB
        return read_lazy(opened, load_annotation_index=False)


def _index(opened: Any, axis: str) -> Any:
    """Return the names of the cells or genes in a file, which are read when they are selected."""
    from anndata.experimental import read_elem_lazy
    from anndata.io import read_elem

    frame = opened[axis]
    index = frame[frame.attrs["_index"]]
    # strings that may be missing are a group
    return read_elem_lazy(index) if hasattr(index, "shape") else read_elem(index)


def _names(index: Any) -> pd.Index:
    return pd.Index(np.asarray(index, dtype=object)).astype(str)
