"""Cells that do not belong to a reference, and where each reference cell would lie without itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.spatial import KDTree
from scipy.special import beta
from sklearn.neighbors import NearestNeighbors
from sklearn.random_projection import GaussianRandomProjection

from .._matrix import blocks, dense

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Nodes of the spectrum beyond the last component, densest next to it.
N_NODES = 20
# Power of the rank with which eigenvalues of noise fall below their edge (Marchenko & Pastur 1967).
EDGE = 2 / 3
# Differences between the last eigenvalues, of which the median is taken.
N_GAPS = 10
# Steps of Newton's method.
N_NEWTON = 2
# Log ratio of two eigenvalues up to which their components are pooled.
ALIKE = 0.1
# Variance, as a share of the first, below which a component is rounding error.
LEAST_VARIANCE = 1e-9
# Points between two eigenvalues at which the search for a root starts.
N_ROOTS = 128


class Moments(NamedTuple):
    """What all cells of a reference are like."""

    n: int
    """Number of cells."""
    mean: NDArray[np.float64]
    """(D,)"""
    covariance: NDArray[np.float64]
    """(D, D) with n in the denominator."""


def moments(matrix: Any) -> Moments:
    """Return the moments of any (n, D) matrix, from those of its `blocks` (Chan, Golub & LeVeque 1979)."""
    n, d = matrix.shape
    mean, covariance = np.zeros(d), np.zeros((d, d))
    for start, block in blocks(matrix):
        here = block.mean(0, dtype=np.float64)
        centered, away, share = block - here, here - mean, len(block) / (start + len(block))
        covariance += (centered.T @ centered / len(block) - covariance) * share
        covariance += np.outer(away, away) * (share * (1 - share))
        mean += away * share
    return Moments(n, mean, covariance)


def leave_one_out_scores(
    scores: NDArray[np.floating], whole: Moments, total_variance: float, n_features: int
) -> NDArray[np.float32]:
    r"""Return where each cell would lie on principal components computed without it.

    Components bend toward the cells that they are computed from, so these lie farther out than new cells of the same
    kind, the more so the fewer cells and the more genes there are. In the basis of all components, the eigenvalues of
    the covariance without cell i, around the mean without it, are the roots :math:`\mu_j` of
    :math:`\sum_m s_{im}^2/(\lambda_m - \mu) = n - 1` with :math:`\lambda_{j+1} < \mu_j < \lambda_j`, and the cell is at
    :math:`\pm n/(\sum_m s_{im}^2/(\lambda_m - \mu_j)^2)^{1/2}` on the j-th eigenvector. The spectrum beyond the last
    known component is modeled as noise with the remaining variance, the same for all cells. Components of nearly equal
    variance are pooled.

    Parameters
    ----------
    scores
        (m, d) principal components of some of the cells that they were computed from.
    whole
        Moments of the components of all n cells.
    total_variance
        Sum of the variances of the features, with n - 1 in the denominator.
    n_features
        Number of features that the components were computed from.

    Returns
    -------
    (m, d) positions around the mean of all cells.
    """
    n, mean, variance = whole.n, whole.mean, whole.covariance.diagonal()
    d = len(mean)
    order = np.argsort(-variance)
    centered = (scores - mean)[:, order]
    known = variance[order]
    left = total_variance * (n - 1) / n - known.sum()
    nodes, weight = _rest(known, left, min(n - 1, n_features) - d)
    poles = np.concatenate([known, nodes])
    weights = np.concatenate([centered**2 / n, np.broadcast_to(weight / n, (len(centered), len(nodes)))], axis=1)
    moved, rows = np.abs(centered), np.arange(len(centered))
    target = 1 - 1 / n
    # no direction holds more than the whole cell
    size, tiny = np.sqrt((centered**2).sum(1) + max(left, 0)), np.finfo(np.float64).tiny
    # spaced by the logarithm of the distance from either end
    along = 1 / (1 + np.exp(-np.linspace(-20, 20, N_ROOTS)))
    for j in np.flatnonzero(known > LEAST_VARIANCE * known[0]):
        between = poles[j + 1] + (poles[j] - poles[j + 1]) * along
        inverse = 1 / np.where(poles == between[:, None], np.inf, poles - between[:, None]).T
        rising = weights @ inverse
        after = np.clip((rising < target).sum(1), 1, N_ROOTS - 1)
        low, high = rising[rows, after - 1], rising[rows, after]
        share = np.clip((target - low) / np.maximum(high - low, tiny), 0, 1)
        start, end = between[after - 1], between[after]
        root = start + share * (end - start)
        for _ in range(N_NEWTON + 1):
            ratio = weights / (poles - root[:, None])
            slope = np.maximum((ratio / (poles - root[:, None])).sum(1), tiny)
            root = np.clip(root - (ratio.sum(1) - target) / slope, start, end)
        moved[:, j] = np.minimum(np.sqrt(n / slope), size)
    # without the cell, components of nearly equal variance mix, so each gets the average of its group
    logs, spread = np.log(np.maximum(known, tiny)), np.maximum((moved**2).mean(0), tiny)
    alike = np.exp(-(((logs[:, None] - logs) / ALIKE) ** 2) / 2)
    moved *= np.sqrt(alike @ spread / alike.sum(1) / spread)
    result = np.empty_like(moved)
    result[:, order] = np.copysign(moved, centered)
    return (result + mean).astype(np.float32)


def _rest(known: NDArray[np.float64], left: float, n_left: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return n_left eigenvalues beyond the known ones that sum to `left`: some nodes, and the sum that each stands for.

    They start below the last known eigenvalue by the usual gap between the last ones, follow the edge of a noise
    spectrum, and then fall at the rate that the sum requires.
    """
    first = known[-1] - (np.median(-np.diff(known)[-N_GAPS:]) if len(known) > 1 else 0)
    if n_left <= 0 or not 0 < left < first * n_left:
        return np.zeros(1), np.zeros(1)
    edge = np.linspace(0, 1, N_NODES + 1) ** 2
    share, rank = np.diff(edge), (edge[1:] + edge[:-1]) / 2
    mean = left / n_left / first
    power = brentq(lambda a: beta(1 / EDGE, a + 1) / EDGE - mean, 0, 1 / mean**2 + 10)
    nodes = first * (1 - rank**EDGE) ** power
    nodes *= min(left / n_left / (share @ nodes), 1)
    return nodes, nodes * share * n_left


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
    return Detector(reference, None if made_of is None else (moments(reference), *made_of)).find(x)


class Detector:
    """Scores cells by a reference, as `outliers` does. A cell gets the same score whatever others are asked for.

    Parameters
    ----------
    reference
        Any (m, D) matrix that can be read in `blocks`; only the cells in use are read.
    made_of
        Moments of the reference, and the two numbers that `outliers` takes, if the reference is all cells that
        principal components were computed from.
    """

    def __init__(self, reference: Any, made_of: tuple[Moments, float, int] | None) -> None:
        n, d = reference.shape
        seen = dense(reference[:: -(-n // MAX_REFERENCE)])
        self.project = None
        if d > 2 * N_PROJECTED and made_of is None:
            self.project = GaussianRandomProjection(N_PROJECTED, random_state=0).fit(seen)
            seen = self.project.transform(seen)
        seen = seen.astype(np.float64)
        known = seen if made_of is None else leave_one_out_scores(seen, *made_of).astype(np.float64)
        self.center = known.mean(0)
        self.size = np.sqrt(known.var(0).sum()) or 1.0
        seen, known = ((cells - self.center) / self.size for cells in (seen, known))
        self.seen = KDTree(seen)
        noise = _noise(known)
        variance, axes = np.linalg.eigh(known.T @ known / len(known))
        shared = 1 - (axes * (noise @ axes)).sum(0) / np.maximum(variance, TINY)
        self.along = axes * np.maximum(shared, LEAST_SHARED)
        extent, self.white = np.linalg.eigh(noise)
        self.white /= np.sqrt(np.maximum(extent, max(LEAST_NOISE * extent[-1], TINY**2)))
        self.near = _index(known @ self.along, N_DISTANCES)
        self.toward = _index(_unit(known @ self.white), N_DIRECTIONS)
        # without the cell itself
        distance, near = self.near.kneighbors()
        self.own = _log_mean(distance)
        self.far = Tail(self.own - self.own[near].mean(1))
        self.apart = Tail(_log_mean(self.toward.kneighbors()[0]))
        self.surprise = self.far.known + self.apart.known
        self.middle, high = np.quantile(self.surprise, [0.5, 1 - (SHARE_KNOWN if made_of is None else SHARE)])
        self.unit = max(high - self.middle, TINY)

    def find(self, x: NDArray[Any]) -> Outliers:
        """Return the scores of (n, D) cells."""
        x = (x if self.project is None else self.project.transform(x)) - self.center
        x /= self.size
        distance, near = self.near.kneighbors((x @ self.along).astype(np.float32))
        far = self.far(_log_mean(distance) - self.own[near].mean(1))
        apart = self.apart(_log_mean(self.toward.kneighbors(_unit(x @ self.white).astype(np.float32))[0]))
        # a cell of the reference is not compared with itself
        gap, same = self.seen.query(x, distance_upper_bound=SAME)
        surprise = np.where(np.isfinite(gap), np.append(self.surprise, 0)[same], far + apart)
        score = np.clip((surprise - self.middle) / self.unit, -MAX_SCORE, MAX_SCORE).astype(np.float32)
        return Outliers(score, score > 1)


class Tail:
    """How unusual values are among (n,) of a reference: -log p."""

    def __init__(self, values: Floats) -> None:
        self.ordered = np.sort(values)
        n = len(values)
        self.known = np.log(n / (n - np.searchsorted(self.ordered, values)))
        """(n,) of these values themselves."""
        # p cannot fall below 1/n, so beyond the farthest value -log p is extrapolated from its growth in the tail
        ninety, high = np.quantile(self.ordered, [0.9, 0.99])
        self.growth = np.log(10) / max(high - ninety, TINY)

    def __call__(self, values: Floats) -> Floats:
        """Return -log p of other values, each of which counts itself as well."""
        n = len(self.ordered)
        at_least = n - np.searchsorted(self.ordered, values)
        return np.log((n + 1) / (at_least + 1)) + self.growth * np.maximum(values - self.ordered[-1], 0)


def _noise(x: Floats) -> Floats:
    """Return the covariance, (D, D), of cells around the mean of their neighbors."""
    k = min(N_DIRECTIONS, len(x) - 1)
    some = x[:: -(-len(x) // MAX_NEIGHBORHOODS)]
    near = NearestNeighbors(n_neighbors=k + 1).fit(x).kneighbors(some, return_distance=False)[:, 1:]
    away = some - x[near].mean(1)
    return away.T @ away / len(away) * k / (k + 1)


def _index(x: Floats, k: int) -> NearestNeighbors:
    """Return what finds the `k` nearest of (n, D) cells, or as many as a cell has others."""
    return NearestNeighbors(n_neighbors=min(k, len(x) - 1)).fit(x.astype(np.float32))


def _log_mean(distances: NDArray[np.floating]) -> Floats:
    # duplicates of a cell are at distance 0
    return np.log(np.maximum(distances.mean(1, dtype=np.float64), TINY))


def _unit(x: Floats) -> Floats:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(np.float64).tiny)
