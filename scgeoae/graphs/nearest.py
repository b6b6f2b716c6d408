"""The nearest others of each cell on a map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import KDTree
from sklearn.neighbors import NearestNeighbors

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Dimensions beyond which a tree may visit almost every cell, so that comparing all with all in blocks is faster.
DEEPEST_TREE = 15
# Cells asked about at a time: their distances, which nobody needs, take 8 MB for 15 neighbours.
BLOCK = 2**16


def nearest_others(z: NDArray, k: int) -> NDArray[np.integer]:
    """Return the `k` nearest others of each cell, (n, k), the nearest first.

    A cell is never its own neighbour, however many others lie on its place.

    Parameters
    ----------
    z
        (n, d) positions of the cells.
    k
        Number of neighbours, less than n.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.graphs import nearest_others
    >>> nearest_others(np.array([[0.0], [1.0], [3.0], [3.0]]), 2)
    array([[1, 2],
           [0, 2],
           [3, 1],
           [2, 1]], dtype=int32)
    """
    n, d = z.shape
    if d > DEEPEST_TREE:
        return NearestNeighbors(n_neighbors=k).fit(z).kneighbors(return_distance=False)
    # split at midpoints, which takes half the time of medians and makes the search no slower
    tree = KDTree(z, balanced_tree=False)
    neighbors = np.empty((n, k), dtype=np.int32)
    # in the order of the tree's leaves, a cell finds in the cache what the one before it read: half the time
    for start in range(0, n, BLOCK):
        cells = tree.indices[start : start + BLOCK]
        # on one thread: after a Ctrl-C the others would write on into memory that is given back, and the process ends
        _, found = tree.query(z[cells], k + 1)
        itself = found == cells[:, None]
        # where more than k others lie on the cell's place they may be found instead of it
        itself[~itself.any(axis=1), -1] = True
        neighbors[cells] = found[~itself].reshape(-1, k)
    return neighbors
