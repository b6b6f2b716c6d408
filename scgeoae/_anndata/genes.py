"""The genes behind a representation, as a map remembers them."""

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

    from numpy.typing import ArrayLike, NDArray

    from .map import Map
    from .representation import Representation

# Number of cells from which the origin of a projection and the units of genes are found.
N_CHECKED = 1000
# Enough cells for a linear regression on the components, and for statistics of genes.
N_REGRESSED = 10_000
# Limit on the number of their values in memory.
MAX_VALUES = 10**8
# Tolerance for a gene's change, in standard deviations, since different cells may be compared.
MAX_CHANGE = 0.2
# Tolerance for float32 and the solver of the PCA, as a share of the spread of the components.
MAX_DEVIATION = 1e-2


def genes_of(adata: AnnData, representation: Representation) -> Genes | None:
    """Return what a map of this representation remembers of the genes, or None if `adata` has no numeric ones.

    If the representation is expression, these are the genes of X or of the layer. If it is a PCA by Scanpy, they are
    the genes with loadings, provided that it was computed from the matrix that its record names. All other genes of
    this matrix, and those that only `adata.raw` has, are read off the representation by linear regression.
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
        # the layer is gone
        found, matrix = None, _matrix(adata, None)
    if matrix is not None:
        parts += _read_off(x, in_memory(matrix[rows]), adata, found, rows)
    if adata.raw is not None and _is_real(adata.raw.X):
        new = np.flatnonzero(~adata.raw.var_names.isin(adata.var_names))
        part = _regressed(x, in_memory(adata.raw.X[rows])[:, new], adata.raw.var_names[new])
        parts.append(replace(part, n_raw=len(part.names)))
    return _together(parts)


def measured_cells(m: Map, genes: Sequence[str]) -> AnnData:
    """Return an AnnData whose X is the measured expression of `genes`, in the units in which the map decodes them."""
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
                "sg.tl.decode does not need it."
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
    then: Statistics, x: NDArray[Any], genes: Sequence[str], places: NDArray[Any], *, n_cells: int | None, n_obs: int
) -> None:
    """Raise if genes exceed their former range or, if all cells of the map are there, have another mean."""
    now = statistics_of(x)
    # with very many cells, or new ones, the known range is that of other cells
    is_range = n_cells is not None and n_cells <= N_CHECKED
    is_other = now.high > then.high + (MAX_CHANGE * then.std if is_range else then.high - then.low)
    if n_obs == n_cells:
        is_other |= np.abs(now.mean - then.mean) > MAX_CHANGE * then.std
    if is_other.any():
        i = int(is_other.argmax())
        msg = (
            f"{places[i]} no longer has the values of {genes[i]!r} that the map was made with: they had "
            f"the mean {then.mean[i]:.3g} and went up to {then.high[i]:.3g}, and now {now.mean[i]:.3g} and "
            f"{now.high[i]:.3g}. Bring them back; sg.tl.decode does not need them."
        )
        raise ValueError(msg)


class _Components(NamedTuple):
    """A PCA by Scanpy, as its record describes it."""

    loadings: NDArray[np.float64]
    """(n_vars, D)"""
    layer: str | None
    """Layer that it was computed from, None for X."""


def _components(adata: AnnData, representation: Representation) -> _Components | None:
    """Return the PCA by Scanpy that a representation is, if its loadings are there."""
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
    # some tools write NaN for genes that are not part of the PCA
    loadings = np.nan_to_num(loadings[:, :n_columns].astype(np.float64), nan=0.0)
    return _Components(loadings, layer if isinstance(layer, str) else None)


def _read_off(
    x: NDArray[Any], y: Any, adata: AnnData, found: _Components | None, rows: NDArray[np.intp]
) -> list[Genes]:
    """Return the genes, those with loadings first; the cells in `rows` have representation x and expression y."""
    layer, few = None if found is None else found.layer, spread_rows(len(rows), N_CHECKED)
    if found is None or (offset := _offset(x[few], y[few], found.loadings)) is None:
        return [replace(_regressed(x, y, adata.var_names), layer=layer)]
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
    return [projected, _regressed(x, y[:, rest], adata.var_names[rest])]


def _offset(x: NDArray[Any], y: Any, loadings: NDArray[Any]) -> NDArray[Any] | None:
    """Return c such that x = y L − c, or None if x is not such a projection."""
    difference = dense(y @ loadings) - x
    offset = difference.mean(0)
    # also false for NaN
    is_it = np.abs(difference - offset).max(initial=0) <= MAX_DEVIATION * max(x.std(), np.finfo(np.float32).tiny)
    return offset if is_it else None


def _regressed(x: NDArray[Any], y: Any, names: pd.Index) -> Genes:
    """Return genes with the slopes of a linear regression on the representation, if their values are finite."""
    center = x.mean(0)
    x = np.column_stack([x - center, np.ones(len(x))])
    with np.errstate(all="ignore"):  # values may not be finite
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
    """Return the rows of evenly spaced cells, fewer if there are very many genes."""
    n_genes = max(adata.n_vars, 1 if adata.raw is None else adata.raw.n_vars, 1)
    return spread_rows(adata.n_obs, int(np.clip(MAX_VALUES // n_genes, N_CHECKED, N_REGRESSED)))


def _first(names: pd.Index, wanted: ArrayLike) -> NDArray[np.intp]:
    """Return the first position of each wanted name; other names may be duplicated."""
    first = np.flatnonzero(~names.duplicated())
    return first[names[first].get_indexer(wanted)]


def _matrix(adata: AnnData, layer: str | None) -> Any:
    """Return X or a layer, or None if it has no genes or no real numbers."""
    matrix = adata.X if layer is None else adata.layers.get(layer)
    return matrix if matrix is not None and 0 not in matrix.shape and _is_real(matrix) else None


def _is_real(matrix: Any) -> bool:
    return matrix.dtype == bool or np.dtype(matrix.dtype).kind in "iuf"
