"""Places on a map, and the shortest routes between them."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scipy.sparse.csgraph import dijkstra

from .._arguments import checked_positions
from ..geometry import shorten
from ..geometry.geodesic import chords
from ..graphs.neighbors import bridged
from .columns import read_groups

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from scipy import sparse

    from ..nn import MapDecoder
    from .map import Map


class Place(NamedTuple):
    """A place on a map."""

    name: str
    position: NDArray[Any]
    """(d,) position on the map."""
    cell: int
    """Row of the cell at the place or nearest to it."""
    cells: NDArray[np.intp]
    """Rows of all cells of a group, or only `cell`."""


def find_place(m: Map, where: Any, groupby: str | None, argument: str) -> Place:
    """Return the place given by a group of `groupby`, by the name or row of a cell, or by a position.

    A number is a group if `groupby` is given, and a row otherwise.
    """
    adata, z = m.adata, m.positions
    if not np.isscalar(where):
        position = checked_positions(where, z.shape[1], argument, or_else="a cell, a group or ")
        if len(position) != 1:
            msg = f"Expected `{argument}` to be one position, found {len(position)}."
            raise ValueError(msg)
        nearest = int(np.square(z - position).sum(1).argmin())
        name = "(" + ", ".join(f"{value:.3g}" for value in position[0]) + ")"
        return Place(name, position[0], nearest, np.array([nearest]))
    groups = None if groupby is None else read_groups(adata, groupby)
    if groups is not None and (group := groups.find(where)) is not None:
        return _center(group, z, groups.rows[group])
    if groups is None and isinstance(where, Integral) and not isinstance(where, bool):
        return place_of_row(m, where, f"`{argument}`")
    rows = np.flatnonzero(adata.obs_names == where)
    if len(rows) == 1:
        return Place(str(where), z[rows[0]], int(rows[0]), rows)
    if len(rows) > 1:
        msg = f"{len(rows)} cells are named {where!r}; run adata.obs_names_make_unique() first."
        raise ValueError(msg)
    among = "; name a column of adata.obs with `groupby` for a group"
    if groups is not None:
        among = f", nor a group of adata.obs[{groupby!r}], which has {groups.listed}"
    msg = f"`{argument}` is {where!r}, which is not a cell in adata.obs_names{among}."
    raise KeyError(msg)


def place_of_row(m: Map, row: Any, argument: str) -> Place:
    """Return the place of the cell in a row of `adata`."""
    n = m.adata.n_obs
    if not isinstance(row, Integral) or not 0 <= int(row) < n:
        msg = f"Expected {argument} to be the row of a cell, 0 to {n - 1}, found {row!r}."
        raise KeyError(msg)
    return Place(m.adata.obs_names[row], m.positions[row], int(row), np.array([row]))


def group_places(m: Map, groupby: str) -> list[Place]:
    """Return the places of all groups in a column of `obs`, in the order of its categories."""
    return [_center(name, m.positions, rows) for name, rows in read_groups(m.adata, groupby).rows.items()]


def _center(name: str, z: NDArray[Any], rows: NDArray[Any]) -> Place:
    own = z[rows]
    cell = int(rows[np.square(own - np.median(own, axis=0)).sum(1).argmin()])
    return Place(name, z[cell], cell, rows)


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


class Curve(NamedTuple):
    """The shortest curve of m points between two places, in double precision."""

    points: torch.Tensor
    """(m, d) positions on the map."""
    distance: NDArray[np.float32]
    """(m,) length of the curve up to each point, in units of the representation."""
    straight_length: float
    """Length of the straight line on the map between the ends, in the same units."""


def shortest_curve(
    model: MapDecoder, graph: sparse.csr_matrix, z: NDArray[Any], start: Place, end: Place, n_points: int
) -> Curve:
    """Return the shorter of two geodesics: from the route along a connected graph, and from the straight line.

    `model` is in double precision.
    """
    ends = [torch.from_numpy(np.asarray(place.position, dtype=np.float64))[None] for place in (start, end)]
    line = straight(ends[0], ends[1], n_points)
    (shortest,) = along_cells(graph, z, [(start.cell, end.cell)], n_points)
    route = torch.from_numpy(shortest)[None]
    # the route runs between the cells nearest to the ends, so the ends themselves are put in
    route[:, 0], route[:, -1] = ends[0], ends[1]

    curves = shorten(model, torch.cat([line, route]))
    lengths = chords(model, curves)
    best = lengths.sum(1).argmin()
    distance = np.r_[0, lengths[best].cumsum(0).numpy()].astype(np.float32)
    return Curve(curves[best], distance, float(chords(model, line).sum()))


def _even(route: NDArray[Any], n_points: int) -> NDArray[Any]:
    """Return evenly spaced points on a polyline."""
    at = np.r_[0, np.linalg.norm(np.diff(route, axis=0), axis=1).cumsum()]
    wanted = np.linspace(0, at[-1], n_points)
    return np.stack([np.interp(wanted, at, column) for column in route.T], axis=1)
