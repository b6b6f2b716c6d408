"""The genes behind a representation: how to read them off it, and how to compute it from them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast, get_args

import numpy as np
import torch

from ..geometry.jet import differentials

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

Kind = Literal["counts", "normalized", "log1p", "signed", "corrected"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""Units of expression: whole numbers, counts divided by their cell's total, log1p of these, values that can be
negative, and negative values that depend on the cells they were computed with."""


@dataclass(frozen=True)
class Scaling:
    """How `scanpy.pp.scale` scaled genes."""

    mean: NDArray[np.float32]
    """(g,)"""
    std: NDArray[np.float32]
    """(g,)"""
    zero_center: bool = True
    """Whether the mean was subtracted."""
    max_value: float = np.inf
    """Values beyond it were clipped, on both sides if the mean was subtracted."""

    def scale(self, y: NDArray[Any]) -> NDArray[Any]:
        """Scale the (n, g) expression of genes."""
        if not self.zero_center:
            return np.minimum(y / self.std, self.max_value)
        return np.clip((y - self.mean) / self.std, -self.max_value, self.max_value)

    def is_near(self, other: Scaling) -> bool:
        """Return whether genes are scaled alike up to rounding."""
        return self.zero_center == other.zero_center and all(
            np.allclose(getattr(self, name), getattr(other, name), rtol=1e-3, atol=1e-6) for name in ("mean", "std")
        )

    def of(self, columns: NDArray[np.intp]) -> Scaling:
        """Return the scaling of some of the genes."""
        return replace(self, mean=self.mean[columns], std=self.std[columns])

    def undo(self, y: NDArray[Any]) -> NDArray[Any]:
        """Return the expression before it was scaled; clipped values stay clipped."""
        return y * self.std + (self.mean if self.zero_center else 0)


@dataclass(frozen=True)
class Units:
    """The units of expression values."""

    kind: Kind
    """The units before genes were scaled, if they were."""
    zeros: float
    """Share of values that were zero before scaling."""
    target_sum: float = np.nan
    """Total that the counts of a cell were normalized to, NaN if unknown."""
    base: float = np.nan
    """Base of the logarithm, NaN if unknown or not log1p."""
    least_sum: float = np.nan
    """Smallest sum of normalized counts over the genes of a cell, NaN if unknown."""
    most_sum: float = np.nan
    """Largest such sum."""
    scaling: Scaling | None = None
    """How genes were scaled, None if they were not."""


@dataclass(frozen=True)
class Statistics:
    """Statistics of g genes over some cells."""

    mean: NDArray[np.float32]
    """(g,)"""
    std: NDArray[np.float32]
    """(g,)"""
    low: NDArray[np.float32]
    """(g,) least value."""
    high: NDArray[np.float32]
    """(g,) largest value."""

    def of(self, columns: NDArray[np.integer] | slice) -> Statistics:
        """Return the statistics of some of the genes."""
        return Statistics(self.mean[columns], self.std[columns], self.low[columns], self.high[columns])


class Expression(NamedTuple):
    """The affine map y = x L + m from a representation x to the expression y of some genes.

    Where the representation is the expression itself, it selects columns.
    """

    genes: NDArray[np.str_]
    """(g,)"""
    columns: NDArray[np.intp]
    """(g,) their places among the genes of the model."""
    loadings: NDArray[np.float32] | None
    """L, (D, g). None if the representation is the expression of all genes."""
    intercept: NDArray[np.float32] | None
    """m, (g,)."""
    floor: NDArray[np.float32] | None
    """(g,) smallest value to return: 0 where no cell had a negative value, else minus infinity."""

    def of_genes(self, which: NDArray[np.intp]) -> Expression:
        """Return the map to some of the genes."""
        return Expression(
            self.genes[which],
            self.columns[which],
            None if self.loadings is None else self.loadings[:, which],
            None if self.intercept is None else self.intercept[which],
            None if self.floor is None else self.floor[which],
        )

    def of(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Return the (n, g) expression of (n, D) points of the representation."""
        y = x[:, self.columns] if self.loadings is None else x @ self.loadings + cast("NDArray[Any]", self.intercept)
        return y.astype(np.float32) if self.floor is None else np.maximum(y.astype(np.float32), self.floor)

    def along(self, jacobian: Tensor) -> Tensor:
        """Return the derivatives of expression, (n, g, d), for the Jacobians of a decoder, (n, D, d)."""
        if self.loadings is None:
            return jacobian[:, self.columns]
        return differentials(jacobian, torch.from_numpy(self.loadings))


@dataclass(frozen=True)
class Genes:
    """The g genes that a model knows, in the order of its training.

    With x a point of the representation and y the expression of genes, y = x L + m reads genes off the representation,
    and x = y Lᵀ − c computes the representation from the first `n_projected` genes.

    Parameters
    ----------
    names
        (g,)
    n_projected
        Number of genes that the representation is computed from, which come first: all if it is their expression, those
        with loadings if it is a PCA, otherwise none.
    n_raw
        Number of genes in ``adata.raw`` only, which come last.
    layer
        Layer of the expression, None for X.
    statistics
        Statistics of the genes over the cells of the map, None if unknown.
    loadings
        (g, D) L transposed: the loadings of a PCA for the first `n_projected` genes, and slopes of a linear regression
        for all others. None if the representation is the expression of the genes.
    intercept
        (g,) m.
    offset
        (D,) c.
    units
        Units of the first `n_projected` genes, which new cells must have. None if there are no such genes, and for
        counts.
    """

    names: NDArray[np.str_]
    n_projected: int
    n_raw: int = 0
    layer: str | None = None
    statistics: Statistics | None = None
    loadings: NDArray[np.float32] | None = None
    intercept: NDArray[np.float32] | None = None
    offset: NDArray[np.float32] | None = None
    units: Units | None = None

    @property
    def projected(self) -> NDArray[np.str_]:
        """Names of the genes that the representation is computed from."""
        return self.names[: self.n_projected]

    @property
    def sources(self) -> NDArray[np.str_]:
        """How each gene is read off the representation, (g,)."""
        n_regressed = len(self.names) - self.n_projected - self.n_raw
        source = "itself" if self.loadings is None else "loadings"
        return np.repeat([source, "regression", "regression of raw"], [self.n_projected, n_regressed, self.n_raw])

    def choose(self, genes: Sequence[str] | None) -> Expression:
        """Return how `genes` are read off the representation.

        The default is the genes that it is computed from; without any, all genes outside raw; failing these, all.

        Raises
        ------
        KeyError
            If the model does not know a gene; it lists these genes.
        ValueError
            If several genes share a name.
        """
        if genes is None:
            columns = np.arange(self.n_projected or len(self.names) - self.n_raw or len(self.names))
        else:
            at = {name: i for i, name in enumerate(self.names)}
            if missing := [gene for gene in genes if gene not in at]:
                raise KeyError(missing)
            count = Counter(self.names.tolist())
            if repeated := [gene for gene in genes if count[gene] > 1]:
                msg = f"Several genes are named {str(repeated[0])!r}; adata.var_names_make_unique() renames them."
                raise ValueError(msg)
            columns = np.array([at[gene] for gene in genes], dtype=np.intp)
        known = self.statistics
        floor = None if known is None else np.where(known.low[columns] >= 0, 0, -np.inf).astype(np.float32)
        if self.loadings is None or self.intercept is None:
            return Expression(self.names[columns], columns, None, None, floor)
        return Expression(self.names[columns], columns, self.loadings[columns].T.copy(), self.intercept[columns], floor)

    def project(self, y: NDArray[Any], is_there: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
        """Compute the representation, (n, D), from the expression of the projected genes in the units of the reference.

        Genes that are not `is_there`, (g,), have no column in `y`, and get their mean in the reference.
        """
        if is_there is not None:
            statistics = cast("Statistics", self.statistics)
            filled = np.tile(statistics.mean[: self.n_projected].astype(np.float64), (len(y), 1))
            filled[:, is_there] = y
            y = filled
        if self.loadings is None or self.offset is None:
            return y.astype(np.float32)
        x = y.astype(np.float64) @ self.loadings[: self.n_projected].astype(np.float64) - self.offset
        return x.astype(np.float32)

    def to_arrays(self) -> dict[str, Any]:
        """Return the entries as dictionaries and arrays; what is None, infinite or unknown is left out."""

        def taken(value: Any) -> Any:
            return {
                field.name: taken(part) if is_dataclass(part) else part
                for field in fields(value)
                if (part := getattr(value, field.name)) is not None
                and not (isinstance(part, float) and not np.isfinite(part))
            }

        return taken(self)
