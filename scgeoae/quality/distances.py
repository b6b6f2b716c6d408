"""Euclidean distances between many points, a few rows at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.metrics import euclidean_distances

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# numbers in one matrix of distances: 32 MB
CHUNK = 2**22
# Up to here differences are taken one by one, so that equal cells are at distance 0 exactly and far outliers of a
# map cost no digits. Beyond, matrix products: at 50 columns 5 times as fast.
MAX_COLUMNS_ONE_BY_ONE = 16


def distances(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (len(a), len(b)) Euclidean distances between the rows; center the columns beforehand."""
    if a.shape[1] <= MAX_COLUMNS_ONE_BY_ONE:
        return cdist(a, b)
    return euclidean_distances(a, b)


def chunks(m: int, n: int) -> Iterator[slice]:
    """Cut m rows of n distances into parts that fit into memory."""
    step = max(CHUNK // n, 1)
    for start in range(0, m, step):
        yield slice(start, min(start + step, m))


def diameter(points: NDArray[np.float64], m: int) -> float:
    """Return the largest distance of the first m points, and of the 100 outermost ones, to any point.

    With ``m = len(points)`` that is the diameter. With fewer it seldom misses it: one of the two
    ends of the diameter is at least half of it from the center, in the worst case beside more
    than a hundred others.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality.distances import diameter
    >>> diameter(np.array([[0.0, 0.0], [3.0, 4.0], [1.0, 1.0]]), 3)
    5.0
    """
    radius = np.linalg.norm(points - points.mean(0), axis=1)
    longest = float(distances(points[np.argsort(radius)[-100:]], points).max())
    # no pair of the others is longer than the sum of the radii: that spares most rows
    rows = np.flatnonzero(radius[:m] + radius.max() > longest)
    for part in chunks(len(rows), len(points)):
        longest = max(longest, float(distances(points[rows[part]], points).max()))
    return longest
