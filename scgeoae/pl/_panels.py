"""Several maps, or both sides of one, next to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.gridspec import SubplotParams

from .._anndata.slots import SIDES
from .._arguments import check_option
from ._canvas import read_flat_map

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

    from .._anndata.map import Map
    from .._anndata.slots import Side


# Gaps between panels across and down, as shares of their width and height.
GAPS = np.array([0.12, 0.3])


class Part(NamedTuple):
    """A map as one of its sides sees it, on axes of its own."""

    m: Map
    side: Side
    style: dict[str, Any]
    """Keywords for Scanpy."""


def parts_of(
    adata: AnnData,
    basis: str | Sequence[str],
    side: str,
    caller: str,
    *,
    ax: Axes | None,
    color: Any = None,
    style: dict[str, Any],
) -> list[Part]:
    """Return what each panel shows, or raise if the arguments ask for more panels than one row can hold.

    Each panel has a title, by default the name of the map or of the side.
    """
    check_option(side, "side", (*SIDES, "both"))
    bases: list[Any] = list(basis) if isinstance(basis, list | tuple) and basis else [basis]
    sides = [s for s in SIDES if side in (s, "both")]
    if len(bases) > 1 < len(sides):
        msg = f"side='both' draws both sides of one map, found {len(bases)} maps in `basis`; choose one side."
        raise ValueError(msg)
    maps = [read_flat_map(adata, name, caller, style) for name in bases]
    parts = [(m, s) for m in maps for s in sides]
    if len(parts) == 1:
        return [Part(*parts[0], style)]
    of = "side='both'" if len(sides) > 1 else f"basis={basis!r}"
    if ax is not None:
        msg = f"{of} draws {len(parts)} panels, which one `ax` cannot hold; draw each on its own axes."
        raise ValueError(msg)
    if not (color is None or isinstance(color, str)):
        msg = f"{of} draws one panel for each; give one color, found {color!r}."
        raise ValueError(msg)
    titles = style.get("title")
    if titles is None:
        titles = sides if len(sides) > 1 else [m.key for m in maps]
    if isinstance(titles, str):
        titles = [titles] * len(parts)
    if len(titles) != len(parts):
        msg = f"Expected `title` to be one for each of {len(parts)} panels, found {titles!r}."
        raise ValueError(msg)
    return [Part(*part, {**style, "title": title}) for part, title in zip(parts, titles, strict=True)]


def row_of_axes(n_panels: int, ax: Axes | None) -> list[Axes | None]:
    """Return the axes for a row of panels. A single one is `ax`, where None means a new one."""
    if n_panels == 1:
        return [ax]
    return list(grid_of_axes(n_panels, n_panels))


def grid_of_axes(n_panels: int, n_columns: int) -> list[Axes]:
    """Return the axes of a new figure, row by row. Each is as large as a figure with a single one makes it."""
    size, at = np.array(plt.rcParams["figure.figsize"]), SubplotParams()
    shape = np.array([min(n_columns, n_panels), -(-n_panels // n_columns)])
    low, high = np.array([at.left, at.bottom]), np.array([at.right, at.top])
    # relative to the size of a figure with a single one
    whole = 1 + (shape - 1) * (high - low) * (1 + GAPS)
    edges = dict(zip(("left", "bottom", "right", "top"), [*low / whole, *1 - (1 - high) / whole], strict=True))
    spacing = dict(zip(("wspace", "hspace"), GAPS, strict=True))
    figure, grid = plt.subplots(*shape[::-1], figsize=size * whole, gridspec_kw=edges | spacing, squeeze=False)
    axes = list(grid.ravel())
    for unused in axes[n_panels:]:
        figure.delaxes(unused)
    return axes[:n_panels]


def keep_last_legend(panels: list[Axes]) -> None:
    """Remove all legends of a row but the last. All panels keep the room for one, and so stay equally wide."""
    for panel in panels[:-1]:
        if (legend := panel.get_legend()) is not None:
            legend.remove()
