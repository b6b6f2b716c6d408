"""Shortest routes along the cells of a map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.sparse.csgraph import dijkstra

from ..geometry.geodesic import chords
from ..graphs.neighbors import bridged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from scipy import sparse

    from .._anndata.map import Map
    from ..nn import MapDecoder

# Number of pieces into which a straight line on the map is cut to measure it.
N_PIECES = 16


def connected_graph(m: Map, model: MapDecoder) -> sparse.csr_matrix:
    """Return the metric graph of a map with its parts joined, (n, n) lengths in units of the representation."""
    z = m.positions

    def measure(i: NDArray[Any], j: NDArray[Any]) -> NDArray[Any]:
        ends = torch.from_numpy(z[np.stack([i, j])]).to(next(model.parameters()).dtype)
        return chords(model, straight(ends[0], ends[1], N_PIECES + 1)).sum(1).double().numpy()

    return bridged(m.graph, z, measure)


def straight(start: torch.Tensor, end: torch.Tensor, n_points: int) -> torch.Tensor:
    """Return straight lines, (b, n_points, d), between pairs of (b, d) positions."""
    share = torch.linspace(0, 1, n_points, dtype=start.dtype)[None, :, None]
    return start[:, None] + (end - start)[:, None] * share


def along_cells(
    graph: sparse.csr_matrix, z: NDArray[Any], pairs: Sequence[tuple[int, int]], n_points: int
) -> list[NDArray[Any]]:
    """Return the shortest routes along a graph between pairs of cells, (n_points, d) each, evenly spaced."""
    sources = sorted({i for i, _ in pairs})
    _, before = dijkstra(graph, indices=sources, return_predecessors=True)
    row = {source: before[at] for at, source in enumerate(sources)}
    routes = []
    for i, j in pairs:
        cells = [j]
        while cells[-1] != i:
            cells.append(row[i][cells[-1]])
        routes.append(_even(z[cells[::-1]].astype(np.float64), n_points))
    return routes


def _even(route: NDArray[Any], n_points: int) -> NDArray[Any]:
    """Return evenly spaced points on a polyline."""
    at = np.r_[0, np.linalg.norm(np.diff(route, axis=0), axis=1).cumsum()]
    wanted = np.linspace(0, at[-1], n_points)
    return np.stack([np.interp(wanted, at, column) for column in route.T], axis=1)
