"""Join the pieces of a graph on a map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def bridged(
    graph: sparse.csr_matrix, z: NDArray, measure: Callable[[NDArray[np.intp], NDArray[np.intp]], NDArray]
) -> sparse.csr_matrix:
    """Return a symmetric graph of lengths in which every cell can be reached, (n, n).

    Each piece is joined to the nearest cell outside of it, until there is one piece.

    Parameters
    ----------
    graph
        (n, n) symmetric lengths.
    z
        (n, d) positions, by which cells are near.
    measure
        Gives the lengths, (k,), of the edges between cells i, (k,), and cells j, (k,).
    """
    graph = sparse.csr_matrix(graph, dtype=np.float64)
    n_pieces, piece = connected_components(graph, directed=False)
    while n_pieces > 1:
        ends = []
        for which in range(n_pieces):
            inside = np.flatnonzero(piece == which)
            outside = np.flatnonzero(piece != which)
            # a tree of the larger part, and the smaller one asks
            small, large = sorted((inside, outside), key=len)
            distance, nearest = cKDTree(z[large]).query(z[small])
            at = distance.argmin()
            ends.append((small[at], large[nearest[at]]))
        i, j = np.unique(np.sort(np.array(ends), axis=1), axis=0).T
        # an edge of length 0 would not be there
        lengths = np.maximum(measure(i, j), np.finfo(np.float64).tiny)
        joined = sparse.csr_matrix((lengths, (i, j)), shape=graph.shape)
        graph = (graph + joined + joined.T).tocsr()
        n_pieces, piece = connected_components(graph, directed=False)
    return graph
