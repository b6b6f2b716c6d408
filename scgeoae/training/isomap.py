"""Unroll data along their neighbor graph, as a layout at which training can start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from scipy.linalg import orthogonal_procrustes
from scipy.sparse.csgraph import connected_components, dijkstra
from sklearn.metrics import pairwise_distances_argmin_min
from sklearn.neighbors import KNeighborsRegressor, NearestNeighbors

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_UNROLLED = 4000
"""Number of cells whose neighbor graph is unrolled. The search for neighbors compares all pairs, so of more cells a
random sample is taken."""
# Cells from which paths to all cells of the graph are measured.
N_LANDMARKS = 500
# Neighbors of a cell in the graph. With more of them, edges jump from one fold to the next sooner: on a Swiss roll of
# 600 points with a noise of 0.5 the rank correlation of distances with the true ones is 0.996 with 5, 0.93 with 7 and
# 0.72 with 10; on one of 1,000 without noise it is 0.997 with 5 and 0.96 with 15.
N_NEIGHBORS = 5
# Neighbors in the sample between which another cell is placed.
N_NEAREST = 5
# An eigenvalue this small relative to the first is due to rounding.
MIN_EIGENVALUE = 1e-9


def isomap(
    x: NDArray[Any], d: int, *, neighbors: NDArray[np.integer] | None = None, seed: int = 0, name: str = "the matrix"
) -> NDArray[np.float64]:
    """Return positions in d dimensions whose distances are the distances along the data, (n, d).

    This is landmark Isomap (de Silva & Tenenbaum, NIPS 2002): shortest paths in the neighbor graph from 500 random
    landmarks to all cells of the graph, classical scaling of the landmarks, and the other cells by their distances to
    the landmarks. The graph has at most 4,000 random cells. The others are placed between the nearest of these, so time
    and memory grow linearly with n. Pieces of the graph are joined by the shortest edges between them, which determine
    where each piece lies; the shape of a piece is determined by its own paths alone.

    Parameters
    ----------
    x
        (n, D) cells, finite.
    d
        Number of dimensions.
    neighbors
        (n, k) row numbers, nearest first, −1 for none. If the graph has all cells, and no two of these are equal, the
        first five neighbors of each cell make the graph. By default it is made of the five nearest.
    seed
        Seed of the sample and the landmarks.
    name
        What a message calls the matrix.

    Raises
    ------
    ValueError
        If the data have fewer than d dimensions.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.training.isomap import isomap
    >>> angle = np.linspace(0, 5, 200)
    >>> positions = isomap(np.stack([np.cos(angle), np.sin(angle)], axis=1), 1)
    >>> bool(np.isclose(np.ptp(positions), 5, rtol=1e-3))
    True
    """
    generator = np.random.default_rng(seed)
    n = len(x)
    rows = np.arange(n) if n <= MAX_UNROLLED else np.sort(generator.choice(n, MAX_UNROLLED, replace=False))
    # equal cells would have only each other as neighbors
    points, where = np.unique(x[rows].astype(np.float64), axis=0, return_inverse=True)
    where = where.reshape(-1)
    if len(points) < 2:
        positions = None
    else:
        if neighbors is not None and len(points) == n:
            graph = _given_graph(points, where, neighbors)
        else:
            graph = _nearest_graph(points)
        positions = _unrolled(graph, points, d, generator)
    if positions is None:
        msg = f"Isomap finds fewer than {d} dimensions in {name}; give a smaller `n_components`, or init_pos='pca'."
        raise ValueError(msg)
    placed = np.empty((n, d))
    placed[rows] = positions[where]
    if len(rows) < n:
        # both of one type: with two types, scikit-learn takes four times as long
        near = KNeighborsRegressor(min(N_NEAREST, len(points)), weights="distance")
        near.fit(points.astype(x.dtype), positions)
        others = np.setdiff1d(np.arange(n), rows)
        for part in np.array_split(others, 1 + len(others) // MAX_UNROLLED):
            placed[part] = near.predict(x[part])
    return placed


def _nearest_graph(points: NDArray[Any]) -> sparse.csr_matrix:
    k = min(N_NEIGHBORS, len(points) - 1)
    return NearestNeighbors(n_neighbors=k).fit(points).kneighbors_graph(mode="distance")


def _given_graph(points: NDArray[Any], where: NDArray[Any], neighbors: NDArray[np.integer]) -> sparse.csr_matrix:
    """Return the graph of a table of neighbors of the cells, where cell i is point ``where[i]``."""
    near = neighbors[:, :N_NEIGHBORS]
    i, column = np.nonzero(near >= 0)
    return _edges(points, where[i], where[near[i, column]])


def _edges(points: NDArray[Any], i: NDArray[Any], j: NDArray[Any]) -> sparse.csr_matrix:
    lengths = np.linalg.norm(points[i] - points[j], axis=1)
    return sparse.csr_matrix((lengths, (i, j)), shape=(len(points), len(points)))


def _unrolled(
    graph: sparse.csr_matrix, points: NDArray[Any], d: int, generator: np.random.Generator
) -> NDArray[Any] | None:
    """Return (m, d) positions of the m points of a graph, or None if its distances fill fewer dimensions."""
    graph = graph.maximum(graph.T)
    n_pieces, piece = connected_components(graph, directed=False)
    positions = _scaled(_joined(graph, points), d, generator)
    if n_pieces == 1 or positions is None:
        return positions
    # the few dimensions are used up by the distances between the pieces, which would flatten the pieces themselves
    for p in range(n_pieces):
        inside = np.flatnonzero(piece == p)
        alone = _scaled(graph[inside][:, inside], d, generator)
        if alone is not None:
            center = positions[inside].mean(axis=0)
            alone -= alone.mean(axis=0)
            positions[inside] = center + alone @ orthogonal_procrustes(alone, positions[inside] - center)[0]
    return positions


def _joined(graph: sparse.csr_matrix, points: NDArray[Any]) -> sparse.csr_matrix:
    """Join each piece of a symmetric graph to the nearest point outside of it, until there is one piece.

    `scgeoae.graphs.neighbors` does this for many points in few dimensions. For these points, all distances are faster.
    """
    n_pieces, piece = connected_components(graph, directed=False)
    while n_pieces > 1:
        ends = []
        for p in range(n_pieces):
            inside, outside = np.flatnonzero(piece == p), np.flatnonzero(piece != p)
            nearest, distance = pairwise_distances_argmin_min(points[inside], points[outside])
            at = distance.argmin()
            ends.append((inside[at], outside[nearest[at]]))
        i, j = np.unique(np.sort(ends, axis=1), axis=0).T
        edges = _edges(points, i, j)
        graph = graph.maximum(edges).maximum(edges.T)
        n_pieces, piece = connected_components(graph, directed=False)
    return graph


def _scaled(graph: sparse.csr_matrix, d: int, generator: np.random.Generator) -> NDArray[Any] | None:
    """Return (m, d) positions of the m nodes of a connected graph, or None if its distances fill fewer dimensions."""
    m = graph.shape[0]
    landmarks = np.sort(generator.choice(m, min(m, max(N_LANDMARKS, 2 * d)), replace=False))
    squared = np.square(dijkstra(graph, directed=False, indices=landmarks))
    among = squared[:, landmarks]
    mean = among.mean(axis=0)
    values, vectors = np.linalg.eigh(-0.5 * (among - mean - mean[:, None] + mean.mean()))
    values, vectors = values[::-1][:d], vectors[:, ::-1][:, :d]
    if len(values) < d or values[-1] <= MIN_EIGENVALUE * values[0]:
        return None
    return -0.5 * (squared.T - mean) @ (vectors / np.sqrt(values))
