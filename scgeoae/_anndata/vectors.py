"""Vectors of the cells, such as velocities, read in the units of the representation of a map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from .._arguments import check_found, check_name, known
from .._matrix import blocks, dense, in_memory, spread_rows
from .genes import MAX_DEVIATION
from .representation import sliceable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anndata import AnnData
    from numpy.typing import NDArray

    from ..nn.genes import Genes
    from .map import Map

SAME = "same"
"""Value of `of` for vectors in the units of the expression behind the map."""
# Number of cells by which two normalizations are compared.
N_COMPARED = 2000


@dataclass(frozen=True)
class Slope:
    r"""The derivative of the expression y behind a map by a quantity s in linear units.

    For log1p expression, :math:`y = \log_b(1 + cs)/\sigma` gives :math:`dy = c\,ds/((1 + cs)\ln b\,\sigma)`; for
    normalized counts, :math:`y = cs/\sigma`.
    """

    layer: str
    """Name of the layer with s."""
    matrix: Any
    """(n, all genes) s."""
    columns: NDArray[np.intp]
    """(g,) genes with vectors."""
    factor: float
    """c, how many units of normalized counts behind the map one unit of s is."""
    base: float | None
    """b, None if the expression has no logarithm."""

    def __call__(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return dy/ds for the cells in some rows, (m, g), before scaling by 1/σ."""
        if self.base is None:
            return np.full((1, 1), self.factor)
        s = dense(in_memory(self.matrix[start:stop])[:, self.columns]).astype(np.float64)
        return self.factor / (1 + self.factor * s) / np.log(self.base)


@dataclass(frozen=True)
class Vectors:
    """A vector for each cell, given in the representation or by genes."""

    name: str
    """Where they are from."""
    matrix: Any
    """(n, D), or (n, all genes)."""
    columns: NDArray[np.intp] | None = None
    """(g,) genes with vectors. None if the vectors are in the representation."""
    loadings: NDArray[np.float64] | None = None
    """(g, D) of these genes, already divided by their scaling. None if the vectors are in the representation."""
    slope: Slope | None = None
    """None if the vectors are in the units of the map."""
    seen: NDArray[np.float64] | None = None
    """LᵀL of the loadings of these genes, (D, D) or its diagonal, if others that the map is made of have no vectors."""

    @property
    def of(self) -> str:
        """What the vectors are derivatives of."""
        return SAME if self.slope is None else self.slope.layer

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Yield blocks of the vectors in the representation, (m, D), with the row of the first."""
        for start, block in blocks(self.matrix, self.columns):
            v = block.astype(np.float64)
            if self.slope is not None:
                v *= self.slope(start, start + len(v))
            yield start, v if self.loadings is None else v @ self.loadings


def read_vectors(m: Map, vectors: Any, *, of: str | None, genes: str | list[str] | None) -> tuple[Vectors, list[str]]:
    """Return the vectors, and what was assumed, for the log.

    Parameters
    ----------
    vectors
        Name of a layer or key of `obsm`, or a matrix.
    of
        Layer whose derivatives they are, `SAME`, or None to decide.
    genes
        Names of the genes that count, a boolean column of `var`, or None for all.
    """
    adata, n_features = m.adata, m.model.n_features
    check_name(of, "of")
    matrix, name, is_genes = _found(adata, vectors, n_features, is_expression=_is_expression(m))
    if tuple(matrix.shape) != (adata.n_obs, adata.n_vars if is_genes else n_features):
        wanted = f"({adata.n_obs}, {n_features}), one vector for each cell in the representation"
        if adata.n_vars:
            wanted += f", or ({adata.n_obs}, {adata.n_vars}), in the genes of adata"
        msg = f"Expected {name} to be of shape {wanted}; found {tuple(matrix.shape)}."
        raise ValueError(msg)
    if not is_genes:
        if of not in (None, SAME) or genes is not None:
            given = "genes" if genes is not None else "of"
            msg = f"`{given}` is for vectors of genes, and {name} has vectors in the representation; leave it out."
            raise ValueError(msg)
        _usable(matrix, name, None)
        return Vectors(name, matrix), []
    return _of_genes(m, matrix, name, of, genes, scvelo=vectors if isinstance(vectors, str) else None)


def _is_expression(m: Map) -> bool:
    """Return whether the representation is the expression of the genes."""
    return m.model.genes is not None and m.model.genes.loadings is None


def _found(adata: AnnData, vectors: Any, n_features: int, *, is_expression: bool) -> tuple[Any, str, bool]:
    """Return the matrix, what to call it, and whether its columns are the genes of `adata`."""
    if isinstance(vectors, str):
        if vectors in adata.layers and vectors in adata.obsm:
            msg = f"{vectors!r} is in adata.layers and in adata.obsm; give one of these matrices itself."
            raise ValueError(msg)
        if vectors in adata.layers:
            name = f"adata.layers[{vectors!r}]"
            return sliceable(adata.layers[vectors], name), name, True
        check_found(vectors, adata.obsm, f"adata.layers, which has {known(adata.layers)}, or adata.obsm")
        name = f"adata.obsm[{vectors!r}]"
        return sliceable(adata.obsm[vectors], name), name, False
    if not hasattr(vectors, "shape"):
        msg = (
            f"Expected `vectors` to be the name of a layer, a key of adata.obsm or a matrix, found a "
            f"{type(vectors).__name__}."
        )
        raise TypeError(msg)
    matrix = sliceable(vectors, "`vectors`")
    is_genes = matrix.shape[1] == adata.n_vars
    if is_genes and adata.n_vars == n_features and not is_expression:
        msg = (
            f"A matrix of {n_features} columns may be in the representation or in the genes of adata: put it into "
            "adata.obsm or adata.layers, and give its name."
        )
        raise ValueError(msg)
    return matrix, "`vectors`", is_genes


def _of_genes(
    m: Map, matrix: Any, name: str, of: str | None, genes: Any, *, scvelo: str | None
) -> tuple[Vectors, list[str]]:
    adata, behind = m.adata, m.genes
    if not behind.n_projected:
        msg = (
            f"{name} has vectors of genes, and the map does not know how adata.obsm[{m.params['use_rep']!r}] is "
            "computed from genes: give vectors in the representation, of shape "
            f"({adata.n_obs}, {m.model.n_features}), as a key of adata.obsm or an array."
        )
        raise ValueError(msg)
    is_scvelo = scvelo is not None and isinstance(adata.uns.get(f"{scvelo}_params"), Mapping)
    notes = []
    if genes is None and is_scvelo and f"{scvelo}_genes" in adata.var:
        genes = f"{scvelo}_genes"
    is_named = _named(adata, genes)
    # the map knows names as text
    names = adata.var_names.astype(str)
    if np.array_equal(names, behind.projected):
        first = np.arange(adata.n_vars)
    elif names.is_unique:
        first = names.get_indexer(behind.projected)
    else:
        msg = "adata.var_names has names more than once; adata.var_names_make_unique() renames them."
        raise ValueError(msg)
    there = np.flatnonzero((first >= 0) & is_named[first])
    has_values = _usable(matrix, name, first[there])
    used = there[has_values]
    if not len(used):
        msg = (
            f"None of the {behind.n_projected} genes that the map is made of has vectors in {name}: they are not in "
            "adata.var_names, not in `genes`, or NaN."
        )
        raise ValueError(msg)
    listed = f", in adata.var[{genes!r}]" if isinstance(genes, str) else ""
    notes.append(f"{len(used)} of the {behind.n_projected} genes behind the map have vectors{listed}")
    loadings, seen = _loadings(behind, used)
    vectors = Vectors(name, matrix, first[used], loadings, seen=seen)
    if of is None:
        of = "Ms" if is_scvelo else SAME
        if is_scvelo and of not in adata.layers:
            msg = (
                f"adata.uns[{f'{scvelo}_params'!r}] says that {name} is from scvelo, and the layer 'Ms' that its "
                "velocities are derivatives of is not there: name another layer with `of`, or give of='same' if the "
                "vectors are in the units of the expression behind the map."
            )
            raise KeyError(msg)
    if of == SAME:
        notes.append(f"{name} is taken to be in the units of {m.source_of_genes}; otherwise, see `of`")
        return vectors, notes
    slope, note = _slope(m, of, first, used)
    return Vectors(name, matrix, first[used], loadings, slope, seen), [*notes, note]


def _named(adata: AnnData, genes: Any) -> NDArray[np.bool_]:
    """Return which genes of `adata` count, (n_vars,)."""
    if genes is None:
        return np.ones(adata.n_vars, dtype=bool)
    if isinstance(genes, str):
        check_found(genes, adata.var, "adata.var")
        column = adata.var[genes]
        if not pd.api.types.is_bool_dtype(column) or column.hasnans:
            msg = f"Expected adata.var[{genes!r}] to be True or False for each gene, found {column.dtype}."
            raise ValueError(msg)
        return column.to_numpy(dtype=bool)
    if missing := [gene for gene in genes if gene not in adata.var_names]:
        msg = f"Did not find {', '.join(map(repr, missing[:5]))} in adata.var_names."
        raise KeyError(msg)
    return adata.var_names.isin(genes)


def _usable(matrix: Any, name: str, columns: NDArray[np.intp] | None) -> NDArray[np.bool_]:
    """Return which columns have numbers at all cells, or raise if cells have none or some are infinite."""
    empty, infinite, has_values, n_read = [], [], True, 0
    for start, block in blocks(matrix, columns):
        is_nan = np.isnan(block)
        lost = is_nan.all(1) if columns is not None else is_nan.any(1)
        empty += list(start + np.flatnonzero(lost))
        infinite += list(start + np.flatnonzero(np.isinf(block).any(1)))
        has_values = has_values & ~is_nan.any(0)
        n_read += len(block)
    for rows, problem in ((infinite, "infinite values"), (empty, "no numbers, but NaN")):
        if rows and np.size(has_values):
            msg = (
                f"{len(rows)} of {n_read} cells, the first of them in row {rows[0]}, have {problem} in {name}: "
                "leave these cells out, or set their vectors to zero."
            )
            raise ValueError(msg)
    return np.asarray(has_values)


def _loadings(genes: Genes, used: NDArray[np.intp]) -> tuple[Any, NDArray[np.float64] | None]:
    """Return (g, D) loadings that compute vectors of the representation from genes, and LᵀL if others are missing."""
    is_all = len(used) == genes.n_projected
    if genes.loadings is None:
        chosen = sparse.csr_matrix((np.ones(len(used)), (np.arange(len(used)), used)), (len(used), genes.n_projected))
        seen = None if is_all else np.bincount(used, minlength=genes.n_projected).astype(np.float64)
    else:
        chosen = genes.loadings[used].astype(np.float64)
        seen = None if is_all else chosen.T @ chosen
    scaling = None if genes.units is None else genes.units.scaling
    if scaling is not None:
        per_std = 1 / scaling.std[used].astype(np.float64)
        chosen = sparse.diags_array(per_std) @ chosen if sparse.issparse(chosen) else per_std[:, None] * chosen
    return chosen, seen


def _slope(m: Map, of: str, first: NDArray[np.intp], used: NDArray[np.intp]) -> tuple[Slope, str]:
    """Return how the expression of `used` genes changes with a layer; all genes are in its columns `first`."""
    adata, units, columns = m.adata, m.genes.units, first[used]
    check_found(of, adata.layers, "adata.layers")
    kind = "log1p" if units is None else units.kind
    if kind in ("signed", "corrected"):
        msg = (
            f"The map was made of values that may be negative, so that how they change with adata.layers[{of!r}] is "
            "unknown: convert the vectors to the units of the map, and give of='same'."
        )
        raise ValueError(msg)
    base = None if kind != "log1p" else np.e if units is None or np.isnan(units.base) else units.base
    matrix = sliceable(adata.layers[of], f"adata.layers[{of!r}]")
    rows = spread_rows(adata.n_obs, N_COMPARED)
    s = dense(in_memory(matrix[rows])[:, columns]).astype(np.float64)
    if not np.isfinite(s).all() or s.min() < 0 or s.sum() == 0:
        msg = f"Expected adata.layers[{of!r}] to hold numbers >= 0 in linear units, such as scvelo's 'Ms'."
        raise ValueError(msg)
    factor, how = _linear(m, rows, first, used, base) / s.sum(), ""
    if not 0 < factor < np.inf:
        factor, how = 1.0, ", assuming the same normalization, since the expression behind the map is gone"
    note = (
        f"taken to be derivatives of adata.layers[{of!r}], one unit of which is {factor:.3g} of the normalized counts "
    )
    note += f"behind the map{how}" + ("" if base is None else ", and converted to log1p")
    return Slope(of, matrix, columns, factor, base), note


def _linear(
    m: Map, rows: NDArray[np.intp], first: NDArray[np.intp], used: NDArray[np.intp], base: float | None
) -> float:
    """Return the sum of the normalized counts behind the map over some cells and genes, NaN if they have changed."""
    adata, genes = m.adata, m.genes
    x = in_memory(m.representation.matrix[rows])
    if m.kind == "counts":
        totals = np.maximum(np.asarray(x.sum(1), dtype=np.float64).ravel(), 1)
        return float((dense(x[:, used]).sum(1) * (m.params["library_size"] / totals)).sum())
    matrix = adata.X if genes.layer is None else adata.layers.get(genes.layer)
    if matrix is None:
        return np.nan
    y = dense(in_memory(matrix[rows])[:, first]).astype(np.float64)
    if (first >= 0).all():
        x = dense(x)
        if not np.median(np.abs(genes.project(y) - x).max(1)) <= MAX_DEVIATION * x.std():
            return np.nan
    y = y[:, used]
    if genes.units is not None and genes.units.scaling is not None:
        y = genes.units.scaling.of(used).undo(y)
    return float((y if base is None else np.expm1(y * np.log(base))).sum())
