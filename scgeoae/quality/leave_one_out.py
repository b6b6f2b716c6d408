"""Principal components without the bias toward the cells that they were computed from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq
from scipy.special import beta

if TYPE_CHECKING:
    from numpy.typing import NDArray

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


def leave_one_out_scores(
    scores: NDArray[np.float64], total_variance: float, n_features: int, *, step: int = 1
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
        (n, d) principal components of all n cells that they were computed from.
    total_variance
        Sum of the variances of the features, with n - 1 in the denominator.
    n_features
        Number of features that the components were computed from.
    step
        Return every so many cells.

    Returns
    -------
    (⌈n / step⌉, d) positions around the mean of `scores`.
    """
    n, d = scores.shape
    mean = scores.mean(0, dtype=np.float64)
    variance = scores.var(0, dtype=np.float64)
    order = np.argsort(-variance)
    centered = (scores[::step] - mean)[:, order]
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
