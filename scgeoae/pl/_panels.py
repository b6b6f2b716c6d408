"""Several maps, or both sides of one, next to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib.pyplot as plt

from .._anndata.slots import SIDES
from .._arguments import check_option
from ._canvas import read_flat_map

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes

    from .._anndata.map import Map
    from .._anndata.slots import Side


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
    maps = [read_flat_map(adata, name, caller) for name in bases]
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
    width, height = plt.rcParams["figure.figsize"]
    _, axes = plt.subplots(1, n_panels, figsize=(n_panels * width, height), gridspec_kw={"wspace": 0.12})
    return list(axes)


def keep_last_legend(panels: list[Axes]) -> None:
    """Remove all legends of a row but the last. All panels keep the room for one, and so stay equally wide."""
    for panel in panels[:-1]:
        if (legend := panel.get_legend()) is not None:
            legend.remove()
