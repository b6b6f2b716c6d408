"""Units of expression: those of a reference, and those in which new cells come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from scanpy import logging as logg
from scipy import sparse

from ..nn.genes import Scaling, Statistics, Units
from ..training.blocks import dense
from .representation import in_memory

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from ..nn.genes import Genes, Kind

READINGS = ("counts", "normalized", "log1p", "same")
"""What a user may say of new cells; the last: as the matrix that the map was made of, scaled if that was."""
# log1p of a million: no expression is larger on a logarithmic scale.
LARGEST_LOG = 14.0
# By what share totals of cells differ that were normalized to one.
UNEVEN = 1e-3
# By what share those of two data sets may differ, which had not quite the same genes.
MAX_UNEVEN = 0.05
# Cells that tell whether genes vary as they do in the reference.
FEWEST = 20
# Genes of which this is asked at most.
N_TELLING = 200
# Cells of which this is asked at most.
N_READ = 500
# Shares of zeros that corrected expression does not have, and measured expression does.
FEW_ZEROS, MANY_ZEROS = 0.01, 0.1
# Below which what was scaled is taken for a zero: that of float32.
SMALLEST = 1e-4
# By how many standard deviations the least values of a gene may differ that are zeros.
FLOOR = 0.01
# Beyond which genes are not in units of the reference: their median mean, in standard deviations; the median
# logarithm of their spread, of cells of one kind rather less than 0; and the share of values outside of its range.
MAX_SHIFT, MAX_WIDER, MAX_OUTSIDE = 1.0, np.log(2), 0.1
WORDS = {
    "counts": "counts",
    "normalized": "normalized counts",
    "log1p": "log1p of normalized counts",
    "signed": "values that are no counts, nor log1p of them",
}


def spread_rows(n: int, most: int) -> NDArray[np.intp]:
    """Return the numbers of at most `most` of n rows, evenly spaced, in ascending order."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.intp))


def units_of(adata: AnnData, columns: NDArray, sample: Any) -> Units:
    """Return in which units the genes in `columns` are, of which a `sample` has some cells and all genes."""
    scaling = scaling_of(adata.var, sample)
    unscaled = sample if scaling is None else _near_zero(scaling.undo(dense(sample).astype(np.float64)))
    base = log_base(adata)
    kind, total = signature(unscaled, base=base)
    if kind == "log1p" and np.isnan(total) and adata.raw is not None and adata.raw.X.dtype.kind in "iuf":
        # which often keeps the genes that were left out later
        raw_kind, raw_total = signature(in_memory(adata.raw.X[: sample.shape[0]]), base=base)
        total = raw_total if raw_kind == "log1p" else total
    zeros = dense(unscaled[:, columns]) == 0
    return Units(kind, float(zeros.mean()), total, base, None if scaling is None else scaling.of(columns))


def log_base(adata: AnnData) -> float:
    """Return the base of the logarithm that `scanpy.pp.log1p` recorded."""
    recorded = adata.uns.get("log1p")
    base = recorded.get("base") if isinstance(recorded, Mapping) else None
    return float(base) if isinstance(base, Real) and base > 1 else np.e


def statistics_of(y: Any) -> Statistics:
    """Return what genes are like in an (n, g) matrix, dense or sparse."""
    mean = dense(y.mean(axis=0, dtype=np.float64)).ravel()
    square = y.multiply(y) if sparse.issparse(y) else np.square(y, dtype=np.float64)
    std = np.sqrt(np.maximum(dense(square.mean(axis=0, dtype=np.float64)).ravel() - mean**2, 0))
    low, high = (dense(values).ravel() for values in (y.min(axis=0), y.max(axis=0)))
    return Statistics(*(values.astype(np.float32) for values in (mean, std, low, high)))


def scaling_of(var: pd.DataFrame, sample: Any) -> Scaling | None:
    """Return how `scanpy.pp.scale` scaled some cells, if its record in `var` says so of them.

    It leaves means and standard deviations there whatever it scaled, X or a layer.
    """
    if not {"mean", "std"} <= set(var):
        return None
    mean, std = (var[name].to_numpy(dtype=np.float32, na_value=np.nan) for name in ("mean", "std"))
    std = np.where(std > 0, std, 1).astype(np.float32)
    y = dense(sample).astype(np.float64)
    if not (np.isfinite(mean).all() and np.isfinite(std).all()) or not len(y):
        return None
    means, stds = y.mean(0), np.maximum(y.std(0), 1e-6)
    # as genes are before, and after, centered or not, which differ little where means are 0 before
    centered = [(0.0, 1.0)] if (y < 0).any() else [(mean / std, 1.0)]
    off = [np.median(np.abs(means - m) / s + np.abs(np.log(stds / s))) for m, s in [(mean, std), *centered]]
    if off[0] <= off[1]:
        return None
    # it records no `max_value`, but then many cells have the same
    largest = y.max()
    is_cut = np.count_nonzero(y == largest) > 1
    return Scaling(mean, std, zero_center=bool((y < 0).any()), max_value=float(largest) if is_cut else np.inf)


def signature(y: Any, expected: float = np.nan, *, base: float = np.e) -> tuple[Kind, float]:
    """Return what the expression of some cells is, by all of their genes, and what a cell was normalized to if known.

    Normalized counts add up to the same in every cell, or to what is `expected`, and log1p to some `base` is undone to
    find that of its values.
    """
    # which some types of numbers have no sparse form of
    y = sparse.csr_matrix(y) if sparse.issparse(y) else sparse.csr_matrix(y.astype(np.float64))
    if (y.data < 0).any():
        return "signed", np.nan
    if (y.data == np.rint(y.data)).all():
        return "counts", np.nan
    if not np.isnan(total := _common_total(y, expected)):
        return "normalized", total
    if y.data.max() > LARGEST_LOG:
        return "normalized", np.nan
    return "log1p", _common_total((y.astype(np.float64) * np.log(base)).expm1(), expected)


def _common_total(y: Any, expected: float) -> float:
    totals = np.asarray(y.sum(1), dtype=np.float64).ravel()
    totals = totals[totals > 0]
    total = float(np.median(totals)) if len(totals) >= FEWEST or np.isnan(expected) else expected
    is_common = len(totals) > 1 or not np.isnan(expected)
    return total if is_common and (np.abs(totals / total - 1) < UNEVEN).mean() > 0.9 else np.nan


@dataclass(frozen=True)
class Conversion:
    """The way from the expression of new cells to the units of a reference."""

    own: Scaling | None = None
    """By which the new cells were scaled, to be undone."""
    from_log: float | None = None
    """Base of the log1p that is to be undone."""
    totals: NDArray[np.float64] | None = None
    """(n,) by which the cells are divided then."""
    to_log: float | None = None
    """Base of the log1p that is to be taken then."""
    scaling: Scaling | None = None
    """By which the genes are scaled at last."""

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing."""
        return self.from_log is self.to_log is self.own is self.totals is self.scaling is None

    def __call__(self, y: NDArray, rows: NDArray | slice) -> NDArray[np.float64]:
        """Return the (n, g) expression of the cells in `rows` in the units of the reference."""
        y = y.astype(np.float64)
        if self.own is not None:
            y = self.own.undo(y)
        if self.from_log is not None:
            y = np.expm1(y * np.log(self.from_log))
        if self.totals is not None:
            y = y / self.totals[rows, None]
        if self.to_log is not None:
            y = np.log1p(y) / np.log(self.to_log)
        return y if self.scaling is None else self.scaling.scale(y)


def read_units(
    adata_new: AnnData, matrix: Any, name: str, genes: Genes, columns: NDArray, is_there: NDArray, said: str | None
) -> Conversion:
    """Find out in which units new cells come, and return what brings them to those of a reference.

    Parameters
    ----------
    matrix
        (n, all genes of `adata_new`), called `name`.
    genes
        Of the reference.
    columns
        Where those from which its representation is computed are in the matrix, of those that `is_there`, (g,).
    said
        What a user says of the matrix, one of `READINGS`, or None.

    Raises
    ------
    ValueError
        If no reading fits.
    """
    if said == "same":
        return Conversion()
    units, there = genes.units, np.flatnonzero(is_there)
    reference = genes.statistics.of(there)
    scaling = None if units.scaling is None else units.scaling.of(there)
    rows = spread_rows(matrix.shape[0], N_READ)
    sample = in_memory(matrix[rows])
    given = dense(sample[:, columns]).astype(np.float64)
    own = scaling_of(adata_new.var, sample) if said is None else None
    if own is not None:
        unscaled, own = _near_zero(own.undo(dense(sample).astype(np.float64))), own.of(columns)
        if scaling is not None and own.is_near(scaling):
            # both were scaled together
            return Conversion()
        sample = unscaled
    base = log_base(adata_new)
    found, total = signature(sample, units.target_sum, base=base)
    kind = said or found
    summaries = f"{name}: {_summary(given, found)}. {_described(units, reference)}."
    y = dense(sample[:, columns])
    ways = _ways(kind, total, base, y, matrix, units, scaling, reference, is_given=own is None)
    ways = [replace(way, own=own) for way in ways]
    if not ways:
        msg = (
            "The new cells are in other units than the reference, and its record does not say how to bring them there. "
            f"{summaries} Preprocess them as the reference was, or say what they are by `units`: "
            f"{', '.join(map(repr, READINGS))}."
        )
        raise ValueError(msg)
    best = min(ways, key=lambda way: sum(_off(way(given, rows), reference)))
    if best.from_log is not None or best.to_log is not None or best.totals is not None or best.own is not None:
        how = WORDS[kind]
        if best.own is not None:
            cut = best.own.max_value
            lost = f", but for values that were cut off at {cut:.3g}" if np.isfinite(cut) else ""
            how = f"scaled on its own, which is undone{lost}"
        logg.warning(f"{name} is {how}: brought to the units of the reference, {WORDS[units.kind]}")
    if said is None:
        _warn(best(given, rows), reference, units, summaries)
    return best


def _ways(
    kind: Kind,
    total: float,
    base: float,
    y: NDArray,
    matrix: Any,
    units: Units,
    scaling: Scaling | None,
    reference: Statistics,
    *,
    is_given: bool,
) -> list[Conversion]:
    """Return what may bring expression of a kind, (n, g) of some cells, to the units of a reference.

    If it `is_given` as it is, it may be in these units already.
    """
    scaled, same = Conversion(scaling=scaling), [Conversion()] if is_given else []
    if kind == "signed":
        has_signs = reference.low.min() < 0 or (y < 0).mean() < FEW_ZEROS
        return [*(same if has_signs else []), *([scaled] if scaling is not None and units.kind == "signed" else [])]
    if units.kind == "signed":
        is_measured = kind == "counts" or (y == 0).mean() > MANY_ZEROS
        return [] if is_measured and units.zeros < FEW_ZEROS else [scaled]
    way = _way(kind, total, base, matrix, units)
    ways = [] if way is None else [replace(way, scaling=scaling)]
    # what was scaled and not centered has no negative values either
    is_open = scaling is not None and not scaling.zero_center and np.isnan(total) and kind == units.kind
    return [*ways, *(same if is_open else [])]


def _way(kind: Kind, total: float, base: float, matrix: Any, units: Units) -> Conversion | None:
    """Return the way between two kinds of expression without scaling, None if the record does not say it."""
    target = units.target_sum
    from_log, to_log = base if kind == "log1p" else None, units.base if units.kind == "log1p" else None
    if kind == "counts":
        if units.kind == "counts":
            return Conversion()
        if np.isnan(target):
            return None
        totals = np.asarray(matrix.sum(axis=1), dtype=np.float64).ravel()
        return Conversion(totals=np.where(totals > 0, totals, 1) / target, to_log=to_log)
    if units.kind == "counts":
        return None
    # both were normalized, to the same or not
    is_other = abs(np.log(total / target)) > MAX_UNEVEN and not np.isnan(total / target)
    totals = np.full(matrix.shape[0], total / target) if is_other else None
    if kind == units.kind and from_log == to_log and totals is None:
        return Conversion()
    return Conversion(from_log=from_log, totals=totals, to_log=to_log)


def _off(y: NDArray, reference: Statistics) -> tuple[float, float, float]:
    """Return how far the genes of some cells are from those of the reference: shift, spread and share outside."""
    # genes that few cells have tell little
    rises = (reference.mean - reference.low) / np.maximum(reference.std, np.finfo(np.float32).tiny)
    telling = np.argsort(-rises)[:N_TELLING]
    telling = telling[reference.std[telling] > 0]
    if not len(telling):
        return 0.0, 0.0, 0.0
    known = reference.of(telling)
    y, mean, std, low, high = y[:, telling], known.mean, known.std, known.low, known.high
    room = 0.1 * (high - low)
    outside = ((y < low - room) | (y > high + room)).mean()
    if len(y) < FEWEST:
        return 0.0, 0.0, float(outside)
    wider = np.log(np.maximum(y.std(0), 1e-3 * std) / std)
    return float(abs(np.median((y.mean(0) - mean) / std))), float(abs(np.median(wider))), float(outside)


def _warn(y: NDArray, reference: Statistics, units: Units, summaries: str) -> None:
    """Say if some cells, brought to the units of the reference, are unlike it, or if nothing could tell."""
    shift, spread, outside = _off(y, reference)
    # zeros are at the same value in both, unless genes were scaled otherwise
    is_floor = np.abs(y.min(0) - reference.low) < FLOOR * np.maximum(reference.std, SMALLEST)
    is_rescaled = units.zeros > MANY_ZEROS and len(y) >= FEWEST and is_floor.mean() < MANY_ZEROS
    if units.kind == "signed":
        logg.warning(
            "The genes of the reference are residuals or were corrected (sc.pp.regress_out, sc.pp.combat, Pearson "
            "residuals), so that their values depend on the cells that they were computed with, and so do the places "
            f"of new cells. {summaries} If both were computed together, say units='same'."
        )
    elif shift > MAX_SHIFT or spread > MAX_WIDER or outside > MAX_OUTSIDE or is_rescaled:
        logg.warning(
            f"The new cells may be in other units than the reference. {summaries} If they are in the same units, say "
            "so by `units`."
        )


def _near_zero(y: NDArray) -> NDArray:
    """Return values of which those that float32 leaves of a zero are one."""
    return np.where(np.abs(y) < SMALLEST, 0, y)


def _summary(y: NDArray, kind: Kind) -> str:
    return f"{WORDS[kind]}, from {y.min():.3g} to {y.max():.3g}, mean {y.mean():.3g}, {(y == 0).mean():.0%} zeros"


def _described(units: Units, reference: Statistics) -> str:
    scaled = "" if units.scaling is None else ", scaled by sc.pp.scale"
    return (
        f"The genes of the reference: {WORDS[units.kind]}{scaled}, from {reference.low.min():.3g} to "
        f"{reference.high.max():.3g}, "
        f"mean {reference.mean.mean():.3g}, {units.zeros:.0%} zeros before that"
    )
