"""Units of expression: recognize those of new cells, and convert them to those of the reference."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast, get_args

import numpy as np
from scanpy import logging as logg
from scipy import sparse

from .._matrix import dense, in_memory, row_sums, spread_rows
from ..nn.genes import Scaling, Statistics, Units

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from ..nn.genes import Genes, Kind

Reading = Literal["counts", "normalized", "log1p", "same"]
READINGS: tuple[Reading, ...] = get_args(Reading)
"""Valid values of `units`. ``"same"`` means the units of the matrix that was mapped, including its scaling."""
# About log1p of a million. No logarithmic expression is larger.
LARGEST_LOG = 14.0
# Bases of logarithms in use.
BASES = (math.e, 2.0, 10.0)
# Relative tolerance within which the totals of normalized cells are equal.
UNEVEN = 1e-3
# Relative tolerance between the totals of two data sets, whose genes may differ slightly, and between their sums over
# the genes of the map, which vary from cell to cell.
MAX_UNEVEN, MAX_APART = 0.05, 0.25
# With fewer cells, it is not checked whether genes vary as in the reference.
FEWEST = 20
# Number of genes compared at most.
N_TELLING = 200
# Number of cells read at most.
N_READ = 500
# Shares of zeros: corrected expression has fewer than the first, measured expression more than the second.
FEW_ZEROS, MANY_ZEROS = 0.01, 0.1
# Values below this count as zeros after a scaling was undone, because of rounding in float32.
SMALLEST = 1e-4
# Tolerance, in standard deviations, within which the lowest values of a gene are both zeros.
FLOOR = 0.01
# Residuals have a mean of 0 over all cells; this is the tolerance, in standard deviations.
CENTERED = 0.02
# Limits beyond which genes are not in the units of the reference: the median shift of their means, in standard
# deviations; the median log ratio of their standard deviations; and the share of values outside the reference's range.
MAX_SHIFT, MAX_WIDER, MAX_OUTSIDE = 1.0, np.log(2), 0.1
WORDS = {
    "counts": "counts",
    "normalized": "normalized counts",
    "log1p": "log1p of normalized counts",
    "signed": "values that may be negative",
    "corrected": "residuals or corrected values",
}


def units_of(adata: AnnData, columns: NDArray[Any], sample: Any, rows: NDArray[np.intp]) -> Units:
    """Return the units of the genes in `columns`. A `sample` has all genes of the cells in `rows`."""
    scaling = scaling_of(adata.var, sample)
    unscaled = sample if scaling is None else _near_zero(scaling.undo(dense(sample).astype(np.float64)))
    base = log_base(adata)
    kind, total, base = signature(unscaled, bases=BASES if base is None else (base,))
    if kind == "log1p" and np.isnan(total) and adata.raw is not None and adata.raw.X.dtype.kind in "iuf":
        # raw often keeps the genes that were dropped later
        raw = in_memory(adata.raw.X[rows])
        raw_kind, raw_total, raw_base = signature(raw, bases=BASES if log_base(adata) is None else (base,))
        total, base = (raw_total, raw_base) if raw_kind == "log1p" else (total, base)
    y = dense(unscaled[:, columns]).astype(np.float64)
    if kind == "signed" and (scaling is not None or _is_corrected(adata, y)):
        kind = "corrected"
    sums = _sums(y, kind, base)
    return Units(
        kind,
        zeros=float((y == 0).mean()),
        target_sum=total,
        base=base,
        least_sum=float(sums.min()),
        most_sum=float(sums.max()),
        scaling=None if scaling is None else scaling.of(columns),
    )


def _is_corrected(adata: AnnData, y: NDArray[Any]) -> bool:
    """Return whether signed values depend on the cells that they were computed with, like residuals."""
    if {"log1p", "pearson_residuals_normalization"} & set(adata.uns):
        return True
    varies = y.std(0) > 0
    return bool(varies.any() and np.median(np.abs(y.mean(0)[varies]) / y.std(0)[varies]) < CENTERED)


def log_base(adata: AnnData) -> float | None:
    """Return the base of the logarithm that `scanpy.pp.log1p` recorded, or None without a record."""
    recorded = adata.uns.get("log1p")
    if not isinstance(recorded, Mapping):
        return None
    base = recorded.get("base")
    return float(base) if isinstance(base, Real) and float(base) > 1 else math.e


def statistics_of(y: Any) -> Statistics:
    """Return statistics of each gene of an (n, g) matrix, dense or sparse."""
    y = y.astype(np.float64) if sparse.issparse(y) else y
    mean = dense(y.mean(axis=0, dtype=np.float64)).ravel()
    square = y.multiply(y) if sparse.issparse(y) else np.square(y, dtype=np.float64)
    std = np.sqrt(np.maximum(dense(square.mean(axis=0, dtype=np.float64)).ravel() - mean**2, 0))
    low, high = (dense(values).ravel() for values in (y.min(axis=0), y.max(axis=0)))
    return Statistics(*(values.astype(np.float32) for values in (mean, std, low, high)))


def scaling_of(var: pd.DataFrame, sample: Any) -> Scaling | None:
    """Return how `scanpy.pp.scale` scaled some cells, or None if it did not.

    The record in `var` alone does not tell: Scanpy writes means and standard deviations whether it scaled X or a layer.
    """
    if not {"mean", "std"} <= set(var):
        return None
    mean, std = (var[name].to_numpy(dtype=np.float32, na_value=np.nan) for name in ("mean", "std"))
    std = np.where(std > 0, std, 1).astype(np.float32)
    y = dense(sample).astype(np.float64)
    varies = y.std(0) > SMALLEST
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and varies.any()):
        return None
    # `max_value` is not recorded, but clipping leaves several cells at the same largest value
    is_centered, largest = bool((y < 0).any()), y.max()
    is_cut = np.count_nonzero(y == largest) > 1
    found = Scaling(mean, std, is_centered, float(largest) if is_cut else np.inf)
    # decide by the zeros if there are enough, otherwise by means and standard deviations
    zeros, zeros_before = (float((np.abs(values) < SMALLEST).mean()) for values in (y, found.undo(y)))
    if is_centered and max(zeros, zeros_before) > MANY_ZEROS:
        return found if zeros_before > zeros else None
    means, stds = y.mean(0)[varies], y.std(0)[varies]
    mean, std = mean[varies], std[varies]
    before, after = (mean, std), ((0.0, 1.0) if is_centered else (mean / std, 1.0))
    off = [np.median(np.abs(means - m) / s + np.abs(np.log(stds / s))) for m, s in (before, after)]
    return found if off[1] < off[0] else None


def signature(y: Any, expected: float = np.nan, *, bases: Sequence[float] = (math.e,)) -> tuple[Kind, float, float]:
    """Infer what the expression of some cells is, from all of their genes.

    Normalized counts have the same total in every cell, or the total `expected` if there is only one cell. The
    logarithm is undone with each of the `bases` to see which one gives such totals.

    Returns
    -------
    The kind, the total that cells were normalized to, and the base of the logarithm. The latter two are NaN if unknown.
    """
    # some dtypes have no sparse form
    y = sparse.csr_matrix(y if sparse.issparse(y) else y.astype(np.float64), dtype=np.float64)
    if (y.data < 0).any():
        return "signed", np.nan, np.nan
    if (y.data == np.rint(y.data)).all():
        return "counts", np.nan, np.nan
    if not np.isnan(total := _common_total(y, expected)):
        return "normalized", total, np.nan
    known = bases[0] if len(bases) == 1 else np.nan
    largest = y.data.max()
    for base in bases:
        if largest * np.log(base) < LARGEST_LOG and not np.isnan(
            total := _common_total((y * np.log(base)).expm1(), expected)
        ):
            return "log1p", total, base
    return ("log1p" if largest * np.log(min(bases)) < LARGEST_LOG else "normalized"), np.nan, known


def _common_total(y: Any, expected: float) -> float:
    totals = np.asarray(y.sum(1), dtype=np.float64).ravel()
    totals = totals[totals > 0]
    total = float(np.median(totals)) if len(totals) > 1 else expected
    return total if len(totals) and (np.abs(totals / total - 1) < UNEVEN).mean() > 0.9 else np.nan


def _sums(y: NDArray[Any], kind: Kind, base: float) -> NDArray[np.float64]:
    """Return the sum of the normalized counts of each cell over some genes, (n,), or NaN if unknown."""
    if kind not in ("normalized", "log1p") or (kind == "log1p" and np.isnan(base)):
        return np.full(len(y), np.nan)
    return (np.expm1(y * np.log(base)) if kind == "log1p" else y).sum(1)


@dataclass(frozen=True)
class Conversion:
    """The steps that convert the expression of new cells to the units of a reference, in this order."""

    own: Scaling | None = None
    """Scaling of the new cells, which is undone."""
    from_log: float | None = None
    """Base of the log1p that is undone."""
    factor: float | None = None
    """What normalized counts are divided by."""
    target_sum: float | None = None
    """Total to which the counts of each cell are normalized."""
    to_log: float | None = None
    """Base of the log1p that is taken."""
    scaling: Scaling | None = None
    """Scaling of the reference, which is applied."""

    @property
    def is_identity(self) -> bool:
        """Whether nothing changes."""
        return all(step is None for step in vars(self).values())

    def sums(self, matrix: Any) -> NDArray[np.float64] | None:
        """Return the sums of cells over all genes, (n,), if they are needed."""
        return None if self.target_sum is None else row_sums(matrix)

    def unscaled(self, y: NDArray[Any], sums: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """Return (n, g) expression in the units of the reference, but not scaled. The cells have these `sums`."""
        y = y.astype(np.float64)
        if self.own is not None:
            y = self.own.undo(y)
        if self.from_log is not None:
            y = np.expm1(y * np.log(self.from_log))
        if self.factor is not None:
            y = y / self.factor
        if self.target_sum is not None and sums is not None:
            y = y / (np.where(sums > 0, sums, 1) / self.target_sum)[:, None]
        return y if self.to_log is None else np.log1p(y) / np.log(self.to_log)

    def __call__(self, y: NDArray[Any], sums: NDArray[np.float64] | None) -> NDArray[np.float64]:
        """Return (n, g) expression in the units of the reference. The cells have these `sums` over all genes."""
        y = self.unscaled(y, sums)
        return y if self.scaling is None else self.scaling.scale(y)


class _Given(NamedTuple):
    """A sample of the new cells as given, and what they seem to be."""

    y: NDArray[Any]
    """(n, g) expression of the genes that they share with the reference."""
    zeros: float
    """Share of zeros, after their own scaling was undone."""
    sums: NDArray[np.float64]
    """(n,) over all genes."""
    kind: Kind
    total: float
    """Total that cells were normalized to, NaN if unknown."""
    base: float
    """Base of the logarithm, NaN if unknown."""
    own: Scaling | None
    """Their own scaling, which has to be undone."""


def read_units(
    adata_new: AnnData,
    matrix: Any,
    name: str,
    genes: Genes,
    columns: NDArray[Any],
    is_there: NDArray[Any],
    said: Reading | None,
) -> Conversion:
    """Infer the units of new cells, and return the conversion to those of a reference, or raise if no reading fits.

    Parameters
    ----------
    matrix
        (n, all genes of `adata_new`), called `name`.
    genes
        Genes of the reference.
    columns
        (g,) columns of the matrix with the genes that the representation is computed from, without missing ones.
    is_there
        (n_projected,) which of these genes the new cells have.
    said
        The user's statement, one of `READINGS`, or None.
    """
    if said == "same":
        return Conversion()
    there = np.flatnonzero(is_there)
    # genes that are projected have both
    units, reference = cast("Units", genes.units), cast("Statistics", genes.statistics).of(there)
    units = replace(units, scaling=None if units.scaling is None else units.scaling.of(there))
    rows = spread_rows(matrix.shape[0], N_READ)
    sample = in_memory(matrix[rows])
    sums = row_sums(sample)
    y = dense(sample[:, columns]).astype(np.float64)
    own = scaling_of(adata_new.var, sample) if said is None else None
    if own is not None:
        sample = _near_zero(own.undo(dense(sample).astype(np.float64)))
        own = own.of(columns)
        if units.scaling is not None and own.is_near(units.scaling):
            # the two were scaled together
            return Conversion()
    base = log_base(adata_new)
    known = (math.e, *BASES[1:]) if np.isnan(units.base) else (units.base, *BASES)
    kind, total, base = signature(sample, units.target_sum, bases=known if base is None else (base,))
    if said not in (None, kind):
        total = base = np.nan
    zeros = float(((y if own is None else _near_zero(own.undo(y))) == 0).mean())
    given = _Given(y, zeros, sums, said or kind, total, base, own)
    summaries = f"{name}: {_summary(y, kind)}. {_described(units, reference)}."
    ways = [replace(way, own=own) for way in _ways(given, units, reference)]
    if said is None and is_there.all():
        # the sums over genes show whether counts were normalized by the total of all genes
        ways = [
            way for way in ways if (way.target_sum is None and way.factor is None) or not _is_apart(way, given, units)
        ]
    if not ways:
        msg = (
            "The new cells have other units than the reference, and its record does not say how to convert them. "
            f"{summaries} Preprocess them as the reference was, or say what they are with `units`: "
            f"{', '.join(map(repr, READINGS))}."
        )
        raise ValueError(msg)
    best = min(ways, key=lambda way: np.abs(_off(way(y, sums), reference)).sum())
    if not replace(best, scaling=None).is_identity:
        how = WORDS[given.kind] + ("" if np.isnan(total) else f" to {total:,.0f} a cell")
        if own is not None:
            lost = f", but for values that were cut off at {own.max_value:.3g}" if np.isfinite(own.max_value) else ""
            how = f"scaled on its own, which is undone{lost}"
        to = "" if np.isnan(units.target_sum) else f" to {units.target_sum:,.0f} a cell"
        logg.warning(f"{name} is {how}: converted to the units of the reference, {WORDS[units.kind]}{to}")
    if said is None:
        is_apart = bool(is_there.all()) and _is_apart(best, given, units)
        _warn(best(y, sums), reference, units, summaries, is_apart=is_apart)
    return best


def _ways(given: _Given, units: Units, reference: Statistics) -> list[Conversion]:
    """Return the conversions that may bring the given cells to the units of a reference."""
    scaled = Conversion(scaling=units.scaling)
    # the cells may be in these units already, unless their own scaling was undone
    same = [Conversion()] if given.own is None else []
    if given.kind == "signed":
        has_signs = reference.low.min() < 0 or (given.y < 0).mean() < FEW_ZEROS
        is_before = units.scaling is not None and units.kind == "corrected"
        return [*(same if has_signs else []), *([scaled] if is_before else [])]
    if units.kind in ("signed", "corrected"):
        is_measured = given.kind == "counts" or given.zeros > MANY_ZEROS
        return [] if is_measured and units.zeros < FEW_ZEROS else [scaled]
    way = _way(given, units)
    ways = [] if way is None else [replace(way, scaling=units.scaling)]
    if given.kind == "counts" or units.kind == "counts" or not np.isnan(given.total):
        return ways
    # only the largest value separates log1p from normalized counts, and both from values scaled without centering
    if given.kind != units.kind:
        ways.append(scaled)
    if units.scaling is not None and not units.scaling.zero_center:
        ways += same
    return ways


def _way(given: _Given, units: Units) -> Conversion | None:
    """Return the conversion between two kinds of expression, without scaling, or None if the record is insufficient."""
    target = units.target_sum
    # a logarithm of unknown base is assumed to have the base of the other
    to_log = next((base for base in (units.base, given.base) if not np.isnan(base)), math.e)
    from_log = to_log if np.isnan(given.base) else given.base
    if given.kind == "counts":
        if units.kind == "counts":
            return Conversion()
        if np.isnan(target):
            return None
        return Conversion(target_sum=target, to_log=to_log if units.kind == "log1p" else None)
    if units.kind == "counts":
        return None
    # both were normalized, possibly to different totals
    is_other = abs(np.log(given.total / target)) > MAX_UNEVEN and not np.isnan(given.total / target)
    factor = given.total / target if is_other else None
    is_near = given.kind == "normalized" or abs(np.log(from_log / to_log)) < SMALLEST
    if given.kind == units.kind and is_near and factor is None:
        return Conversion()
    return Conversion(
        from_log=from_log if given.kind == "log1p" else None,
        factor=factor,
        to_log=to_log if units.kind == "log1p" else None,
    )


def _is_apart(way: Conversion, given: _Given, units: Units) -> bool:
    """Return whether the normalized counts of the map's genes have sums that no cell of the reference has."""
    base = math.e if np.isnan(units.base) else units.base
    middle = float(np.median(_sums(way.unscaled(given.y, given.sums), units.kind, base)))
    # false if the sums are unknown
    return middle > units.most_sum * (1 + MAX_APART) or middle < units.least_sum / (1 + MAX_APART)


def _off(y: NDArray[Any], reference: Statistics) -> NDArray[np.float64]:
    """Return how far the genes of some cells are from the reference: shift, spread and share of values outside."""
    # genes of few cells say little
    rises = (reference.mean - reference.low) / np.maximum(reference.std, np.finfo(np.float32).tiny)
    telling = np.argsort(-rises)[:N_TELLING]
    telling = telling[reference.std[telling] > 0]
    if not len(telling):
        return np.zeros(3)
    known = reference.of(telling)
    y, mean, std, low, high = y[:, telling], known.mean, known.std, known.low, known.high
    room = 0.1 * (high - low)
    outside = ((y < low - room) | (y > high + room)).mean()
    varies = y.std(0) > SMALLEST * std
    if len(y) < FEWEST or not varies.any():
        return np.array([0, 0, outside])
    shift = np.median((y.mean(0) - mean) / std)
    return np.array([shift, np.median(np.log(y.std(0)[varies] / std[varies])), outside])


def _warn(y: NDArray[Any], reference: Statistics, units: Units, summaries: str, *, is_apart: bool) -> None:
    """Warn if cells differ from the reference after conversion, or if there is no way to tell."""
    shift, wider, outside = _off(y, reference)
    # zeros have the same value in both, unless genes were scaled differently
    is_floor = np.abs(y.min(0) - reference.low) < FLOOR * np.maximum(reference.std, SMALLEST)
    is_rescaled = units.zeros > MANY_ZEROS and len(y) >= FEWEST and is_floor.mean() < MANY_ZEROS
    if units.kind == "corrected":
        logg.warning(
            "The genes of the reference are residuals or were corrected (sc.pp.regress_out, sc.pp.combat, Pearson "
            "residuals), so that their values depend on the cells that they were computed with, and so do the places "
            f"of new cells. {summaries} If both were computed together, say units='same'."
        )
    elif is_apart or abs(shift) > MAX_SHIFT or wider > MAX_WIDER or outside > MAX_OUTSIDE or is_rescaled:
        logg.warning(
            f"The new cells may have other units than the reference. {summaries} If they have the same units, say "
            "so with `units`."
        )


def _near_zero(y: NDArray[Any]) -> NDArray[Any]:
    """Set values to zero that differ from it only by rounding in float32."""
    return np.where(np.abs(y) < SMALLEST, 0, y)


def _summary(y: NDArray[Any], kind: Kind) -> str:
    return f"{WORDS[kind]}, from {y.min():.3g} to {y.max():.3g}, mean {y.mean():.3g}, {(y == 0).mean():.0%} zeros"


def _described(units: Units, reference: Statistics) -> str:
    scaled = "" if units.scaling is None else ", scaled by sc.pp.scale"
    return (
        f"The genes of the reference: {WORDS[units.kind]}{scaled}, from {reference.low.min():.3g} to "
        f"{reference.high.max():.3g}, "
        f"mean {reference.mean.mean():.3g}, {units.zeros:.0%} zeros before that"
    )
