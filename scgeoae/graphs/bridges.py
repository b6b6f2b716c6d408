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

# Neighbours of each cell of a piece among which the first outside is looked for.
N_ASKED = 16


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
    tree = cKDTree(z) if n_pieces > 1 else None
    while n_pieces > 1:
        order = np.argsort(piece, kind="stable")
        pieces = np.split(order, np.bincount(piece, minlength=n_pieces).cumsum()[:-1])
        ends = [_nearest_outside(tree, piece, inside) for inside in pieces]
        i, j = np.unique(np.sort(np.array(ends), axis=1), axis=0).T
        # an edge of length 0 would not be there
        lengths = np.maximum(measure(i, j), np.finfo(np.float64).tiny)
        joined = sparse.csr_matrix((lengths, (i, j)), shape=graph.shape)
        graph = (graph + joined + joined.T).tocsr()
        n_pieces, piece = connected_components(graph, directed=False)
    return graph


def _nearest_outside(tree: cKDTree, piece: NDArray, inside: NDArray) -> tuple[int, int]:
    """Return a cell of a piece and the cell outside of it that are nearest to each other."""
    best, pair, k = np.inf, None, N_ASKED
    while len(inside):
        k = min(k, tree.n)
        distance, near = tree.query(tree.data[inside], k=k)
        is_outside = piece[near] != piece[inside[0]]
        distance_outside = np.where(is_outside, distance, np.inf)
        at = np.unravel_index(distance_outside.argmin(), distance.shape)
        if distance_outside[at] < best:
            best, pair = distance_outside[at], (inside[at[0]], near[at])
        # all that were asked for are inside, and nearer than the best: there may be a better one beyond them
        inside = inside[~is_outside.any(1) & (distance[:, -1] < best)]
        k *= 4
    return pair
