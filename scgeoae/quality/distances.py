"""Distances between all pairs of cells, and how well an embedding keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn import config_context
from sklearn.metrics import euclidean_distances
from sklearn.utils.extmath import row_norms

from .._runtime import parallel_blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Points: TypeAlias = NDArray[np.float64] | sparse.csr_array

# Numbers in one block of distances: 8 MB. A thread needs four arrays of this size. Smaller blocks would make the matrix
# products slower.
BLOCK = 2**20
# so that the blocks of all threads fit into 0.5 GB
MAX_THREADS = 16
# Up to here differences are computed one by one, so that equal cells are at distance 0 exactly and far outliers of a
# map cost no digits. Beyond, matrix products are used, which are 5 times as fast at 50 columns.
MAX_COLUMNS_ONE_BY_ONE = 16
# Smaller distances from matrix products, as a share of the norm of the points, are rounding errors of 0.
ROUNDING = 1e-7


def distances(a: Points, b: Points, squares: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Return the (len(a), len(b)) Euclidean distances between the rows. Center dense columns beforehand.

    Only `a` is made dense if the points are sparse. `squares` are the squared norms of the rows of `b`, if known.
    """
    if not sparse.issparse(b) and b.shape[1] <= MAX_COLUMNS_ONE_BY_ONE:
        return cdist(a, b)
    dense = a if isinstance(a, np.ndarray) else a.toarray()
    # the points were checked once, not for every block
    with config_context(assume_finite=True):
        found = np.ascontiguousarray(euclidean_distances(dense, b, Y_norm_squared=squares))
    found[found < ROUNDING * np.sqrt(row_norms(dense, squared=True))[:, None]] = 0
    return found


def squared_norms(points: Points) -> NDArray[np.float64]:
    """Return the squared norm of each row."""
    return np.asarray(row_norms(points, squared=True))


def for_row_blocks(work: Callable[[NDArray[np.intp]], None], rows: NDArray[np.intp], n: int) -> None:
    """Call `work` with blocks of `rows`, each of n distances, on several threads.

    The blocks do not depend on the number of threads.
    """
    parallel_blocks(
        lambda start, stop: work(rows[start:stop]),
        len(rows),
        block=max(BLOCK // n, 1),
        n_threads=thread_count(),
    )


def thread_count() -> int:
    """Return the number of threads to use."""
    return min(torch.get_num_threads(), MAX_THREADS)


def diameter(points: Points, m: int) -> float:
    """Return the largest distance of the first m points, and of the 100 outermost ones, to any point.

    With m the number of points this is the diameter. With fewer it is seldom less: one end of the diameter is at least
    half of it away from the center, in the worst case like more than a hundred others.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality.distances import diameter
    >>> diameter(np.array([[0.0, 0.0], [3.0, 4.0], [1.0, 1.0]]), 3)
    5.0
    """
    squares, center = squared_norms(points), points.mean(0)
    largest = np.zeros(len(squares))

    def measure(rows: NDArray[np.intp]) -> None:
        largest[rows] = distances(points[rows], points, squares).max(1)

    def farthest(rows: NDArray[np.intp]) -> NDArray[np.float64]:
        for_row_blocks(measure, rows, len(largest))
        return largest[rows]

    return diameter_of(radii(squares, points @ center, center), m, farthest)


def radii(
    squares: NDArray[np.float64], products: NDArray[np.float64], center: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the distances of points from the center, from their squared norms and their products with it."""
    return np.sqrt(np.maximum(squares - 2 * products + center @ center, 0))


def diameter_of(
    radius: NDArray[np.float64], m: int, farthest: Callable[[NDArray[np.intp]], NDArray[np.float64]]
) -> float:
    """Return the `diameter` of points from their `radii`. `farthest` returns the largest distances of some of them."""
    largest = farthest(np.sort(np.argsort(radius)[-100:])).max()
    # a pair is at most as far apart as the sum of its radii, which rules out most rows
    others = np.flatnonzero(radius[:m] + radius.max() > largest)
    return float(farthest(others).max(initial=largest))


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


def average_ranks(values: NDArray[np.float64], out: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Return the rank of each value from 0; equal values share the mean of their ranks.

    This takes a quarter of the time of `scipy.stats.rankdata`, because no stable sort is needed, and two arrays of the
    size of `values`. `out` may be `values` itself.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality.distances import average_ranks
    >>> average_ranks(np.array([0.3, 0.1, 0.3]))
    array([1.5, 0. , 1.5])
    """
    order = np.argsort(values)
    ordered = values[order]
    is_equal = np.concatenate([[False], ordered[1:] == ordered[:-1], [False]])
    # from here on `ordered` holds the ranks of the sorted values
    ordered[0], ordered[1:] = 0, 1
    np.cumsum(ordered, out=ordered)
    # runs of equal values: from one before the first that equals the value before it, to the last one
    change = np.flatnonzero(is_equal[1:] != is_equal[:-1])
    first, last = change[::2], change[1::2]
    is_tied = is_equal[1:] | is_equal[:-1]
    ordered[is_tied] = np.repeat((first + last) / 2, last - first + 1)
    ranks = np.empty(len(values)) if out is None else out
    ranks[order] = ordered
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
    centered = d - mean
    centered -= mean[:, None]
    centered += mean.mean()
    return centered
