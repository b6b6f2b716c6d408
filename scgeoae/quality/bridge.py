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
N_WAVES = 3
N_NEIGHBORS = 15
# Waves of a curve are left out of which more than this share would stay without cells that make them.
LARGEST_SHARE = 1 / 4
# Waves are left out, alone or mixed, about which all cells together say less than so many cells on a crest.
LEAST_CELLS = 1
# Lengths of edges are raised to this power, so that a route makes many short steps rather than one long one.
POWER = 3.0


def polyline(points: NDArray[Any]) -> NDArray[np.float64]:
    """Return `N_POINTS` evenly spaced points of a polyline, (k, D)."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    share = np.concatenate([[0], steps.cumsum()]) / max(steps.sum(), np.finfo(float).tiny)
    s = np.linspace(0, 1, N_POINTS)
    return np.stack([np.interp(s, share, column) for column in points.T], axis=1)


class CurveFit:
    r"""Least squares of a smooth curve with given ends to cells whose places on it are known.

    The curve is :math:`c(s) = (1 - s)\,a + s\,b + \sum_{j \le J} w_j \sin j \pi s`. Cells are added in blocks.

    Parameters
    ----------
    ends
        a and b, (2, D).
    """

    def __init__(self, ends: NDArray[Any]) -> None:
        self.ends = ends
        self._gram = np.zeros((N_WAVES, N_WAVES))
        self._cross = np.zeros((N_WAVES, ends.shape[1]))
        self._square, self._n = 0.0, 0

    def add(self, x: NDArray[Any], s: NDArray[Any]) -> None:
        """Add (n, D) cells at the places s, (n,). Only those between 0 and 1 count."""
        between = (s > 0) & (s < 1)
        s = s[between, None]
        waves, off = _sines(s), x[between] - self.ends[0] - s * (self.ends[1] - self.ends[0])
        self._gram += waves.T @ waves
        self._cross += waves.T @ off
        self._square += float(np.square(off).sum())
        self._n += len(s)

    def n_waves(self, spread: float) -> int:
        r"""Return the number J of waves with the least information criterion of Akaike, 0 for a straight curve.

        A wave has D coefficients, so one that fits noise alone hardly lowers the error in many dimensions. Waves that
        are too short for the scatter of the cells are left out, because they feed themselves: cells are placed where
        the curve is nearest, so those on the side of a crest gather there. If they scatter around the straight line,
        which has the length L, with the standard deviation σ, they are on average :math:`(j \pi \sigma / L)^2` as far
        out at the crests as the crests are. So that share of a wave j that noise has made stays when the curve is
        fitted again. It must be below `LARGEST_SHARE`.

        Parameters
        ----------
        spread
            Largest standard deviation σ in any direction.
        """
        n_features = self.ends.shape[1]
        widest = LARGEST_SHARE * length_of(self.ends) ** 2
        most = next((j for j in range(N_WAVES, 0, -1) if (j * np.pi * spread) ** 2 < widest), 0)
        left = np.array([self._square - (self._weights(j) * self._cross[:j]).sum() for j in range(most + 1)])
        fit = self._n * n_features * np.log(np.maximum(left, np.finfo(float).tiny))
        return int(np.argmin(fit + 2 * n_features * np.arange(most + 1)))

    def curve(self, waves: int) -> NDArray[np.float64]:
        """Return (N_POINTS, D) points of the curve with a number of waves, evenly spaced along it."""
        s = np.linspace(0, 1, 4 * N_POINTS)[:, None]
        chord = self.ends[0] + s * (self.ends[1] - self.ends[0])
        return polyline(chord + _sines(s)[:, :waves] @ self._weights(waves))

    def _weights(self, waves: int) -> NDArray[np.float64]:
        information, mixes = np.linalg.eigh(self._gram[:waves, :waves])
        # cells near the ends say little about a crest, so noise would bend the curve far
        known = information >= LEAST_CELLS
        mixes, information = mixes[:, known], information[known]
        return np.asarray(mixes / information @ (mixes.T @ self._cross[:waves]), dtype=np.float64)


def length_of(curve: NDArray[Any]) -> Any:
    """Return the length of a curve, or of several, given by points, (…, m, D)."""
    return np.linalg.norm(np.diff(curve, axis=-2), axis=-1).sum(-1)


def largest_spread(x: NDArray[Any], s: NDArray[Any], curve: NDArray[Any]) -> float:
    """Return the largest standard deviation in any direction of (n, D) cells around their places s on a curve.

    Every other cell gives the direction, and the rest the standard deviation: the largest of a sample is too large.
    """
    at = np.clip(s, 0, 1) * (len(curve) - 1)
    below = np.minimum(at.astype(np.intp), len(curve) - 2)
    off = x - curve[below] - (at - below)[:, None] * (curve[below + 1] - curve[below])
    if len(off) < 4:
        return np.inf
    direction = np.linalg.svd(off[::2] - off[::2].mean(0), full_matrices=False)[2][0]
    return float((off[1::2] @ direction).std(ddof=1))


def _sines(s: NDArray[Any]) -> NDArray[np.float64]:
    return np.sin(np.pi * s * np.arange(1, N_WAVES + 1))


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


def route(points: NDArray[Any], start: int, end: int) -> NDArray[np.intp]:
    r"""Return the cells along which one gets from one to another by short steps.

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
    k = min(N_NEIGHBORS, len(points) - 1)
    lengths, neighbors = NearestNeighbors(n_neighbors=k).fit(points).kneighbors()
    edges = both_ways(neighbors, lengths)
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
    return np.array(cells[::-1], dtype=np.intp)
