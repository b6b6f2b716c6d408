"""Fold changes of genes between groups of cells and all others, as Scanpy computes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from ..training.blocks import blocks
from .representation import in_memory
from .units import N_READ, scaling_of, spread_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

# No log1p is larger: that of a count of 500 million.
LARGEST_LOG1P = 20
# What Scanpy adds to both means.
TINY = 1e-9


def log_fold_changes(
    adata: AnnData, genes: Sequence[str], groups: Sequence[NDArray[np.intp]], layer: str | None
) -> NDArray[np.float32]:
    """Return the log2 fold changes of genes between the cells in each of k groups and all others, (k, g).

    As `scanpy.tl.rank_genes_groups` has them: of the means of log1p values, whose log1p is undone. Those are taken of
    `layer`, of X or of ``raw``, the first that holds log1p values. All are NaN if none does, and those of genes that it
    lacks.
    """
    found = np.full((len(groups), len(genes)), np.nan, dtype=np.float32)
    for matrix, names in _sources(adata, layer):
        columns = names.get_indexer(genes)
        is_there = columns >= 0
        sums = _sums_of_log1p(matrix[:, columns[is_there]], groups) if is_there.any() else None
        if sums is not None:
            sizes = np.array([len(rows) for rows in groups])[:, None]
            means = sums[:-1] / sizes, (sums[-1] - sums[:-1]) / (adata.n_obs - sizes)
            base = (adata.uns.get("log1p") or {}).get("base")
            own, rest = (np.expm1(mean if base is None else mean * np.log(base)) + TINY for mean in means)
            found[:, is_there] = np.log2(own / rest)
            break
    return found


def _sources(adata: AnnData, layer: str | None) -> Iterator[tuple[Any, pd.Index]]:
    """Yield matrices that may hold log1p values, with the names of their columns."""
    if adata.var_names.is_unique:
        if layer is not None and layer in adata.layers:
            yield adata.layers[layer], adata.var_names
        if adata.X is not None and not _is_scaled(adata):
            yield adata.X, adata.var_names
    if adata.raw is not None and adata.raw.var_names.is_unique:
        yield adata.raw.X, adata.raw.var_names


def _is_scaled(adata: AnnData) -> bool:
    """Whether the record of `scanpy.pp.scale` is of X; it may have been a layer."""
    rows = spread_rows(adata.n_obs, N_READ)
    return {"mean", "std"} <= set(adata.var) and scaling_of(adata.var, in_memory(adata.X[rows])) is not None


def _sums_of_log1p(matrix: Any, groups: Sequence[NDArray[np.intp]]) -> NDArray[np.float64] | None:
    """Return the sums over the rows in each group, and over all, (k + 1, g), or None if these are no log1p values."""
    groups = [*groups, np.arange(matrix.shape[0])]
    member = np.repeat(np.arange(len(groups)), [len(rows) for rows in groups])
    membership = sparse.csr_matrix((np.ones(len(member)), (np.concatenate(groups), member)))
    sums, is_whole = np.zeros((len(groups), matrix.shape[1])), True
    for start, block in blocks(matrix):
        # false for NaN too
        if not (block.min() >= 0 and block.max() <= LARGEST_LOG1P):
            return None
        is_whole = is_whole and np.array_equal(block, np.floor(block))
        sums += membership[start : start + len(block)].T @ block
    return None if is_whole else sums
