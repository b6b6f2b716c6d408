from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import Normalize

from .._anndata.recipe import recipe_of
from .._arguments import checked_integer
from .._runtime import default_torch_modes
from ._canvas import box_of, draw_cells, finish, read_flat_map
from ._heatmap import color_bound, heatmap
from ._scanpy import groups_in_panels
from ._tissot import MAX_OUTLINES, MAX_TILES, Crowds, add_legend, add_outlines, without_overlap
from ._view import in_words, missing_groups

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from .._anndata.map import Map
    from ._view import Box

WORDS = "An outline is made to hold the place of the cell in its middle on 9 of 10 maps of fresh cells."
# Width of the circle in the legend, as a share of the longer side of the map.
KEY_WIDTH = 1 / 20


@default_torch_modes
def stability(
    adata: AnnData,
    *,
    basis: str = "geoae",
    color: str | Sequence[str] | None = None,
    n_tiles: int | None = None,
    linewidth: float = 0.8,
    edgecolor: Any = None,
    legend: bool = True,
    ruler: bool = True,
    outliers: bool = False,
    ax: Axes | None = None,
    show: bool | None = None,
    save: bool | str | Path | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Axes | list[Axes] | Figure | None:
    """Draw how sure the positions of cells are: where each would lie on 9 of 10 maps of fresh cells.

    A dot in the middle of each outline marks the cell. Outlines are drawn at their true size for cells in dense places,
    the densest first, where they do not overlap. With groups as `color`, each group without one then gets an outline
    at the cell in its middle, if there is room. Groups that still have none are named in the legend.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae` and then `scgeoae.tl.stability` were run.
    basis
        The `key_added` of the first. The map must have two dimensions.
    color
        Column of `obs` or gene to color the cells by. A list draws one panel for each. By default, each cell has the
        color of its uncertainty, the longest semi-axis of its outline.
    n_tiles
        Number of tiles along the longer side of the box around the cells, each with one outline at most. By default, as
        many, up to 9, as make 25 outlines at most. Groups do not add more than make 25 in all.
    linewidth, edgecolor
        Style of the outlines. By default, they have the color of the text.
    legend
        Explain the outlines below the axes.
    ruler, outliers, ax, show, save, return_fig, **kwargs
        As in `scgeoae.pl.indicatrices`.

    Returns
    -------
    The axes (a list with several colors) if ``show=False``, or the figure if ``return_fig=True``.

    Raises
    ------
    KeyError
        If there is no map under `basis`, or its stability was not measured.
    ValueError
        If the map is not two-dimensional, an argument is out of range, or the map cannot have a stability because
        another method made it.

    See Also
    --------
    scgeoae.tl.stability : Measure it.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata, n_steps=20)
    >>> sg.tl.stability(adata, n_fits=4)
    >>> ax = sg.pl.stability(adata, color="bulk_labels", show=False)
    """
    if n_tiles is not None:
        n_tiles = checked_integer(n_tiles, "n_tiles", 1, or_="None")
    m = read_flat_map(adata, basis, "sg.pl.stability", kwargs)
    if m.slots.stability not in adata.obsm:
        recipe_of(m)  # or the advice to measure it would lead to another error
    variance, directions = np.linalg.eigh(m.ellipses.astype(np.float64))
    # semi-axes as columns, longest first
    axes = (directions * np.sqrt(variance)[:, None])[:, :, ::-1]
    box, is_given = box_of(m, outliers=outliers), ax is not None
    crowded = _crowded(m, box, n_tiles)
    if edgecolor is None:
        edgecolor = plt.rcParams["text.color"]
    if color is None:
        column = m.slots.uncertainty
        radius = m.column(column, "sg.tl.stability(adata)")
        panels = [
            heatmap(
                m,
                column=column,
                evaluate=None,
                scale=Normalize(0, color_bound("p98", radius)),
                cmap=kwargs.pop("cmap", "viridis_r"),
                label="uncertainty (units of the map)",
                extend="max",
                resolution=2,
                ruler=ruler,
                outliers=outliers,
                ax=ax,
                is_given=is_given,
                **kwargs,
            )
        ]
    else:
        style = {"size": None} | kwargs
        panels = draw_cells(m, box, ax=ax, is_given=is_given, ruler=ruler, color=color, **style)
    of_panels = groups_in_panels(m, len(panels), color, kwargs.get("groups"))
    for panel, groups in zip(panels, of_panels, strict=True):
        cells, missing = _outlined(m, box, axes, crowded, groups)
        style = {"edgecolors": [edgecolor], "linewidths": linewidth}
        add_outlines(panel, m.positions[cells], axes[cells], facecolors=["none"], zorder=5, **style)
        x, y = m.positions[cells].T
        panel.scatter(x, y, s=(4 * linewidth) ** 2, c=[edgecolor], linewidths=0, zorder=5)
        if legend:
            words = WORDS + (f" There is no room for one of {in_words(missing)}." if missing else "")
            add_legend(panel, words, KEY_WIDTH * box.longest, linewidth=linewidth, edgecolor=edgecolor)
    return finish(panels, f"stability_{m.key}", ax=ax, style=kwargs, show=show, save=save, return_fig=return_fig)


def _crowded(m: Map, box: Box, n_tiles: int | None) -> NDArray[np.intp]:
    """Return the cells that may have an outline, those in the densest places first."""
    crowds = Crowds(m.positions, box)
    for n in range(MAX_TILES, 0, -1) if n_tiles is None else [n_tiles]:
        cells = cast("NDArray[np.intp]", crowds.places(n).cells)
        if 1 <= len(cells) <= MAX_OUTLINES:
            break
    return cells


def _outlined(
    m: Map, box: Box, axes: NDArray[np.floating], crowded: NDArray[np.intp], groups: pd.Series | None
) -> tuple[NDArray[np.intp], list[str]]:
    """Return the cells that have an outline, and the groups in the box without one."""
    z, is_inside = m.positions, box.holds(m.positions)

    def apart(cells: NDArray[np.intp]) -> NDArray[np.intp]:
        return cells[without_overlap(z[cells], axes[cells], first_come=True)]

    def missing() -> list[str]:
        return missing_groups(seen, np.isin(np.arange(len(z)), cells))

    cells = apart(crowded)
    seen = None if groups is None else groups.astype(str).where(is_inside & groups.notna().to_numpy())
    middles = []
    for name in missing()[: max(MAX_OUTLINES - len(cells), 0)]:
        rows = np.flatnonzero(seen == name)
        middles.append(rows[np.linalg.norm(z[rows] - np.median(z[rows], axis=0), axis=1).argmin()])
    cells = apart(np.array([*cells, *middles], dtype=np.intp))
    return cells, missing()
