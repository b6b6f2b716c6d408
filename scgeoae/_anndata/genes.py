"""From the genes of an AnnData to the representation of a map and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from anndata import AnnData
from scipy import sparse

from .._arguments import checked_names
from ..geometry import differentials
from ..training.blocks import blocks, dense
from .representation import check_real, in_memory, stored_representation

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor

# Cells that are enough to tell where a projection has its origin, which is the same for all of them.
N_CHECKED = 1000
# Of the spread of a component: what float32 and the solver of a PCA leave.
MAX_DEVIATION = 1e-2


class Projection(NamedTuple):
    """The affine map x = y L − c from the expression y of some genes to a representation x."""

    genes: pd.Index
    """(g,)"""
    loadings: NDArray
    """L, (g, D)."""
    offset: NDArray
    """c, (D,)."""
    mean: NDArray
    """(g,) of the genes in the reference."""
    scaling: tuple[NDArray, NDArray, float] | None
    """Mean and standard deviation, (g,), that genes were scaled by before, and the largest value that was left."""

    def project(self, expression: Any, absent: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
        """Return the representation, (n, D), of the (n, g) expression of the genes.

        Where the reference was scaled and these are not, which negative values would tell, they are scaled as it was.
        Of genes that are `absent`, (g,), whose columns are left out, the mean in the reference is taken.
        """
        there = slice(None) if absent is None else ~absent
        x = np.empty((expression.shape[0], self.loadings.shape[1]), dtype=np.float32)
        origin = self.offset - (0 if absent is None else self.mean[absent] @ self.loadings[absent])
        is_raw = self.scaling is not None and not any((block < 0).any() for _, block in blocks(expression))
        for start, block in blocks(expression):
            y = block.astype(np.float64)
            if is_raw:
                mean, std, largest = self.scaling
                y = np.minimum((y - mean[there]) / std[there], largest)
            x[start : start + len(y)] = y @ self.loadings[there] - origin
        return x


class Expression(NamedTuple):
    """The affine map y = x L + m from a representation x to the expression y of some genes.

    Or a choice of its columns, where it is the expression.
    """

    genes: pd.Index
    """(g,)"""
    columns: NDArray[np.intp]
    """(g,) which of the variables they are."""
    loadings: NDArray | None = None
    """L, (D, g). None where the representation is the expression of all variables."""
    mean: NDArray | None = None
    """m, (g,)."""

    def of(self, x: NDArray) -> NDArray[np.float32]:
        """Return the (n, g) expression of (n, D) points of the representation."""
        y = x[:, self.columns] if self.loadings is None else x @ self.loadings + self.mean
        return y.astype(np.float32)

    def along(self, jacobian: Tensor) -> Tensor:
        """Return the derivatives of expression, (n, g, d), for the Jacobians of a decoder, (n, D, d)."""
        if self.loadings is None:
            return jacobian[:, self.columns]
        return differentials(jacobian, torch.from_numpy(self.loadings.astype(np.float32)))


def read_projection(adata: AnnData, params: dict[str, Any]) -> Projection | None:
    """Return how a run's representation is computed of genes, or None if `adata` does not hold that.

    X itself is; and so is a PCA of Scanpy whose loadings are in `varm`, if X is still what it was computed from: that
    alone tells its origin. It may be that of some of the cells.

    Raises
    ------
    ValueError
        If X is no longer what the PCA was computed from.
    """
    if params["use_rep"] == "X":
        n = adata.n_vars
        rows = _spread_rows(adata)
        matrix = stored_representation(adata, params).matrix
        mean = dense(matrix[rows]).mean(0, dtype=np.float64)
        return Projection(adata.var_names, np.eye(n), np.zeros(n), mean, None)
    found = _components(adata, params)
    if found is None:
        return None
    used = np.flatnonzero((found.loadings != 0).any(1))
    loadings = found.loadings[used]
    y, offset = _origin(adata, params, found.matrix, used, loadings)
    if offset is None:
        msg = (
            f"{found.name} is not what adata.obsm[{params['use_rep']!r}] was computed from, so that new genes cannot "
            "be projected: bring back the matrix on which sc.pp.pca was run, or compute both again."
        )
        raise ValueError(msg)
    return Projection(adata.var_names[used], loadings, offset, y.mean(0), _scaling(adata, used, y))


def measured_cells(adata: AnnData, params: dict[str, Any], genes: Sequence[str]) -> tuple[AnnData, str | None]:
    """Return cells and the layer of them in which `genes` stand in the units that a run decodes them to."""
    layer = params.get("layer")
    columns = _known_genes(adata, genes)
    matrix = adata.X if layer is None else adata.layers[layer]
    if "library_size" in params:
        x = stored_representation(adata, params).matrix[:, columns]
    elif matrix.dtype == bool or not (isinstance(matrix, np.ndarray) or sparse.issparse(matrix)):
        # of which Scanpy's plots take few
        x = in_memory(matrix[:, columns]).astype(np.float32)
    else:
        return adata, layer
    return AnnData(x, obs=adata.obs, var=adata.var.iloc[columns], obsm=dict(adata.obsm), uns=dict(adata.uns)), None


def read_expression(adata: AnnData, params: dict[str, Any], genes: Sequence[str] | None) -> Expression:
    """Return how expression is read off a run's representation, for all `genes` that can be, or for those asked for.

    With X as representation these are its own columns. Of a PCA they are those with loadings; others, and those of
    any other representation, are the linear regression of X on it.

    Raises
    ------
    KeyError
        If there is no such gene.
    TypeError, ValueError
        If there is no X to read genes from, or no finite real numbers in it.
    """
    wanted = None if genes is None else _known_genes(adata, genes)
    x = stored_representation(adata, params).matrix
    found = None if params["use_rep"] == "X" else _components(adata, params)
    layer = params.get("layer")
    matrix = found.matrix if found is not None else adata.X if layer is None else adata.layers[layer]
    if matrix is None or 0 in matrix.shape:
        msg = "adata.X is empty, so there are no genes to decode to; give an AnnData that has them."
        raise ValueError(msg)
    name = found.name if found is not None else "adata.X" if layer is None else f"adata.layers[{layer!r}]"
    check_real(matrix, name)
    if params["use_rep"] == "X":
        columns = np.arange(adata.n_vars) if wanted is None else wanted
        return Expression(adata.var_names[columns], columns)
    # of which genes the components know what they are made of
    known = np.zeros(adata.n_vars, dtype=bool)
    if found is not None:
        known = (found.loadings != 0).any(1)
        if _origin(adata, params, matrix, np.flatnonzero(known), found.loadings[known])[1] is None:
            known[:] = False
    columns = wanted if wanted is not None else np.flatnonzero(known) if known.any() else np.arange(adata.n_vars)
    loadings = np.empty((x.shape[1], len(columns)))
    exact = known[columns]
    if exact.any():
        loadings[:, exact] = found.loadings[columns[exact]].T
    if not exact.all():
        loadings[:, ~exact] = _regression(x, matrix[:, columns[~exact]])
    mean = dense(matrix[:, columns].mean(axis=0)).ravel() - dense(x.mean(axis=0)).ravel() @ loadings
    if bad := np.count_nonzero(~np.isfinite(mean)):
        msg = f"{bad} of {len(mean)} genes cannot be decoded: {name} has NaN or infinite values; drop these cells."
        raise ValueError(msg)
    return Expression(adata.var_names[columns], columns, loadings, mean)


def _regression(x: Any, y: Any) -> NDArray:
    """Return the slopes, (D, g), of the least squares map from the rows of x to those of y, block by block."""
    d = x.shape[1]
    # the sums of products of (1, x) with (1, x) and with y
    square, product = np.zeros((d + 1, d + 1)), np.zeros((d + 1, y.shape[1]))
    for start, block in blocks(y):
        here = dense(x[start : start + len(block)]).astype(np.float64)
        here = np.column_stack([np.ones(len(here)), here])
        square += here.T @ here
        product += here.T @ block
    if not (np.isfinite(square).all() and np.isfinite(product).all()):
        return np.full((d, y.shape[1]), np.nan)
    return np.linalg.lstsq(square, product, rcond=None)[0][1:]


class _Components(NamedTuple):
    """A PCA of Scanpy."""

    loadings: NDArray
    """(n_vars, D)"""
    matrix: Any
    """What it should be of."""
    name: str
    """What people call that."""


def _origin(
    adata: AnnData, params: dict[str, Any], matrix: Any, used: NDArray, loadings: NDArray
) -> tuple[NDArray, NDArray | None]:
    """Return some rows of the used columns of the matrix, and c in x = y L − c, None if the matrix is another."""
    rows = _spread_rows(adata)
    y = dense(matrix[rows][:, used]).astype(np.float64)
    x = dense(stored_representation(adata, params).matrix[rows]).astype(np.float64)
    difference = y @ loadings - x
    offset = difference.mean(0)
    # false for NaN too
    is_it = np.abs(difference - offset).max() <= MAX_DEVIATION * max(x.std(), np.finfo(np.float32).tiny)
    return y, offset if is_it else None


def _components(adata: AnnData, params: dict[str, Any]) -> _Components | None:
    """Return the PCA of Scanpy that the representation is, if `adata` has its loadings and a matrix."""
    suffix = params["use_rep"].removeprefix("X_")
    # version 2 of Scanpy, and `sc.pp.pca(key_added=...)`, give all three slots one name
    key = params["use_rep"]
    if key not in adata.varm:
        key = "PCs" if suffix == "pca" else f"PCs_{suffix}"
    if not suffix.startswith("pca") or key not in adata.varm:
        return None
    recorded = adata.uns.get(suffix)
    recorded = recorded.get("params", {}) if isinstance(recorded, Mapping) else {}
    layer = recorded.get("layer") or suffix.removeprefix("pca").removeprefix("_") or None
    matrix = adata.X if layer is None else adata.layers.get(layer)
    if matrix is None or adata.n_vars == 0:
        return None
    loadings = np.asarray(adata.varm[key], dtype=np.float64)
    if params.get("n_pcs") is not None:
        loadings = loadings[:, : int(params["n_pcs"])]
    return _Components(loadings, matrix, "adata.X" if layer is None else f"adata.layers[{layer!r}]")


def _spread_rows(adata: AnnData) -> NDArray[np.intp]:
    return np.unique(np.linspace(0, adata.n_obs - 1, min(adata.n_obs, N_CHECKED)).astype(np.intp))


def _scaling(adata: AnnData, used: NDArray, sample: NDArray) -> tuple[NDArray, NDArray, float] | None:
    """Return what `scanpy.pp.scale` recorded, if the sample is scaled: expression is never negative else."""
    if not {"mean", "std"} <= set(adata.var) or not (sample < 0).any():
        return None
    mean, std = (adata.var[name].to_numpy(dtype=np.float64)[used] for name in ("mean", "std"))
    # it records no `max_value`, but then many cells have the same
    largest = sample.max()
    is_cut = np.count_nonzero(sample == largest) > 1
    return mean, np.where(std > 0, std, 1.0), float(largest) if is_cut else np.inf


def _known_genes(adata: AnnData, genes: Sequence[str]) -> NDArray[np.intp]:
    genes = checked_names(genes, "genes")
    missing = [gene for gene in genes if gene not in adata.var_names]
    if missing or not genes:
        msg = f"Did not find {', '.join(map(repr, missing[:5])) or 'any gene'} in adata.var_names."
        raise KeyError(msg)
    if not adata.var_names.is_unique:
        msg = "adata.var_names are not unique; run adata.var_names_make_unique() first."
        raise ValueError(msg)
    return adata.var_names.get_indexer(genes)
