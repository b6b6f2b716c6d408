"""Places on a map: cells, groups and positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._anndata.groups import group_rows
from ._positions import checked_positions

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


class Place(NamedTuple):
    """A place on a map."""

    name: str
    position: NDArray
    """(d,)"""
    cell: int
    """The cell at or nearest to it."""


def find_place(adata: AnnData, z: NDArray, where: Any, groupby: str | None, argument: str) -> Place:
    """Return the place that a user means by the name of a cell, that of a group of `groupby`, or a position.

    A group is at the cell that is nearest to the median of its cells.

    Raises
    ------
    KeyError
        If there is no such cell, group or column.
    ValueError
        If it is none of these, or no cell has a group.
    """
    if not isinstance(where, str):
        position = checked_positions(where, z.shape[1], argument, or_else="a cell, a group or ")
        if len(position) != 1:
            msg = f"Expected `{argument}` to be one position, found {len(position)}."
            raise ValueError(msg)
        nearest = int(np.square(z - position).sum(1).argmin())
        return Place("(" + ", ".join(f"{value:.3g}" for value in position[0]) + ")", position[0], nearest)
    if groupby is not None:
        groups = group_rows(adata, groupby)
        if where in groups:
            return _center(where, z, groups[where])
    rows = np.flatnonzero(adata.obs_names == where)
    if len(rows) == 1:
        return Place(where, z[rows[0]], int(rows[0]))
    if len(rows) > 1:
        msg = f"{len(rows)} cells are named {where!r}; run adata.obs_names_make_unique() first."
        raise ValueError(msg)
    among = "; name a column of adata.obs with `groupby` for a group"
    if groupby is not None:
        among = f", nor a group of adata.obs[{groupby!r}], which has {', '.join(map(repr, groups))}"
    msg = f"`{argument}` is {where!r}, which is no cell in adata.obs_names{among}."
    raise KeyError(msg)


def group_places(adata: AnnData, z: NDArray, groupby: str) -> list[Place]:
    """Return the places of all groups of a column of `obs`, in the order of its categories."""
    return [_center(name, z, rows) for name, rows in group_rows(adata, groupby).items()]


def _center(name: str, z: NDArray, rows: NDArray) -> Place:
    own = z[rows]
    cell = int(rows[np.square(own - np.median(own, axis=0)).sum(1).argmin()])
    return Place(name, z[cell], cell)
