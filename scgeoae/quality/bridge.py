"""Curves from one group of cells to another, and the cells along them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra
from sklearn.neighbors import NearestNeighbors

from ..graphs.neighbors import both_ways, bridged

if TYPE_CHECKING:
    from numpy.typing import NDArray

N_POINTS = 64
# Half waves by which a curve may bend away from the straight line.
N_WAVES = 4
N_NEIGHBORS = 15
# Lengths of edges are raised to this power, so that a route makes many short steps rather than one long one.
POWER = 3.0


def n_waves(length: float, radius: float) -> int:
    """Return how many half waves a curve may have, given its length and the radius of the groups at its ends.

    The nearest point of a curve that bends more narrowly than the cells scatter around it is arbitrary, and cells would
    pile up at the outer sides of its bends.
    """
    return int(min(N_WAVES, length / max(radius, np.finfo(float).tiny)))


def smooth(points: NDArray[Any], waves: int) -> NDArray[np.float64]:
    r"""Return a polyline, (k, D), as a smooth curve of `N_POINTS` points with the same ends.

    With the share s of its length, the curve is :math:`c(s) = (1 - s)\,a + s\,b + \sum_{j \le J} w_j \sin j \pi s`,
    fitted by least squares with J `waves`.
    """
    points = points.astype(np.float64)
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    share = np.concatenate([[0], steps.cumsum()]) / max(steps.sum(), np.finfo(float).tiny)
    s = np.linspace(0, 1, N_POINTS)
    # evenly spaced along the polyline
    at = np.clip(np.searchsorted(share, s, side="right") - 1, 0, len(points) - 2)
    within = (s - share[at]) / np.maximum(share[at + 1] - share[at], np.finfo(float).tiny)
    even = points[at] + within[:, None] * (points[at + 1] - points[at])
    chord = points[0] + s[:, None] * (points[-1] - points[0])
    sines = np.sin(np.pi * s[:, None] * np.arange(1, waves + 1))
    return chord + sines @ np.linalg.lstsq(sines, even - chord)[0]


def project(x: NDArray[Any], curve: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where on a curve each cell is, (n,), from 0 at its start to 1 at its end, and its distance from it.

    Beyond its ends the curve goes on straight.

    Parameters
    ----------
    x
        (n, D) cells.
    curve
        (m, D) points.
    """
    origin = curve.mean(0)
    x, curve = x.astype(np.float64) - origin, curve - origin
    steps = np.diff(curve, axis=0)
    squares = np.maximum(np.square(steps).sum(1), np.finfo(float).tiny)
    dots = x @ curve.T
    along = (dots[:, 1:] - dots[:, :-1] - (curve[:-1] * steps).sum(1)) / squares
    low, high = np.zeros(len(steps)), np.ones(len(steps))
    low[0], high[-1] = -np.inf, np.inf
    share = np.clip(along, low, high)
    from_start = np.square(x).sum(1)[:, None] - 2 * dots[:, :-1] + np.square(curve[:-1]).sum(1)
    distance = from_start + squares * share * (share - 2 * along)
    best = distance.argmin(1)
    rows = np.arange(len(x))
    before = np.concatenate([[0], np.sqrt(squares).cumsum()])
    t = before[best] + share[rows, best] * np.sqrt(squares[best])
    return t / before[-1], np.sqrt(np.maximum(distance[rows, best], 0))


def route(points: NDArray[Any], start: int, end: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    r"""Return the cells along which one gets from one to another by short steps, and the cells around each.

    Around each is a tenth of all cells, at least 15: means of fewer are too noisy in many dimensions.

    It minimizes :math:`\sum \ell^3` over the steps of length ℓ in the graph of nearest neighbors, as the distances of
    Fermat do that follow the density (Groisman, Jonckheere & Sapienza 2022). Separate parts of the graph are joined
    where they are nearest.

    Parameters
    ----------
    points
        (n, D) decoded cells.
    start, end
        Rows.
    """
    k = min(max(N_NEIGHBORS, len(points) // 10), len(points) - 1)
    lengths, neighbors = NearestNeighbors(n_neighbors=k).fit(points).kneighbors()
    edges = both_ways(neighbors[:, :N_NEIGHBORS], lengths[:, :N_NEIGHBORS])
    scale = max(np.median(edges.length), np.finfo(float).tiny)

    def cost(length: NDArray[Any]) -> NDArray[Any]:
        # a sparse graph would lose steps of length 0
        return np.maximum((length / scale) ** POWER, 1e-12)

    graph = csr_matrix((cost(edges.length), (edges.i, edges.j)), shape=(len(points), len(points)))
    graph = bridged(graph, points, lambda i, j: cost(np.linalg.norm(points[i] - points[j], axis=1)))
    _, before = dijkstra(graph, indices=start, return_predecessors=True)
    cells = [end]
    while cells[-1] != start:
        cells.append(before[cells[-1]])
    path = np.array(cells[::-1], dtype=np.intp)
    return path, neighbors[path]
