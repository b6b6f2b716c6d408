"""Cells that are not of the kind that a map was made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from sklearn.neighbors import NearestNeighbors
from sklearn.random_projection import GaussianRandomProjection

from .unseen import unseen

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_DIRECTIONS, N_DISTANCES = 20, 10
# Cells that others are compared with, and of these, whose neighborhoods are averaged to tell noise from structure.
MAX_REFERENCE, MAX_NEIGHBORHOODS = 20_000, 2_000
# Of the reference, what is beyond counts as not belonging to it: the 2% of held-out cells that may be flagged, less
# where the representation knows its cells a little and nothing allows for that (benchmarks/outliers.py).
SHARE, SHARE_KNOWN = 0.02, 0.015
# An axis on which neighbors have nothing in common still counts a little; one without noise is not all that counts.
LEAST_SHARED, LEAST_NOISE = 0.05, 1e-4
# Of more than twice as many features, random projections are compared, which keep distances and directions.
N_PROJECTED = 500
# Cells that differ by less, as a share of the size of the reference, are the same.
SAME = 1e-4
# Where the reference has no spread at all, all other cells are equally far.
TINY, MAX_SCORE = 1e-6, 1e6


class Outliers(NamedTuple):
    """How far cells are from those of a reference."""

    score: NDArray[np.float32]
    """(n,) about 0 for a typical cell of the reference, and above 1 as one or two in a hundred of these are."""
    is_outlier: NDArray[np.bool_]
    """(n,) whether it is above 1."""


def outliers(x: NDArray, reference: NDArray, *, made_of: tuple[float, int] | None = None) -> Outliers:
    r"""Say which cells are farther from the cells of a reference than these are from each other.

    Two things are asked of each cell. How far are its 10 nearest, compared with how far these are from their own? A
    sparse population is no outlier for being sparse, as in the local outlier factor (Breunig, Kriegel, Ng & Sander
    2000). And how far are the directions of the 20 nearest from its own, as seen from the mean of the reference? So a
    cell that expresses something else is told from one that expresses more.

    Most principal components are mostly noise. Let t be the variance along a principal axis, and w the variance
    around the mean of the 20 nearest cells. For the distances each axis is multiplied by the share :math:`1 - w/t` that
    neighbors have in common. For the directions the cells are whitened by the covariance around that mean.

    Each answer becomes :math:`-\log p`, where p is the share of the reference that is at least as far, each cell of it
    compared with all the others (a conformal p-value: Vovk, Gammerman & Shafer 2005). The sum of the two is Fisher's
    statistic. The score is that sum, from its median over the reference and in units of the way to its 98% quantile, or
    to that of 98.5% without `made_of`.

    Parameters
    ----------
    x
        (n, D) cells.
    reference
        (m, D) cells to compare with, at least 3; of more than 20,000 evenly spaced ones count.
    made_of
        If `reference` is all the cells that principal components were made of: the total variance and the number of
        the features. The cells are then compared with where those of the reference would lie if the components had been
        made without them (`scgeoae.quality.unseen`). Otherwise the representation is taken not to depend on single
        cells. A cell of x that is one of those that count gets the score that it has there.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality import outliers
    >>> reference = np.random.default_rng(0).normal(size=(500, 4)) + [9, 0, 0, 0]
    >>> outliers(np.array([[9.0, 0, 0, 0], [-9, 0, 0, 0]]), reference).is_outlier
    array([False,  True])
    """
    step = -(-len(reference) // MAX_REFERENCE)
    if reference.shape[1] > 2 * N_PROJECTED and made_of is None:
        project = GaussianRandomProjection(N_PROJECTED, random_state=0)
        reference, x = project.fit_transform(reference[::step]), project.transform(x)
        step = 1
    seen = np.asarray(reference[::step], dtype=np.float64)
    known = seen if made_of is None else unseen(reference, *made_of, step=step).astype(np.float64)
    center = known.mean(0)
    size = np.sqrt(known.var(0).sum()) or 1.0
    seen, known, x = ((cells - center) / size for cells in (seen, known, x))
    noise = _noise(known)
    variance, axes = np.linalg.eigh(known.T @ known / len(known))
    shared = 1 - (axes * (noise @ axes)).sum(0) / np.maximum(variance, TINY)
    along = axes * np.maximum(shared, LEAST_SHARED)
    extent, white = np.linalg.eigh(noise)
    white /= np.sqrt(np.maximum(extent, max(LEAST_NOISE * extent[-1], TINY**2)))
    far, far_known = _surprise(*_distances(x @ along, known @ along))
    apart, apart_known = _surprise(*_directions(_unit(x @ white), _unit(known @ white)))
    surprise, surprise_known = far + apart, far_known + apart_known
    # a cell of the reference belongs there no more for being compared with itself
    gap, nearest = NearestNeighbors(n_neighbors=1).fit(seen).kneighbors(x)
    surprise = np.where(gap[:, 0] <= SAME, surprise_known[nearest[:, 0]], surprise)
    share = SHARE_KNOWN if made_of is None else SHARE
    middle, high = np.quantile(surprise_known, [0.5, 1 - share])
    score = np.clip((surprise - middle) / max(high - middle, TINY), -MAX_SCORE, MAX_SCORE).astype(np.float32)
    return Outliers(score, score > 1)


def _noise(x: NDArray) -> NDArray:
    """Return the covariance, (D, D), of cells around the mean of their neighbors."""
    k = min(N_DIRECTIONS, len(x) - 1)
    some = x[:: -(-len(x) // MAX_NEIGHBORHOODS)]
    near = NearestNeighbors(n_neighbors=k + 1).fit(x).kneighbors(some, return_distance=False)[:, 1:]
    away = some - x[near].mean(1)
    return away.T @ away / len(away) * k / (k + 1)


def _near(x: NDArray, reference: NDArray, k: int) -> tuple[tuple[NDArray, NDArray], tuple[NDArray, NDArray]]:
    """Return distances and numbers of the k nearest for x, and for the reference among all its others."""
    index = NearestNeighbors(n_neighbors=min(k, len(reference) - 1)).fit(reference.astype(np.float32))
    return index.kneighbors(x.astype(np.float32)), index.kneighbors()


def _distances(x: NDArray, reference: NDArray) -> tuple[NDArray, NDArray]:
    """Return the logarithm of the mean distance to the nearest, less its mean over these."""
    (far, near), (own_far, own_near) = _near(x, reference, N_DISTANCES)
    own = _log_mean(own_far)
    return _log_mean(far) - own[near].mean(1), own - own[own_near].mean(1)


def _directions(x: NDArray, reference: NDArray) -> tuple[NDArray, NDArray]:
    (far, _), (own, _) = _near(x, reference, N_DIRECTIONS)
    return _log_mean(far), _log_mean(own)


def _log_mean(distances: NDArray) -> NDArray:
    # a cell that is there many times has a distance of 0 to its neighbors
    return np.log(np.maximum(distances.mean(1), TINY))


def _unit(x: NDArray) -> NDArray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(np.float64).tiny)


def _surprise(values: NDArray, reference: NDArray) -> tuple[NDArray, NDArray]:
    """Return -log p of both. Each value counts itself, once among those of the reference."""
    n, ordered = len(reference), np.sort(reference)
    at_least, at_least_known = (n - np.searchsorted(ordered, v) for v in (values, reference))
    # no p is below 1/n, but far is not farther than all: there -log p goes on as it grew in the tail
    ninety, high = np.quantile(ordered, [0.9, 0.99])
    beyond = np.log(10) * np.maximum(values - ordered[-1], 0) / max(high - ninety, TINY)
    return np.log((n + 1) / (at_least + 1)) + beyond, np.log(n / at_least_known)
