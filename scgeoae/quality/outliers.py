"""Cells that are not of the kind that a map was made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_NEIGHBORS = 20
# Cells that others are compared with. The search costs as many distances for each cell.
MAX_REFERENCE = 20_000
# Of the reference, what is beyond counts as not belonging to it.
SHARE = 0.01
# Of the smooth maximum: a sum would let what is usual in one respect hide what is not in the other.
SHARPNESS = 4.0
# Where the reference has no spread at all, all other cells are equally far.
TINY, MAX_SCORE = 1e-6, 1e6


class Outliers(NamedTuple):
    """How far cells are from those of a reference."""

    score: NDArray[np.float32]
    """(n,) about 0 for a typical cell of the reference, and above 1 as one of a hundred of these is."""
    is_outlier: NDArray[np.bool_]
    """(n,) whether it is above 1."""


def outliers(x: NDArray, reference: NDArray) -> Outliers:
    r"""Say which cells are farther from the cells of a reference than these are from each other.

    Two things are asked of each cell: how much sparser cells are around it than around its neighbours (the local
    outlier factor, Breunig, Kriegel, Ng & Sander 2000), for which a sparse population is no outlier for being sparse;
    and how far the directions of the 20 nearest are from its own as seen from the mean of the reference, by which a
    cell that expresses something else is told from one that expresses more. The logarithm of each is measured from its
    median over the reference in units of the way to its 99% quantile, and so is the smooth maximum of the two,
    :math:`\log(e^{4a} + e^{4b})/4`, which is the score.

    Parameters
    ----------
    x
        (n, D) cells.
    reference
        (m, D) cells to compare with, at least 3; of more than 20,000 evenly spaced ones count.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality import outliers
    >>> reference = np.random.default_rng(0).normal(size=(500, 4)) + [9, 0, 0, 0]
    >>> outliers(np.array([[9.0, 0, 0, 0], [-9, 0, 0, 0]]), reference).is_outlier
    array([False,  True])
    """
    reference = reference[:: -(-len(reference) // MAX_REFERENCE)]
    k = min(N_NEIGHBORS, len(reference) - 1)
    factor = LocalOutlierFactor(n_neighbors=k, novelty=True).fit(reference)
    center = reference.mean(0, dtype=np.float64)
    directions = NearestNeighbors(n_neighbors=k).fit(_unit(reference - center))
    measures = [
        (-factor.score_samples(x), -factor.negative_outlier_factor_),
        (directions.kneighbors(_unit(x - center))[0].mean(1), directions.kneighbors()[0].mean(1)),
    ]
    # a cell that is there many times has a distance of 0 to its neighbours
    logs = [(np.log(np.maximum(of, 1e-9)), np.log(np.maximum(ref, 1e-9))) for of, ref in measures]
    scaled, scaled_reference = zip(*(_scaled(*pair) for pair in logs), strict=True)
    together, together_reference = (np.logaddexp(*(SHARPNESS * z for z in pair)) for pair in (scaled, scaled_reference))
    score = np.clip(_scaled(together, together_reference)[0], -MAX_SCORE, MAX_SCORE).astype(np.float32)
    return Outliers(score, score > 1)


def _unit(x: NDArray) -> NDArray:
    return (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(np.float64).tiny)).astype(np.float32)


def _scaled(values: NDArray, reference: NDArray) -> tuple[NDArray, NDArray]:
    """Return both from the median of the reference, in units of the way to its 99% quantile."""
    middle, high = np.quantile(reference, [0.5, 1 - SHARE])
    unit = max(high - middle, TINY)
    return (values - middle) / unit, (reference - middle) / unit
