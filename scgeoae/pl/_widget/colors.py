"""What cells are colored by: columns of `obs` with the palette of Scanpy, and the measured expression of genes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.colors import is_color_like, to_hex
from scanpy.plotting import palettes
from scipy import sparse

from ..._anndata.columns import obs_column, obs_labels, obs_numbers
from ..._arguments import known
from ..._matrix import blocks, dense

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData
    from numpy.typing import NDArray

# Beyond this number of cells, numbers have half the size.
MAX_FULL = 200_000
# Largest number of categories that a code of two bytes can tell apart.
MAX_CATEGORIES = 2**16 - 1
# Quantiles between which numbers have colors of their own.
RANGE = (0.01, 0.99)


class Color(NamedTuple):
    """One value for each cell, and how it is drawn."""

    entry: dict[str, Any]
    """``name``, ``kind`` ("category" or "number"), ``source`` ("obs" or "gene"), and ``categories`` and ``palette``, or
    ``range``."""
    values: NDArray[Any]
    """(n,) codes of categories, uint8 or uint16 with the largest number for a missing one; or numbers, float32 or
    float16 with NaN for a missing one."""


class Measured(NamedTuple):
    """Where the measured expression of genes is."""

    adata: AnnData
    use_raw: bool | None
    layer: str | None

    def sources(self) -> Iterator[tuple[Any, pd.Index]]:
        """Yield matrices with the names of their columns, in the order of Scanpy: first those of `raw`."""
        adata = self.adata
        if self.use_raw is not False and self.layer is None and adata.raw is not None:
            yield adata.raw.X, adata.raw.var_names
        matrix = adata.X if self.layer is None else adata.layers[self.layer]
        if not self.use_raw and matrix is not None:
            yield matrix, adata.var_names

    def genes(self) -> list[str]:
        """Return the names of all genes."""
        return list(dict.fromkeys(str(name) for _, names in self.sources() for name in names))

    @property
    def where(self) -> str:
        """Where that is, for error messages."""
        return "adata.raw" if self.use_raw else "adata" if self.layer is None else f"adata.layers[{self.layer!r}]"

    def has(self, gene: str) -> bool:
        """Return whether there is such a gene."""
        return any(gene in names for _, names in self.sources())

    def expression(self, gene: str) -> NDArray[np.float32]:
        """Return the (n,) expression of a gene."""
        for matrix, names in self.sources():
            if gene in names:
                return _column(matrix, int(np.flatnonzero(names == gene)[0]))
        msg = f"Did not find {gene!r} among the genes of {self.where}."
        raise KeyError(msg)

    def color(self, name: str) -> Color:
        """Return a column of `obs` or, if there is none of this name, a gene."""
        if name in self.adata.obs:
            return color_of_column(self.adata, name)
        if not self.has(name):
            columns = known(self.adata.obs)
            msg = f"Did not find {name!r} in adata.obs, which has {columns}, nor among the genes of {self.where}."
            raise KeyError(msg)
        return self.color_of_gene(name)

    def color_of_gene(self, gene: str) -> Color:
        """Return the measured expression of a gene."""
        return _numbers(gene, self.expression(gene), "gene")


def color_of_column(adata: AnnData, name: str) -> Color:
    """Return a column of `obs`."""
    column = obs_column(adata, name)
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return _numbers(name, obs_numbers(adata, name), "obs")
    labels = obs_labels(adata, name)
    n = len(labels.categories)
    if n > MAX_CATEGORIES:
        msg = f"adata.obs[{name!r}] has {n} categories, and at most {MAX_CATEGORIES} can be shown; color by another."
        raise ValueError(msg)
    dtype = np.uint8 if n <= np.iinfo(np.uint8).max else np.uint16
    # as integers that hold both: pandas stores codes in as few bits as they take
    codes = np.where(labels.codes < 0, np.iinfo(dtype).max, labels.codes.astype(np.int64)).astype(dtype)
    entry = {
        "name": name,
        "kind": "category",
        "source": "obs",
        "categories": [str(label) for label in labels.categories],
        "palette": palette(adata.uns.get(f"{name}_colors"), n),
    }
    return Color(entry, codes)


def palette(stored: Any, n: int) -> list[str]:
    """Return n colors as ``#rrggbb``: those that are stored if there are enough, else those that Scanpy chooses."""
    chosen = list(stored)[:n] if isinstance(stored, list | tuple | np.ndarray | pd.Series) and np.ndim(stored) else []
    if len(chosen) < n or not all(map(is_color_like, chosen)):
        cycle = mpl.rcParams["axes.prop_cycle"].by_key().get("color", [])
        defaults = (cycle, palettes.default_20, palettes.default_28, palettes.default_102)
        chosen = next((colors for colors in defaults if len(colors) >= n), ["grey"] * n)
    return [to_hex(color) for color in chosen[:n]]


def _numbers(name: str, values: NDArray[Any], source: str) -> Color:
    known_values = values[np.isfinite(values)]
    low, high = np.quantile(known_values, RANGE) if len(known_values) else (0, 1)
    if low == high:  # as for a gene of few cells
        low, high = known_values.min(), known_values.max()
    is_half = len(values) > MAX_FULL and np.abs(known_values).max(initial=0) < np.finfo(np.float16).max
    with np.errstate(over="ignore"):  # what is infinite counts as missing
        shown = values.astype(np.float16 if is_half else np.float32)
    shown[~np.isfinite(shown)] = np.nan
    largest = float(np.finfo(np.float32).max)
    low, high = (float(np.clip(end, -largest, largest)) for end in (low, high))
    return Color({"name": name, "kind": "number", "source": source, "range": [low, high]}, shown)


def _column(matrix: Any, j: int) -> NDArray[np.float32]:
    if np.dtype(matrix.dtype).kind not in "biuf":
        msg = f"Expected the expression in adata to be real numbers, found {matrix.dtype}."
        raise TypeError(msg)
    columns = np.array([j])
    if isinstance(matrix, np.ndarray) or sparse.issparse(matrix):
        values = dense(matrix[:, columns])
    else:  # lazy or on disk
        values = np.concatenate([block for _, block in blocks(matrix, columns)])
    with np.errstate(over="ignore"):
        return values.ravel().astype(np.float32)
