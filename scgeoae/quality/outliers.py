"""Cells that are not of the kind that a map was made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from sklearn.neighbors import LocalOutlierFactor

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_NEIGHBORS = 20
# Cells that others are compared with. The search costs as many distances for each cell.
MAX_REFERENCE = 20_000
# Of the reference, what is beyond counts as not belonging to it.
SHARE = 0.01


class Outliers(NamedTuple):
    """How far cells are from those of a reference."""

    score: NDArray[np.float32]
    """(n,) local outlier factor in units of its 99% quantile over the reference: above 1 as one of a hundred is."""
    is_outlier: NDArray[np.bool_]
    """(n,) whether that is above 1."""


def outliers(x: NDArray, reference: NDArray) -> Outliers:
    """Say which cells are farther from the cells of a reference than these are from each other.

    The local outlier factor (Breunig, Kriegel, Ng & Sander 2000) is the density around the neighbours of a cell
    relative to that around itself, so that a sparse population is no outlier for being sparse. It is calibrated on the
    reference, of which a hundredth is above 1.

    Parameters
    ----------
    x
        (n, D) cells.
    reference
        (m, D) cells to compare with, at least 3; of more than 20,000 evenly spaced ones count.
    """
    step = -(-len(reference) // MAX_REFERENCE)
    reference = reference[::step]
    factor = LocalOutlierFactor(n_neighbors=min(N_NEIGHBORS, len(reference) - 1), novelty=True).fit(reference)
    bound = np.quantile(-factor.negative_outlier_factor_, 1 - SHARE)
    score = (-factor.score_samples(x) / bound).astype(np.float32)
    return Outliers(score, score > 1)
