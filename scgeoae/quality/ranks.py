"""Who is the how-manyth neighbor of whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Ranks(NamedTuple):
    """Neighbors in the order of their distances."""

    order: NDArray[np.intp]
    """(m, n): entry (i, a) is the a-th nearest point of point i; at a = 0 itself"""
    rank: NDArray[np.int32]
    """(m, n): entry (i, j) is the a for which ``order[i, a]`` is j"""


def neighbor_ranks(distances: NDArray[np.float64], own: NDArray[np.intp]) -> Ranks:
    """Rank the neighbors of some points among all points.

    Parameters
    ----------
    distances
        (m, n) from m of the n points to all of them.
    own
        (m,) column of each row's own point, which comes first whatever its distance.

    Returns
    -------
    A named tuple of

    - ``order`` : (m, n), the points from the nearest to the farthest
    - ``rank`` : (m, n) int32, the place of each point in that order

    Notes
    -----
    Points at equal distances come in an arbitrary order, the same for the same input.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality import neighbor_ranks
    >>> neighbor_ranks(np.array([[0.0, 3.0, 1.0]]), np.array([0])).rank
    array([[0, 2, 1]], dtype=int32)
    """
    distances = distances.copy()
    distances[np.arange(len(own)), own] = -1
    order = np.argsort(distances, axis=1)
    rank = np.empty(order.shape, dtype=np.int32)
    np.put_along_axis(rank, order, np.arange(order.shape[1], dtype=np.int32)[None], axis=1)
    return Ranks(order, rank)
