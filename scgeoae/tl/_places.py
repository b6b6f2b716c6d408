"""Places on a map: cells, groups and positions."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._anndata.columns import read_groups
from .._arguments import checked_positions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .._anndata.map import Map


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
