"""Neighbor graphs of a map: nearest neighbors, edges in both directions, and bridges between separate pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree, cKDTree
from sklearn.neighbors import NearestNeighbors

from .._runtime import parallel_blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

# With more dimensions a tree may visit almost every cell, so comparing all with all in blocks is faster.
DEEPEST_TREE = 15
# Cells that a thread takes at a time.
BLOCK = 2048
# Neighbors of each cell of a piece among which the first cell outside is searched.
N_ASKED = 16
# Values of `linked` for an edge i → j: j is a neighbor of i, i is a neighbor of j, or both (their sum).
FORWARD, BACKWARD = 1, 2


def nearest_others(z: NDArray[Any], k: int) -> NDArray[np.integer]:
    """Return the `k` nearest others of each cell, (n, k), the nearest first.

    A cell is never its own neighbor, however many others lie at its position.

    Parameters
    ----------
    z
        (n, d) positions of the cells.
    k
        Number of neighbors, less than n.

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
    if z.shape[1] > DEEPEST_TREE:
        return NearestNeighbors(n_neighbors=k).fit(z).kneighbors(return_distance=False)
    neighbors = np.empty((len(z), k), dtype=np.int32)

    def keep(cells: NDArray[Any], near: NDArray[Any], _: NDArray[Any]) -> None:
        neighbors[cells] = near

    _search(z, k, keep)
    return neighbors


def search_tree(
    z: NDArray[Any], k: int, *, n_threads: int | None = None
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the `k` nearest others of each cell, (n, k), the nearest first, and their distances.

    By default, it takes as many threads as PyTorch.
    """
    neighbors, distances = np.empty((len(z), k), dtype=np.int32), np.empty((len(z), k), dtype=np.float32)

    def keep(cells: NDArray[Any], near: NDArray[Any], distance: NDArray[Any]) -> None:
        neighbors[cells], distances[cells] = near, distance

    _search(z, k, keep, n_threads)
    return neighbors, distances


def _search(
    z: NDArray[Any],
    k: int,
    keep: Callable[[NDArray[Any], NDArray[Any], NDArray[Any]], None],
    n_threads: int | None = None,
) -> None:
    """Call ``keep(cells, neighbors, distances)`` for all cells, some at a time, on several threads."""
    # splitting at midpoints takes half the time of medians and does not slow down the search
    tree = KDTree(z, balanced_tree=False)

    def search(start: int, stop: int) -> None:
        # in the order of the tree's leaves, cells share what is in the cache, which halves the time
        cells = tree.indices[start:stop]
        keep(cells, *others_in_tree(tree, cells, k))

    parallel_blocks(search, len(z), block=BLOCK, n_threads=n_threads)


def others_in_tree(tree: KDTree, cells: NDArray[np.integer], k: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the `k` nearest others of m cells of a tree, (m, k), nearest first, and their distances."""
    # without SciPy's threads: after a Ctrl-C they would write into freed memory, which crashes the process
    distance, found = tree.query(tree.data[cells], k + 1)
    itself = found == cells[:, None]
    # where more than k others lie at the cell's position they may be found instead of it
    itself[~itself.any(axis=1), -1] = True
    return found[~itself].reshape(-1, k), distance[~itself].reshape(-1, k)


class Edges(NamedTuple):
    """The directed edges i → j of a symmetric graph, ordered by i, then j."""

    i: NDArray[np.integer]
    """(m,)"""
    j: NDArray[np.integer]
    """(m,)"""
    length: NDArray[np.float64]
    """(m,) the same in both directions."""


def linked(neighbors: NDArray[np.integer], start: int = 0, stop: int | None = None) -> sparse.csr_matrix:
    """Return which cells are linked, (n, n) int8: each cell with its `neighbors`, and with cells whose neighbor it is.

    Parameters
    ----------
    neighbors
        (n, k) neighbors of each cell, without itself.
    start, stop
        The rows to return, by default all.
    """
    n, k = neighbors.shape
    stop = n if stop is None else stop
    forward = np.empty((stop - start, k), dtype=np.int32)
    # the transpose: sorting one number per edge takes a quarter of the time of `forward.T.tocsr()`, which writes to
    # random places in memory if the cells are in random order
    found: list[Any] = [None] * -(-n // BLOCK)

    def sort_own(first: int, last: int) -> None:
        forward[first:last] = np.sort(neighbors[start + first : start + last], axis=1)

    def reverse(first: int, last: int) -> None:
        edges = np.multiply(neighbors[first:last], n, dtype=np.int64)
        edges += np.arange(first, last)[:, None]
        found[first // BLOCK] = edges[(edges >= start * n) & (edges < stop * n)]

    def end_sorting(first: int, last: int) -> None:
        np.remainder(edges[first:last], n, out=backward[first:last], casting="unsafe")

    parallel_blocks(sort_own, stop - start, block=BLOCK)
    parallel_blocks(reverse, n, block=BLOCK)
    edges = np.concatenate(found)
    found.clear()
    edges.sort()
    backward = np.empty(len(edges), dtype=np.int32)
    parallel_blocks(end_sorting, len(edges), block=BLOCK * k)
    ends = np.searchsorted(edges, np.arange(start, stop + 1) * n)

    def matrix(value: int, columns: NDArray[Any], ends: NDArray[Any]) -> sparse.csr_matrix:
        values = np.full(columns.size, value, dtype=np.int8)
        return sparse.csr_matrix((values, columns.ravel(), ends), shape=(stop - start, n))

    return matrix(FORWARD, forward, np.arange(0, forward.size + 1, k)) + matrix(BACKWARD, backward, ends)


def both_ways(neighbors: NDArray[np.integer], lengths: NDArray[Any]) -> Edges:
    """Return the edges between each cell and its `neighbors`, and between it and the cells whose neighbor it is.

    Where the two directions differ in length, the longer one is taken.

    Parameters
    ----------
    neighbors
        (n, k) neighbors of each cell, without itself.
    lengths
        (n, k) their distances.
    """
    n, k = neighbors.shape
    rows, columns = np.repeat(np.arange(n), k), neighbors.ravel()
    # 1 + length is stored, so that edges of length 0 between cells at the same position are kept
    one_way = sparse.csr_matrix((1 + lengths.ravel().astype(np.float64), (rows, columns)), shape=(n, n))
    both = one_way.maximum(one_way.T).tocsr()
    both.sort_indices()
    both = both.tocoo()
    return Edges(both.row, both.col, both.data - 1)


def positive_widths(lengths: NDArray[Any]) -> NDArray[np.float64]:
    """Return the median length of the edges of each cell, (n,), above 0.

    A cell whose neighbors lie on top of it gets the smallest positive width.
    """
    return positive(medians(lengths))


def medians(values: NDArray[Any]) -> NDArray[Any]:
    """Return the median of each row of (n, k) values, in a quarter of the time of `numpy.median`."""
    k = values.shape[1]
    return np.sort(values, axis=1)[:, [(k - 1) // 2, k // 2]].mean(axis=1)


def positive(width: NDArray[Any]) -> NDArray[Any]:
    """Return the widths of the cells, (n,), with each 0 replaced by the smallest positive width."""
    above = width[width > 0]
    return np.maximum(width, above.min() if len(above) else 1.0)


def bridged(
    graph: sparse.csr_matrix, z: NDArray[Any], measure: Callable[[NDArray[np.intp], NDArray[np.intp]], NDArray[Any]]
) -> sparse.csr_matrix:
    """Connect a graph, (n, n), so that every cell can be reached.

    Each piece is joined to the nearest cell outside of it, until one piece remains.

    Parameters
    ----------
    graph
        (n, n) symmetric lengths.
    z
        (n, d) positions that decide which cells are near.
    measure
        Returns the lengths, (k,), of the edges between cells i, (k,), and cells j, (k,).
    """
    graph = sparse.csr_matrix(graph, dtype=np.float64)
    n_pieces, piece = connected_components(graph, directed=False)
    tree = cKDTree(z) if n_pieces > 1 else None
    while n_pieces > 1:
        order = np.argsort(piece, kind="stable")
        pieces = np.split(order, np.bincount(piece, minlength=n_pieces).cumsum()[:-1])
        ends = [_nearest_outside(tree, piece, inside) for inside in pieces]
        i, j = np.unique(np.sort(np.array(ends), axis=1), axis=0).T
        # a sparse matrix would lose an edge of length 0
        lengths = np.maximum(measure(i, j), np.finfo(np.float64).tiny)
        joined = sparse.csr_matrix((lengths, (i, j)), shape=graph.shape)
        graph = (graph + joined + joined.T).tocsr()
        n_pieces, piece = connected_components(graph, directed=False)
    return graph


def _nearest_outside(tree: cKDTree, piece: NDArray[Any], inside: NDArray[Any]) -> tuple[int, int]:
    """Return the cell of a piece and the cell outside it that are nearest to each other."""
    best, pair, k = np.inf, (-1, -1), N_ASKED
    while len(inside):
        k = min(k, tree.n)
        distance, near = tree.query(tree.data[inside], k=k)
        is_outside = piece[near] != piece[inside[0]]
        distance_outside = np.where(is_outside, distance, np.inf)
        at = np.unravel_index(distance_outside.argmin(), distance.shape)
        if distance_outside[at] < best:
            best, pair = distance_outside[at], (inside[at[0]], near[at])
        # where all queried neighbors are inside and nearer than the best, there may be a better one beyond them
        inside = inside[~is_outside.any(1) & (distance[:, -1] < best)]
        k *= 4
    return pair
