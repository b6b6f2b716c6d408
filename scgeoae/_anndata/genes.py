"""The genes behind a representation: what a map remembers of them when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from .._arguments import checked_names
from ..nn.genes import Genes
from ..training.blocks import dense
from .representation import in_memory
from .results import read_model, read_params
from .units import units_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..nn.genes import Expression
    from .representation import Representation

# Cells that tell where a projection has its origin, which is the same for all of them, and what genes are like.
N_CHECKED = 1000
# Cells that are enough for a linear regression on some ten components.
N_REGRESSED = 10_000
# Of the spread of a component: what float32 and the solver of a PCA leave.
MAX_DEVIATION = 1e-2


def genes_of(adata: AnnData, representation: Representation) -> Genes | None:
    """Return what a map of this representation is to remember of the genes, None if `adata` has none with numbers.

    Those of X (or of a layer) if the representation is their expression. Of a PCA of Scanpy, the genes with loadings,
    if the matrix that its record names is what it was computed from. All other genes of this matrix, and those that
    only `adata.raw` has, are read off the representation by linear regression.
    """
    params = representation.params
    rows = spread_rows(adata.n_obs, N_CHECKED)
    if params["use_rep"] == "X":
        names = adata.var_names.to_numpy(dtype=str)
        layer = params.get("layer")
        units = units_of(adata, np.arange(adata.n_vars), in_memory(representation.matrix[rows]))
        return Genes(names, len(names), layer=layer, low=units.low, units=units)
    found = _components(adata, representation)
    layer = None if found is None else found.layer
    matrix = _matrix(adata, layer)
    parts = [] if matrix is None else [_projected(adata, found, matrix, representation, rows)]
    if matrix is not None:
        known = np.zeros(adata.n_vars, dtype=bool) if parts[0] is None else np.isin(adata.var_names, parts[0].names)
        parts.append(_regressed(adata.var_names[~known], matrix, np.flatnonzero(~known), representation, layer=layer))
    if adata.raw is not None and _is_real(adata.raw.X):
        new = np.flatnonzero(~adata.raw.var_names.isin(adata.var_names))
        part = _regressed(adata.raw.var_names[new], adata.raw.X, new, representation, layer=layer)
        parts.append(replace(part, n_raw=len(part.names)))
    return _together([part for part in parts if part is not None and len(part.names)])


def stored_genes(adata: AnnData, key: str) -> Genes | None:
    """Return the genes that a map remembers, None if there are none.

    Those of a file of an earlier version, which has none, are found in `adata`, if it still has the representation
    that the map was made of.
    """
    from .made_of import read_representation

    found = read_model(adata, key).genes
    if found is None and "library_size" not in read_params(adata, key):
        found = genes_of(adata, read_representation(adata, key))
    return found


def read_genes(adata: AnnData, key: str) -> Genes:
    """Return the genes that a map remembers, or say that there are none."""
    if (found := stored_genes(adata, key)) is None:
        msg = (
            "The map knows no genes: there were none with real numbers in adata.X when it was made, or a version that "
            "stored none made it. Make it again on an AnnData that has them."
        )
        raise ValueError(msg)
    return found


def read_expression(adata: AnnData, key: str, genes: Sequence[str] | None) -> Expression:
    """Return how the map reads expression off its representation, of all `genes` that it knows, or of those asked for.

    Raises
    ------
    KeyError
        If it does not know a gene.
    ValueError
        If it knows none.
    """
    known = read_genes(adata, key)
    if genes is not None and not (genes := checked_names(genes, "genes")):
        msg = "Expected `genes` to name a gene, found an empty list."
        raise KeyError(msg)
    try:
        return known.choose(genes)
    except KeyError as error:
        missing = ", ".join(map(repr, error.args[0][:5]))
        where = "adata.X" if known.layer is None else f"adata.layers[{known.layer!r}]"
        msg = (
            f"Did not find {missing} among the {len(known.names)} genes of the map, which are those that {where} or "
            "adata.raw had, with finite values, when it was made."
        )
        raise KeyError(msg) from None


def measured_cells(adata: AnnData, key: str, genes: Sequence[str]) -> AnnData:
    """Return cells whose X has what was measured of `genes`, in the units to which the map decodes them.

    Raises
    ------
    KeyError
        If that is no longer there.
    """
    known, params = read_genes(adata, key), read_params(adata, key)
    where, names = "adata.X" if known.layer is None else f"adata.layers[{known.layer!r}]", adata.var_names
    matrix = _matrix(adata, known.layer)
    if "library_size" in params:
        from .made_of import read_representation

        matrix, names = read_representation(adata, key).matrix, pd.Index(known.names)
    from_raw = np.isin(genes, known.names[len(known.names) - known.n_raw :])
    x = np.empty((adata.n_obs, len(genes)), dtype=np.float32)
    for source, source_names, of, what in (
        (matrix, names, ~from_raw, where),
        (getattr(adata.raw, "X", None), getattr(adata.raw, "var_names", ()), from_raw, "adata.raw"),
    ):
        wanted = np.asarray(genes)[of]
        if missing := [gene for gene in wanted if source is None or gene not in source_names]:
            msg = (
                f"Did not find {', '.join(map(repr, missing[:5]))} in {what}, to draw what was measured; bring it "
                "back. sg.tl.decode needs it no longer."
            )
            raise KeyError(msg)
        if len(wanted):
            x[:, of] = dense(source[:, source_names.get_indexer(wanted)])
    return AnnData(x, obs=adata.obs, var=pd.DataFrame(index=list(genes)), obsm=dict(adata.obsm), uns=dict(adata.uns))


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
    suffix = key.removeprefix("X_")
    ours = ("PCs" if suffix == "pca" else f"PCs_{suffix}", suffix)
    varm_key, uns_key = (key, key) if key in varm else ours
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


def _projected(
    adata: AnnData, found: _Components | None, matrix: Any, representation: Representation, rows: NDArray
) -> Genes | None:
    """Return the genes with loadings, if the matrix is what the components were computed from."""
    if found is None:
        return None
    used = np.flatnonzero((found.loadings != 0).any(1))
    sample = in_memory(matrix[rows])
    y, x = dense(sample[:, used]).astype(np.float64), dense(representation.matrix[rows]).astype(np.float64)
    loadings = found.loadings[used]
    difference = y @ loadings - x
    offset = difference.mean(0)
    # false for NaN too
    if not np.abs(difference - offset).max(initial=0) <= MAX_DEVIATION * max(x.std(), np.finfo(np.float32).tiny):
        return None
    units = units_of(adata, used, sample)
    return Genes(
        adata.var_names[used].to_numpy(dtype=str),
        len(used),
        layer=found.layer,
        low=units.low,
        loadings=loadings.astype(np.float32),
        intercept=_intercept(matrix, used, loadings, representation),
        offset=offset.astype(np.float32),
        units=units,
    )


def _intercept(matrix: Any, columns: NDArray, loadings: NDArray, representation: Representation) -> NDArray[np.float32]:
    rows = spread_rows(matrix.shape[0], N_REGRESSED)
    mean = dense(in_memory(matrix[rows])[:, columns].mean(axis=0)).ravel()
    center = dense(representation.matrix[rows]).mean(0, dtype=np.float64)
    return (mean - loadings @ center).astype(np.float32)


def _regressed(
    names: pd.Index, matrix: Any, columns: NDArray, representation: Representation, *, layer: str | None
) -> Genes:
    """Return genes with the slopes of their linear regression on the representation, those with finite values."""
    rows = spread_rows(matrix.shape[0], N_REGRESSED)
    y = in_memory(matrix[rows])[:, columns]
    x = dense(representation.matrix[rows]).astype(np.float64)
    center = x.mean(0)
    x = np.column_stack([x - center, np.ones(len(x))])
    with np.errstate(all="ignore"):  # of values that are not finite
        product = (y.T @ x).T if sparse.issparse(y) else x.T @ y
        slopes = np.linalg.lstsq(x.T @ x, dense(product), rcond=None)[0]
    slopes, mean = slopes[:-1].T.astype(np.float32), slopes[-1]
    intercept = (mean - slopes @ center).astype(np.float32)
    is_finite = np.isfinite(slopes).all(1) & np.isfinite(intercept)
    low = dense(y.min(axis=0)).ravel().astype(np.float32)
    return Genes(
        names[is_finite].to_numpy(dtype=str),
        0,
        layer=layer,
        low=low[is_finite],
        loadings=slopes[is_finite],
        intercept=intercept[is_finite],
    )


def _together(parts: list[Genes]) -> Genes | None:
    if not parts:
        return None
    first = parts[0]
    return replace(
        first,
        n_raw=sum(part.n_raw for part in parts),
        **{
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("names", "low", "loadings", "intercept")
        },
    )


def _matrix(adata: AnnData, layer: str | None) -> Any:
    """Return X or a layer that has genes and real numbers, or None."""
    matrix = adata.X if layer is None else adata.layers.get(layer)
    return matrix if matrix is not None and 0 not in matrix.shape and _is_real(matrix) else None


def _is_real(matrix: Any) -> bool:
    return matrix.dtype == bool or np.dtype(matrix.dtype).kind in "iuf"


def spread_rows(n: int, most: int) -> NDArray[np.intp]:
    """Return the numbers of at most `most` of n rows, evenly spaced, in ascending order."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.intp))
