"""Cells that are read some rows at a time, wherever they are."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
from anndata import AnnData

from .._arguments import check_adata
from .._matrix import dense, in_memory

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Source:
    """The cells of an AnnData in memory, backed or lazy, of an `anndata.experimental.AnnCollection`, or of a file.

    Parameters
    ----------
    source
        One of these, or the path of an h5ad file or a zarr store.
    """

    def __init__(self, source: Any) -> None:
        self.path: Path | None = None
        if isinstance(source, str | Path):
            self.path = Path(source).resolve()
            if not self.path.exists():
                msg = f"There is no file or store {str(source)!r}."
                raise FileNotFoundError(msg)
            try:
                source, var_names = _read_lazy(self.path), _names(_index(self.path, "var")[:])
            except (FileNotFoundError, KeyError) as error:
                msg = f"{str(source)!r} is neither a zarr store nor an .h5ad file with an AnnData."
                raise ValueError(msg) from error
        elif not hasattr(source, "adatas"):
            check_adata(source)
        self.adata = source
        self.n_obs, self.n_vars = (int(size) for size in source.shape)
        self.var_names = source.var_names if self.path is None else var_names

    def names(self, rows: NDArray[np.intp] | slice) -> pd.Index:
        """Return the names of some cells."""
        if self.path is None:
            return self.adata.obs_names[rows]
        return _names(_index(self.path, "obs")[rows])

    def sample(self, rows: NDArray[np.intp]) -> AnnData:
        """Return some cells, in ascending order, with all that is known about them."""
        found = self._rows(rows)
        found.obs_names, found.var_names = self.names(rows), self.var_names
        return found

    def _rows(self, rows: NDArray[np.intp]) -> AnnData:
        parts = getattr(self.adata, "adatas", None)
        if parts is None:
            return self.adata[rows].to_memory()
        # `AnnCollection.to_adata` of anndata 0.13 fails where there is an X (findings/anncollection_to_adata.sh)
        starts = np.cumsum([0, *(part.n_obs for part in parts)])
        own = [rows[slice(*np.searchsorted(rows, starts[i : i + 2]))] - starts[i] for i in range(len(parts))]
        found = [part[of].to_memory() for part, of in zip(parts, own, strict=True) if len(of)]
        return anndata.concat(found, merge="same")[:, self.var_names].copy()

    def has(self, use_rep: str) -> bool:
        """Whether the representation is in `obsm`."""
        return all(use_rep in part.obsm for part in getattr(self.adata, "adatas", [self.adata]))

    def block(self, start: int, stop: int, *, use_rep: str | None, layer: str | None) -> AnnData:
        """Return the cells from `start` to `stop` with ``obsm[use_rep]`` alone, or with the genes in X or a layer."""
        rows = slice(start, min(stop, self.n_obs))
        if hasattr(self.adata, "adatas"):
            return self._rows(np.arange(rows.start, rows.stop))
        if use_rep is not None:
            found = self.adata.obsm[use_rep]
            # a data frame has its rows there
            matrix = dense(getattr(found, "iloc", found)[rows])
            return AnnData(obs=pd.DataFrame(index=_numbers(len(matrix))), obsm={use_rep: matrix})
        matrix = in_memory((self.adata.X if layer is None else self.adata.layers[layer])[rows])
        names = pd.DataFrame(index=_numbers(matrix.shape[0])), pd.DataFrame(index=self.var_names)
        return AnnData(None if layer else matrix, *names, layers={layer: matrix} if layer else None)


def _numbers(n: int) -> pd.Index:
    return pd.RangeIndex(n).astype(str)


def _read_lazy(path: Path) -> AnnData:
    from anndata.experimental import read_lazy

    with warnings.catch_warnings():
        # consolidated metadata only save time
        warnings.filterwarnings("ignore", "Did not read zarr as consolidated")
        # the names of ten million cells take 1 GB
        return read_lazy(path, load_annotation_index=False)


def _index(path: Path, axis: str) -> Any:
    """Return the names of the cells or genes in a file, which are read when they are selected."""
    from anndata.experimental import read_elem_lazy
    from anndata.io import read_elem

    frame: Any
    if path.is_dir():
        import zarr

        frame = zarr.open_group(path, mode="r")[axis]
    else:
        import h5py

        frame = h5py.File(path, mode="r")[axis]
    index = frame[frame.attrs["_index"]]
    # strings that may be missing are a group
    return read_elem_lazy(index) if hasattr(index, "shape") else read_elem(index)


def _names(index: Any) -> pd.Index:
    return pd.Index(np.asarray(index, dtype=object)).astype(str)
