"""Fold changes of genes between groups of cells and all other cells, computed as in Scanpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from .._matrix import blocks, in_memory, spread_rows
from .units import N_READ, log_base, scaling_of, signature

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

# Scanpy adds this to both means.
TINY = 1e-9


def log_fold_changes(
    adata: AnnData, genes: NDArray[np.str_], groups: Sequence[NDArray[np.intp]], layer: str | None
) -> NDArray[np.float32]:
    """Return the log2 fold changes of genes between the cells in each of k groups and all others, (k, g).

    They are computed as in `scanpy.tl.rank_genes_groups`: from means of log1p values, whose log1p is then undone. The
    values come from `layer`, X or ``raw``, whichever is the first to hold log1p values. Without any, all fold changes
    are NaN, as are those of missing genes.
    """
    found = np.full((len(groups), len(genes)), np.nan, dtype=np.float32)
    for matrix, var in _sources(adata, layer):
        if not _is_log1p(adata, matrix, var):
            continue
        columns = var.index.get_indexer(genes)
        is_there = columns >= 0
        sums = _sums(matrix, columns[is_there], groups)
        sizes = np.array([len(rows) for rows in groups])[:, None]
        means = sums[:-1] / sizes, (sums[-1] - sums[:-1]) / (adata.n_obs - sizes)
        own, rest = (np.expm1(mean * np.log(log_base(adata) or np.e)) + TINY for mean in means)
        found[:, is_there] = np.log2(own / rest)
        break
    return found


def _sources(adata: AnnData, layer: str | None) -> Iterator[tuple[Any, pd.DataFrame]]:
    """Yield matrices that may hold log1p values, each with the annotation of its columns."""
    if adata.var_names.is_unique:
        if layer is not None and layer in adata.layers:
            yield adata.layers[layer], adata.var
        if adata.X is not None:
            yield adata.X, adata.var
    if adata.raw is not None and adata.raw.var_names.is_unique:
        yield adata.raw.X, adata.raw.var


def _is_log1p(adata: AnnData, matrix: Any, var: pd.DataFrame) -> bool:
    if 0 in matrix.shape or np.dtype(matrix.dtype).kind != "f":
        return False
    sample = in_memory(matrix[spread_rows(adata.n_obs, N_READ)])
    values = sample.data if sparse.issparse(sample) else sample
    if not np.isfinite(values).all() or scaling_of(var, sample) is not None:
        return False
    base = log_base(adata)
    return signature(sample, bases=(np.e,) if base is None else (base,))[0] == "log1p"


def _sums(matrix: Any, columns: NDArray[np.intp], groups: Sequence[NDArray[np.intp]]) -> NDArray[np.float64]:
    """Return the sums of some columns over the rows of each group, and over all rows, (k + 1, g)."""
    groups = [*groups, np.arange(matrix.shape[0])]
    member = np.repeat(np.arange(len(groups)), [len(rows) for rows in groups])
    membership = sparse.csr_matrix((np.ones(len(member)), (np.concatenate(groups), member)))
    sums = np.zeros((len(groups), len(columns)))
    for start, block in blocks(matrix, columns):
        sums += membership[start : start + len(block)].T @ block
    return sums
