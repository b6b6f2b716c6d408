"""Distances between all pairs of cells, and how well an embedding keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn.metrics import euclidean_distances

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# Numbers in one matrix of distances: 32 MB.
CHUNK = 2**22
# Up to here differences are computed one by one, so that equal cells are at distance 0 exactly and far outliers of a
# map cost no digits. Beyond, matrix products are used, which are 5 times as fast at 50 columns.
MAX_COLUMNS_ONE_BY_ONE = 16


def distances(a: Any, b: Any) -> NDArray[np.float64]:
    """Return the Euclidean distances between the rows of (m, D) and (n, D) matrices, dense or sparse, (m, n).

    Center the columns of dense ones beforehand, so that matrix products lose fewer digits.
    """
    if a.shape[1] <= MAX_COLUMNS_ONE_BY_ONE and not sparse.issparse(a):
        return cdist(a, b)
    return euclidean_distances(a, b)


def own_distances(points: Any, own: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the distances from some of the n points, (m,), to all, (m, n); each is at 0 from itself."""
    d = distances(points[own], points)
    # which matrix products only approximate
    d[np.arange(len(own)), own] = 0
    return d


def chunks(m: int, n: int) -> Iterator[slice]:
    """Cut m rows of n distances into parts that fit into memory."""
    step = max(CHUNK // n, 1)
    for start in range(0, m, step):
        yield slice(start, min(start + step, m))


def diameter(points: NDArray[np.float64], m: int) -> float:
    """Return the largest distance of the first m points, and of the 100 outermost ones, to any point.

    With ``m = len(points)`` this is the diameter. With fewer it is seldom less: one end of the diameter is at least
    half of it away from the center, in the worst case like more than a hundred others.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality.distances import diameter
    >>> diameter(np.array([[0.0, 0.0], [3.0, 4.0], [1.0, 1.0]]), 3)
    5.0
    """
    radius = np.linalg.norm(points - points.mean(0), axis=1)
    longest = float(distances(points[np.argsort(radius)[-100:]], points).max())
    # a pair is at most as far apart as the sum of its radii, which rules out most rows
    rows = np.flatnonzero(radius[:m] + radius.max() > longest)
    for part in chunks(len(rows), len(points)):
        longest = max(longest, float(distances(points[rows[part]], points).max()))
    return longest


def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the Pearson correlation of two arrays of one shape, Spearman's if they are ranks; NaN if one is constant.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality.distances import correlation
    >>> round(correlation(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0])), 12)
    1.0
    """
    a, b = a - a.mean(), b - b.mean()
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return float(np.vdot(a, b) / norms) if norms > 0 else float("nan")


def average_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rank of each value from 0; equal values share the mean of their ranks.

    This takes a quarter of the time of `scipy.stats.rankdata`, because no stable sort is needed.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality.distances import average_ranks
    >>> average_ranks(np.array([0.3, 0.1, 0.3]))
    array([1.5, 0. , 1.5])
    """
    order = np.argsort(values)
    ordered = values[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    counts = np.diff(np.r_[first, len(values)])
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(first + (counts - 1) / 2, counts)
    return ranks


def stress(distances_x: NDArray[np.float64], distances_z: NDArray[np.float64]) -> float:
    r"""Return how far the distances on the embedding are from those in the representation.

    .. math:: \mathrm{Stress} = \sqrt{\frac{\sum_{i<j} (d^X_{ij} - d^Z_{ij})^2}{\sum_{i<j} (d^Z_{ij})^2}}

    It also penalizes another scale: only an embedding in units of the representation can be near 0.

    Source: Kruskal 1964, *Multidimensional scaling*; divided by the distances of the embedding, as papers on geometric
    autoencoders do.

    Parameters
    ----------
    distances_x, distances_z
        Distances of the same pairs, in the representation and on the embedding.

    Returns
    -------
    0 is perfect; NaN if all points of the embedding are equal.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality import stress
    >>> stress(np.array([2.0, 4.0]), np.array([1.0, 2.0]))
    1.0
    """
    norm = np.linalg.norm(distances_z)
    return float(np.linalg.norm(distances_x - distances_z) / norm) if norm > 0 else float("nan")


def scale_free_stress(distances_x: NDArray[np.float64], distances_z: NDArray[np.float64]) -> float:
    r"""Return the stress of the embedding at the scale that fits best.

    .. math:: \min_\alpha \sqrt{\frac{\sum_{i<j} (d^X_{ij} - \alpha d^Z_{ij})^2}{\sum_{i<j} (d^X_{ij})^2}}
              = \sqrt{1 - \frac{(\sum d^X d^Z)^2}{\sum (d^X)^2 \sum (d^Z)^2}}

    Source: Kruskal 1964, *Multidimensional scaling*, minimized over the scale.

    Parameters
    ----------
    distances_x, distances_z
        Distances of the same pairs, in the representation and on the embedding.

    Returns
    -------
    Between 0, perfect, and 1; NaN if all points of either are equal.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality import scale_free_stress
    >>> scale_free_stress(np.array([2.0, 4.0]), np.array([1.0, 2.0]))
    0.0
    """
    norm_x, norm_z = np.linalg.norm(distances_x), np.linalg.norm(distances_z)
    if not norm_x * norm_z > 0:
        return float("nan")
    alpha = np.vdot(distances_x, distances_z) / np.vdot(distances_z, distances_z)
    # the closed form would lose half of the digits near 0
    return float(np.linalg.norm(distances_x - alpha * distances_z) / norm_x)


def distance_correlation(distances_x: NDArray[np.float64], distances_z: NDArray[np.float64]) -> float:
    r"""Return how dependent two sets of distances are: their distance correlation.

    .. math:: \mathrm{dCor} = \sqrt{\frac{\langle A, B \rangle}{\|A\|\,\|B\|}}

    with A and B the distances after subtracting the means of rows and columns and adding the mean of all. It is 0 if
    the two are independent, 1 for a similarity.

    Source: Székely, Rizzo & Bakirov 2007, *Measuring and testing dependence by correlation of distances*, Annals of
    Statistics 35.

    Parameters
    ----------
    distances_x, distances_z
        (m, m) symmetric, in the representation and on the embedding.

    Returns
    -------
    Between 0 and 1; 1 is best. NaN if all points of either are equal.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality import distance_correlation
    >>> d = np.abs(np.subtract.outer(np.arange(4.0), np.arange(4.0)))
    >>> round(distance_correlation(d, 2 * d), 12)
    1.0
    """
    a, b = _double_centered(distances_x), _double_centered(distances_z)
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    # only rounding makes the numerator negative
    return float(np.sqrt(max(float(np.vdot(a, b)), 0) / norms)) if norms > 0 else float("nan")


def _double_centered(d: NDArray[np.float64]) -> NDArray[np.float64]:
    mean = d.mean(0)
    return d - mean - mean[:, None] + mean.mean()
