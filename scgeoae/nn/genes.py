"""What a model knows of the genes behind its representation."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np
import torch

from ..geometry.differential import differentials

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

Kind = Literal["counts", "normalized", "log1p", "signed", "corrected"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""Units of expression: whole numbers, counts divided by the total of their cell, log1p of these, anything that can be
negative, and of that what depends on the cells that it was computed with."""


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
    """Beyond which values were cut off, on both sides if the mean was subtracted."""

    def scale(self, y: NDArray) -> NDArray:
        """Scale the (n, g) expression of genes."""
        if not self.zero_center:
            return np.minimum(y / self.std, self.max_value)
        return np.clip((y - self.mean) / self.std, -self.max_value, self.max_value)

    def is_near(self, other: Scaling) -> bool:
        """Whether genes are scaled alike, but for rounding."""
        return self.zero_center == other.zero_center and all(
            np.allclose(getattr(self, name), getattr(other, name), rtol=1e-3, atol=1e-6) for name in ("mean", "std")
        )

    def of(self, columns: NDArray[np.intp]) -> Scaling:
        """Return that of some of the genes."""
        return replace(self, mean=self.mean[columns], std=self.std[columns])

    def undo(self, y: NDArray) -> NDArray:
        """Return the expression before it was scaled, but for what was cut off."""
        return y * self.std + (self.mean if self.zero_center else 0)


@dataclass(frozen=True)
class Units:
    """In which units the expression of genes is."""

    kind: Kind
    """Before genes were scaled, if they were."""
    zeros: float
    """Share of values that were zero before they were scaled."""
    target_sum: float = np.nan
    """Total that the counts of a cell were normalized to, NaN if that is unknown."""
    base: float = np.nan
    """Of the logarithm, if it is log1p and that is known."""
    least_sum: float = np.nan
    """Least sum of normalized counts over the genes, NaN if they are not known."""
    most_sum: float = np.nan
    """Largest sum of these."""
    scaling: Scaling | None = None
    """How they were scaled, None if they were not."""


@dataclass(frozen=True)
class Statistics:
    """What g genes are like in some cells."""

    mean: NDArray[np.float32]
    """(g,)"""
    std: NDArray[np.float32]
    """(g,)"""
    low: NDArray[np.float32]
    """(g,) least value."""
    high: NDArray[np.float32]
    """(g,) largest value."""

    def of(self, columns: NDArray[np.integer] | slice) -> Statistics:
        """Return those of some of the genes."""
        return Statistics(self.mean[columns], self.std[columns], self.low[columns], self.high[columns])


class Expression(NamedTuple):
    """The affine map y = x L + m from a representation x to the expression y of some genes.

    Or a choice of its columns, where the representation is the expression.
    """

    genes: NDArray[np.str_]
    """(g,)"""
    columns: NDArray[np.intp]
    """(g,) which of the genes of the model they are."""
    loadings: NDArray[np.float32] | None
    """L, (D, g). None where the representation is the expression of all genes."""
    intercept: NDArray[np.float32] | None
    """m, (g,)."""
    floor: NDArray[np.float32] | None
    """(g,) below which they are not read: 0 where no cell had a negative value, else minus infinity."""

    def of(self, x: NDArray) -> NDArray[np.float32]:
        """Return the (n, g) expression of (n, D) points of the representation."""
        y = x[:, self.columns] if self.loadings is None else x @ self.loadings + self.intercept
        return y.astype(np.float32) if self.floor is None else np.maximum(y.astype(np.float32), self.floor)

    def along(self, jacobian: Tensor) -> Tensor:
        """Return the derivatives of expression, (n, g, d), for the Jacobians of a decoder, (n, D, d)."""
        if self.loadings is None:
            return jacobian[:, self.columns]
        return differentials(jacobian, torch.from_numpy(self.loadings))


@dataclass(frozen=True)
class Genes:
    """The g genes that a model knows, in the order in which it was trained on them.

    With x a point of the representation and y the expression of genes, y = x L + m reads genes off the representation,
    and x = y Lᵀ − c computes it from the first `n_projected` of them.

    Parameters
    ----------
    names
        (g,)
    n_projected
        Number of genes that the representation is computed from: all if it is their expression, those with loadings if
        it is a PCA, none of any other. They come first.
    n_raw
        Number of genes that were in ``adata.raw`` only. They come last.
    layer
        In which they stood, None for X.
    statistics
        Of the genes in the cells of the map, None if they are not known.
    loadings
        (g, D) rows of L transposed: the loadings of a PCA, and slopes of a linear regression for all genes but the
        first `n_projected`. None if the representation is the expression of the genes.
    intercept
        (g,) m.
    offset
        (D,) c.
    units
        Of the first `n_projected` genes, in which new cells have to be. None if there are none, and of counts.
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

        By default those that it is computed from; where there are none, all but those of raw; else these.

        Raises
        ------
        KeyError
            If the model does not know a gene, with those that it does not know.
        ValueError
            If several of the genes have a name.
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
        if self.loadings is None:
            return Expression(self.names[columns], columns, None, None, floor)
        return Expression(self.names[columns], columns, self.loadings[columns].T.copy(), self.intercept[columns], floor)

    def project(self, y: NDArray, is_there: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
        """Return the representation, (n, D), of the expression of the projected genes, in the units of the reference.

        Of genes that are not `is_there`, (g,), whose columns are left out, the mean in the reference is taken.
        """
        if is_there is not None:
            filled = np.tile(self.statistics.mean[: self.n_projected].astype(np.float64), (len(y), 1))
            filled[:, is_there] = y
            y = filled
        if self.loadings is None:
            return y.astype(np.float32)
        x = y.astype(np.float64) @ self.loadings[: self.n_projected].astype(np.float64) - self.offset
        return x.astype(np.float32)
