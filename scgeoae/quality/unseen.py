"""Principal components know the cells that they were made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq
from scipy.special import beta

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Of the spectrum behind the last component, densest where that is
N_NODES = 20
# Power of the rank by which eigenvalues of noise fall below its edge (Marchenko & Pastur 1967)
EDGE = 2 / 3
# Differences between the last eigenvalues, whose median counts
N_GAPS = 10
# Steps of Newton's method from there
N_NEWTON = 2
# Logarithm of the ratio of two eigenvalues up to which their components are alike
ALIKE = 0.1
# As a share of the first, what is no component but rounding
LEAST_VARIANCE = 1e-9
# Points between two eigenvalues from which a root is looked for
N_ROOTS = 128


def unseen(scores: NDArray, total_variance: float, n_features: int, *, step: int = 1) -> NDArray[np.float32]:
    r"""Return where principal components would have put each cell if they had been made without it.

    Components bend toward the cells that they are made of, so that these lie farther out than new cells of the same
    kind, the more so the fewer cells and the more genes there are. In the basis of all components the
    covariance without cell i, and around the mean without it, has as its eigenvalues the roots :math:`\mu_j` of
    :math:`\sum_m s_{im}^2/(\lambda_m - \mu) = n - 1` with :math:`\lambda_{j+1} < \mu_j < \lambda_j`, and the cell is at
    :math:`\pm n/(\sum_m s_{im}^2/(\lambda_m - \mu_j)^2)^{1/2}` on the j-th eigenvector. Behind the last known
    component, the spectrum is taken to be like that of noise, with the variance that is left, the same for all cells.
    Components of nearly equal variance are pooled.

    Parameters
    ----------
    scores
        (n, d) principal components of n cells, all that they were made of.
    total_variance
        Sum of the variances of the features, with n - 1 in the denominator.
    n_features
        Number of features that the components were made of.
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
    # no direction has more of a cell than all of it
    size, tiny = np.sqrt((centered**2).sum(1) + max(left, 0)), np.finfo(np.float64).tiny
    # the logarithm of the distance from either end says more than the distance
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
    # components of nearly equal variance turn into each other without the cell: each has what is usual among them
    logs, spread = np.log(np.maximum(known, tiny)), np.maximum((moved**2).mean(0), tiny)
    alike = np.exp(-(((logs[:, None] - logs) / ALIKE) ** 2) / 2)
    moved *= np.sqrt(alike @ spread / alike.sum(1) / spread)
    result = np.empty_like(moved)
    result[:, order] = np.copysign(moved, centered)
    return (result + mean).astype(np.float32)


def _rest(known: NDArray, left: float, n_left: int) -> tuple[NDArray, NDArray]:
    """Return n_left eigenvalues behind the known ones with this sum, as some of them and the share of the sum of each.

    They begin as far behind the last one that is known as the last ones lie apart, lie at first as those of noise
    do, and then fall as fast as the sum says.
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
