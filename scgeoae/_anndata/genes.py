"""The genes behind a representation: what a map remembers of them when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from .._matrix import blocks, dense, in_memory, spread_rows
from ..nn.genes import Genes, Statistics
from .representation import loadings_slot
from .units import statistics_of, units_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .map import Map
    from .representation import Representation

# Cells that tell where a projection has its origin, which is the same for all of them, and in which units genes are.
N_CHECKED = 1000
# Cells that are enough for a linear regression on some ten components, and to say what genes are like.
N_REGRESSED = 10_000
# Of these, values that are held in memory.
MAX_VALUES = 10**8
# By how many standard deviations a gene may have changed among the cells that are compared, which may be others.
MAX_CHANGE = 0.2
# Of the spread of a component: what float32 and the solver of a PCA leave.
MAX_DEVIATION = 1e-2


def genes_of(adata: AnnData, representation: Representation) -> Genes | None:
    """Return what a map of this representation is to remember of the genes, None if `adata` has none with numbers.

    Those of X (or of a layer) if the representation is their expression. Of a PCA of Scanpy, the genes with loadings,
    if the matrix that its record names is what it was computed from. All other genes of this matrix, and those that
    only `adata.raw` has, are read off the representation by linear regression.
    """
    params = representation.params
    rows = _sample(adata)
    if params["use_rep"] == "X":
        y = in_memory(representation.matrix[rows])
        few = spread_rows(len(rows), N_CHECKED)
        return Genes(
            adata.var_names.to_numpy(dtype=str),
            adata.n_vars,
            layer=params.get("layer"),
            statistics=statistics_of(y),
            units=units_of(adata, np.arange(adata.n_vars), y[few], rows[few]),
        )
    x = dense(representation.matrix[rows]).astype(np.float64)
    found = _components(adata, representation)
    parts = []
    if (matrix := _matrix(adata, None if found is None else found.layer)) is None:
        # of a layer that is gone
        found, matrix = None, _matrix(adata, None)
    if matrix is not None:
        parts.append(_read_off(x, in_memory(matrix[rows]), adata, found, rows))
    if adata.raw is not None and _is_real(adata.raw.X):
        new = np.flatnonzero(~adata.raw.var_names.isin(adata.var_names))
        part = _regressed(x, in_memory(adata.raw.X[rows])[:, new], adata.raw.var_names[new])
        parts.append(replace(part, n_raw=len(part.names)))
    return _together(parts)


def measured_cells(m: Map, genes: Sequence[str]) -> AnnData:
    """Return an AnnData whose X is the measured expression of `genes`, in the units to which the map decodes them.

    Raises
    ------
    KeyError
        If that is no longer there.
    """
    adata, known, where = m.adata, m.genes, m.source_of_genes
    matrix, names = _matrix(adata, known.layer), adata.var_names
    if m.kind == "counts":
        matrix, names = m.representation.matrix, pd.Index(known.names)
    from_raw = np.isin(genes, known.names[len(known.names) - known.n_raw :])
    x = np.empty((adata.n_obs, len(genes)), dtype=np.float32)
    for source, source_names, of, what in (
        (matrix, names, ~from_raw, where),
        (getattr(adata.raw, "X", None), getattr(adata.raw, "var_names", ()), from_raw, "adata.raw"),
    ):
        wanted = np.asarray(genes)[of]
        if missing := [gene for gene in wanted if source is None or gene not in source_names]:
            listed = ", ".join(repr(str(gene)) for gene in missing[:5])
            msg = (
                f"Did not find {listed} in {what}, to draw what was measured; bring it back. "
                "sg.tl.decode needs it no longer."
            )
            raise KeyError(msg)
        if len(wanted):
            columns = _first(source_names, wanted)
            x[:, of] = np.concatenate([block for _, block in blocks(source, columns)])
    if known.statistics is not None:
        then = known.statistics.of(_first(pd.Index(known.names), genes))
        places = np.where(from_raw, "adata.raw", where)
        _check_measured(then, x[_sample(adata)], genes, places, n_cells=m.params.get("n_cells"), n_obs=adata.n_obs)
    return AnnData(x, obs=adata.obs, var=pd.DataFrame(index=list(genes)), obsm=dict(adata.obsm), uns=dict(adata.uns))


def _check_measured(
    then: Statistics, x: NDArray, genes: Sequence[str], places: NDArray, *, n_cells: int | None, n_obs: int
) -> None:
    """Say if genes have other values now, beyond their range, or, if these are all cells of the map, in the mean."""
    now = statistics_of(x)
    # of very many cells, and of new ones, the range is that of others
    is_range = n_cells is not None and n_cells <= N_CHECKED
    is_other = now.high > then.high + (MAX_CHANGE * then.std if is_range else then.high - then.low)
    if n_obs == n_cells:
        is_other |= np.abs(now.mean - then.mean) > MAX_CHANGE * then.std
    if is_other.any():
        i = int(is_other.argmax())
        msg = (
            f"{places[i]} no longer has the values of {genes[i]!r} that the map decodes to: when it was made they had "
            f"the mean {then.mean[i]:.3g} and went up to {then.high[i]:.3g}, and now {now.mean[i]:.3g} and "
            f"{now.high[i]:.3g}. Bring them back; sg.tl.decode needs them no longer."
        )
        raise ValueError(msg)


class _Components(NamedTuple):
    """A PCA of Scanpy, as its record describes it."""

    loadings: NDArray[np.float64]
    """(n_vars, D)"""
    layer: str | None
    """Of what."""


def _components(adata: AnnData, representation: Representation) -> _Components | None:
    """Return the PCA of Scanpy that a representation is, if its loadings are there."""
    key, computed = representation.params["use_rep"], representation.computed
    varm, uns = dict(adata.varm) | computed.get("varm", {}), dict(adata.uns) | computed.get("uns", {})
    # `sc.pp.pca(key_added=...)` gives all three slots one name; otherwise they are X_pca, PCs and pca
    varm_key, uns_key = (key, key) if key in varm else (loadings_slot(key), key.removeprefix("X_"))
    if varm_key not in varm or adata.n_vars == 0:
        return None
    recorded = uns.get(uns_key)
    recorded = recorded.get("params", {}) if isinstance(recorded, Mapping) else {}
    layer = recorded.get("layer") if isinstance(recorded, Mapping) else None
    loadings = dense(varm[varm_key])
    if loadings.dtype.kind not in "fiu" or loadings.ndim != 2:
        return None
    n_columns = representation.matrix.shape[1]
    if loadings.shape[1] < n_columns:
        return None
    # of genes outside of the PCA, some tools write NaN
    loadings = np.nan_to_num(loadings[:, :n_columns].astype(np.float64), nan=0.0)
    return _Components(loadings, layer if isinstance(layer, str) else None)


def _read_off(x: NDArray, y: Any, adata: AnnData, found: _Components | None, rows: NDArray[np.intp]) -> Genes:
    """Return the genes of the cells in `rows`, (n, D) x with expression y, those with loadings of y first."""
    layer, few = None if found is None else found.layer, spread_rows(len(rows), N_CHECKED)
    offset = None if found is None else _offset(x[few], y[few], found.loadings)
    if offset is None:
        return replace(_regressed(x, y, adata.var_names), layer=layer)
    has_loadings = (found.loadings != 0).any(1)
    used, rest = np.flatnonzero(has_loadings), np.flatnonzero(~has_loadings)
    statistics, loadings = statistics_of(y[:, used]), found.loadings[used]
    projected = Genes(
        adata.var_names[used].to_numpy(dtype=str),
        len(used),
        layer=layer,
        statistics=statistics,
        loadings=loadings.astype(np.float32),
        intercept=(statistics.mean - loadings @ x.mean(0)).astype(np.float32),
        offset=offset.astype(np.float32),
        units=units_of(adata, used, y[few], rows[few]),
    )
    return _together([projected, _regressed(x, y[:, rest], adata.var_names[rest])])


def _offset(x: NDArray, y: Any, loadings: NDArray) -> NDArray | None:
    """Return c in x = y L − c, None if x is not that."""
    difference = dense(y @ loadings) - x
    offset = difference.mean(0)
    # false for NaN too
    is_it = np.abs(difference - offset).max(initial=0) <= MAX_DEVIATION * max(x.std(), np.finfo(np.float32).tiny)
    return offset if is_it else None


def _regressed(x: NDArray, y: Any, names: pd.Index) -> Genes:
    """Return genes with the slopes of their linear regression on the representation, those with finite values."""
    center = x.mean(0)
    x = np.column_stack([x - center, np.ones(len(x))])
    with np.errstate(all="ignore"):  # of values that are not finite
        product = (y.T @ x).T if sparse.issparse(y) else x.T @ y
        slopes = np.linalg.lstsq(x.T @ x, dense(product), rcond=None)[0]
        slopes, mean = slopes[:-1].T.astype(np.float32), slopes[-1]
        intercept = (mean - slopes @ center).astype(np.float32)
    is_finite = np.flatnonzero(np.isfinite(slopes).all(1) & np.isfinite(intercept))
    return Genes(
        names[is_finite].to_numpy(dtype=str),
        0,
        statistics=statistics_of(y[:, is_finite]) if len(is_finite) else None,
        loadings=slopes[is_finite],
        intercept=intercept[is_finite],
    )


def _together(parts: list[Genes]) -> Genes | None:
    parts = [part for part in parts if len(part.names)]
    if len(parts) < 2:
        return parts[0] if parts else None
    statistics = [[getattr(part.statistics, name) for part in parts] for name in ("mean", "std", "low", "high")]
    return replace(
        parts[0],
        n_raw=sum(part.n_raw for part in parts),
        statistics=Statistics(*map(np.concatenate, statistics)),
        names=np.concatenate([part.names for part in parts]),
        loadings=np.concatenate([part.loadings for part in parts]),
        intercept=np.concatenate([part.intercept for part in parts]),
    )


def _sample(adata: AnnData) -> NDArray[np.intp]:
    """Return the numbers of some cells, fewer if there are very many genes."""
    n_genes = max(adata.n_vars, 1 if adata.raw is None else adata.raw.n_vars, 1)
    return spread_rows(adata.n_obs, int(np.clip(MAX_VALUES // n_genes, N_CHECKED, N_REGRESSED)))


def _first(names: pd.Index, wanted: Sequence[str]) -> NDArray[np.intp]:
    """Return where the first of each name is; others may be there more than once."""
    first = np.flatnonzero(~names.duplicated())
    return first[names[first].get_indexer(wanted)]


def _matrix(adata: AnnData, layer: str | None) -> Any:
    """Return X or a layer that has genes and real numbers, or None."""
    matrix = adata.X if layer is None else adata.layers.get(layer)
    return matrix if matrix is not None and 0 not in matrix.shape and _is_real(matrix) else None


def _is_real(matrix: Any) -> bool:
    return matrix.dtype == bool or np.dtype(matrix.dtype).kind in "iuf"
