"""Cells unlike those that a map was made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from sklearn.neighbors import NearestNeighbors
from sklearn.random_projection import GaussianRandomProjection

from .leave_one_out import leave_one_out_scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

N_DIRECTIONS, N_DISTANCES = 20, 10
# Largest number of reference cells to compare with, and of neighborhoods to average to tell noise from structure.
MAX_REFERENCE, MAX_NEIGHBORHOODS = 20_000, 2_000
# Share of the reference that counts as outliers, so that about 2% of held-out cells are flagged; less if the
# representation was fitted to the reference and nothing corrects for that (benchmarks/outliers.py).
SHARE, SHARE_KNOWN = 0.02, 0.015
# Bounds that keep an axis without shared variance in play, and an axis without noise from dominating.
LEAST_SHARED, LEAST_NOISE = 0.05, 1e-4
# More than twice as many features are projected at random, which keeps distances and directions.
N_PROJECTED = 500
# Cells that differ by less, as a share of the size of the reference, count as the same cell.
SAME = 1e-4
# Bounds for a reference without any spread.
TINY, MAX_SCORE = 1e-6, 1e6


class Outliers(NamedTuple):
    """How far cells are from the cells of a reference."""

    score: NDArray[np.float32]
    """(n,) about 0 for a typical cell of the reference; one or two in a hundred of these are above 1."""
    is_outlier: NDArray[np.bool_]
    """(n,) whether the score is above 1."""


def outliers(x: Floats, reference: Floats, *, made_of: tuple[float, int] | None = None) -> Outliers:
    r"""Find cells that are farther from the cells of a reference than these are from each other.

    Two questions are asked about each cell. How far away are its 10 nearest reference cells, compared with the distance
    of these from their own neighbors? As in the local outlier factor (Breunig, Kriegel, Ng & Sander 2000), cells of a
    sparse population are not outliers. And how far are the directions of the 20 nearest from its own, as seen from the
    mean of the reference? This separates a cell that expresses other genes from one that expresses more.

    Most principal components are mostly noise. Let t be the variance along a principal axis, and w the variance
    around the mean of the 20 nearest cells. For the distances each axis is multiplied by the share :math:`1 - w/t` that
    neighbors have in common. For the directions the cells are whitened by the covariance around that mean.

    Each answer becomes :math:`-\log p`, where p is the share of the reference that is at least as far, each reference
    cell being compared with all others (a conformal p-value: Vovk, Gammerman & Shafer 2005). The sum of the two is
    Fisher's statistic. The score shifts and scales it: 0 is its median over the reference, and 1 its 98% quantile, or
    the 98.5% quantile without `made_of`.

    Parameters
    ----------
    x
        (n, D) cells.
    reference
        (m, D) cells to compare with, at least 3. Of more than 20,000, evenly spaced ones are used.
    made_of
        The total variance and the number of features, if `reference` is all cells that principal components were
        computed from. Cells are then compared with where each reference cell would lie if the components had been
        computed without it. Otherwise the representation is assumed not to depend on single cells. A cell of x that is
        one of the reference cells in use gets its score there.

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
    known = seen if made_of is None else leave_one_out_scores(reference, *made_of, step=step).astype(np.float64)
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
    # a cell of the reference is not compared with itself
    gap, nearest = NearestNeighbors(n_neighbors=1).fit(seen).kneighbors(x)
    surprise = np.where(gap[:, 0] <= SAME, surprise_known[nearest[:, 0]], surprise)
    share = SHARE_KNOWN if made_of is None else SHARE
    middle, high = np.quantile(surprise_known, [0.5, 1 - share])
    score = np.clip((surprise - middle) / max(high - middle, TINY), -MAX_SCORE, MAX_SCORE).astype(np.float32)
    return Outliers(score, score > 1)


def _noise(x: Floats) -> Floats:
    """Return the covariance, (D, D), of cells around the mean of their neighbors."""
    k = min(N_DIRECTIONS, len(x) - 1)
    some = x[:: -(-len(x) // MAX_NEIGHBORHOODS)]
    near = NearestNeighbors(n_neighbors=k + 1).fit(x).kneighbors(some, return_distance=False)[:, 1:]
    away = some - x[near].mean(1)
    return away.T @ away / len(away) * k / (k + 1)


def _near(x: Floats, reference: Floats, k: int) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """Return distances and indices of the k nearest reference cells for x, and for the reference without itself."""
    index = NearestNeighbors(n_neighbors=min(k, len(reference) - 1)).fit(reference.astype(np.float32))
    return index.kneighbors(x.astype(np.float32)), index.kneighbors()


def _distances(x: Floats, reference: Floats) -> tuple[Floats, Floats]:
    """Return the log mean distance to the nearest cells, relative to the mean of these cells' own."""
    (far, near), (own_far, own_near) = _near(x, reference, N_DISTANCES)
    own = _log_mean(own_far)
    return _log_mean(far) - own[near].mean(1), own - own[own_near].mean(1)


def _directions(x: Floats, reference: Floats) -> tuple[Floats, Floats]:
    (far, _), (own, _) = _near(x, reference, N_DIRECTIONS)
    return _log_mean(far), _log_mean(own)


def _log_mean(distances: Floats) -> Floats:
    # duplicates of a cell are at distance 0
    return np.log(np.maximum(distances.mean(1), TINY))


def _unit(x: Floats) -> Floats:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(np.float64).tiny)


def _surprise(values: Floats, reference: Floats) -> tuple[Floats, Floats]:
    """Return -log p of both. Each value counts itself, once among the reference values."""
    n, ordered = len(reference), np.sort(reference)
    at_least, at_least_known = (n - np.searchsorted(ordered, v) for v in (values, reference))
    # p cannot fall below 1/n, so beyond the farthest reference value -log p is extrapolated from its growth in the tail
    ninety, high = np.quantile(ordered, [0.9, 0.99])
    beyond = np.log(10) * np.maximum(values - ordered[-1], 0) / max(high - ninety, TINY)
    return np.log((n + 1) / (at_least + 1)) + beyond, np.log(n / at_least_known)
