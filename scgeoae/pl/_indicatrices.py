from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import matplotlib.pyplot as plt
import numpy as np
import torch

from .._arguments import check_option, checked_integer
from .._runtime import default_torch_modes
from ..geometry import indicatrix_axes
from ._canvas import box_of, draw_cells, finish
from ._panels import keep_last_legend, parts_of, row_of_axes
from ._tissot import (
    MAX_OUTLINES,
    MAX_TILES,
    Crowds,
    Places,
    Sizes,
    add_legend,
    add_outlines,
    in_points,
    places_of_all_cells,
    places_on_grid,
    sizes_of,
    without_overlap,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from .._anndata.map import Map
    from .._anndata.slots import Side
    from ._view import Box


@default_torch_modes
def indicatrices(
    adata: AnnData,
    *,
    basis: str | Sequence[str] = "geoae",
    color: str | Sequence[str] | None = None,
    side: Literal["decoder", "encoder", "both"] = "decoder",
    where: Literal["data", "grid", "cells"] = "data",
    n_tiles: int | None = None,
    scale: float = 1.0,
    linewidth: float | None = None,
    edgecolor: Any = None,
    facecolor: Any = "none",
    legend: bool = True,
    ruler: bool = True,
    outliers: bool = False,
    ax: Axes | None = None,
    show: bool | None = None,
    save: bool | str | Path | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Axes | list[Axes] | Figure | None:
    r"""Draw how the map stretches: each outline shows what it makes of the same small circle in the data.

    Such an outline is called an indicatrix (Tissot 1881). On a perfect map, all of them are circles of one size.
    Ellipses of different shapes mean that angles are distorted; different sizes mean that areas are distorted. Each is
    the set :math:`\{v : v^\top G v = r^2\}` around a position, where G is the metric tensor, which gives a small step v
    on the map its length in the data, and r is the same everywhere. See docs/indicatrices.md.

    Where all outlines would be circles of one size, the legend shows that circle and says how far the sizes differ, and
    nothing covers the cells. This is so if, at 9 in 10 cells, both semi-axes are within 10% of the median size.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae` or `scgeoae.tl.distortion` was run.
    basis
        The `key_added` of that run, or ``"umap"`` for a UMAP. The map must have two dimensions. A list of several draws
        them next to each other. The scale of a UMAP is arbitrary, so the circle in the data is chosen for each map such
        that the median size is the same share of the longer side of each map. The shapes and the spread of the sizes
        can then be compared.
    color
        Column of `obs` or gene to color the cells by. A list draws one panel for each.
    side
        ``"decoder"``: G measures lengths on the decoder's surface (the pullback metric), at each map position.
        ``"encoder"``: G is the metric that the encoder pushes forward, so the ellipses are images of a small ball
        around the cells. ``"both"``: one panel for each, of the same circle in the data.
    where
        ``"data"``: outlines where cells are, at least one tile apart, each with at least 1% of the cells within half a
        tile of its center, the densest places first. ``"grid"``: one at the center of every tile, also away from the
        cells, computed by the stored model. ``"cells"``: one at every cell.
    n_tiles
        Number of tiles along the longer side of the box around the cells. By default, as many, up to 9, as make 25
        outlines at most. If it is given, outlines are drawn even where all are circles of one size, as with the other
        choices of `where`.
    scale
        Factor for the size of all outlines. At 1, nine in ten fit into a tile. If two overlap, the smaller one is left
        out.
    linewidth, edgecolor, facecolor
        Style of the outlines. By default, lines have the color of the text and a width of a fortieth of a tile, between
        0.3 and 0.8 points. Where cells are dark, as with a gene that few of them express, ``edgecolor="red"`` is easier
        to see.
    legend
        Explain the outlines below the axes. The circle there has the median size.
    ruler
        Draw a scale bar in units of the representation (docs/distances.md). ``≈`` marks an average length.
    outliers
        Show the whole map, and not only the part that holds most cells.
    ax
        Axes to draw on. Only with one map, one color and one side.
    show
        Show the figure and return nothing. Default: `scanpy.settings.autoshow`.
    save
        Save the figure: `True` or a string to append to the default file name, inside `scanpy.settings.figdir`, as in
        Scanpy; or a `pathlib.Path` to use as it is.
    return_fig
        Return the figure instead of showing it.
    **kwargs
        Passed on to `scanpy.pl.embedding`, such as `groups`, `palette`, `size`, `title` or `legend_loc`. With several
        panels, `title` may be a list. Keywords that move the cells, such as `dimensions`, are refused.

    Returns
    -------
    The axes (a list with several maps, colors or both sides) if ``show=False``, or the figure if ``return_fig=True``.

    Raises
    ------
    KeyError
        If there is no map under `basis`.
    ValueError
        If a map is not two-dimensional, an argument is out of range, or ``where="grid"`` is used without a model.

    References
    ----------
    Tissot 1881, *Mémoire sur la représentation des surfaces*; for autoencoders Nazari, Damrich &
    Hamprecht 2023, arXiv 2306.17638.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> sg.tl.distortion(adata, basis="umap", method="laplacian")  # faster than the default
    >>> left, right = sg.pl.indicatrices(adata, basis=["umap", "geoae"], color="bulk_labels", show=False)
    """
    check_option(where, "where", ("data", "grid", "cells"))
    if n_tiles is not None:
        n_tiles = checked_integer(n_tiles, "n_tiles", 1, or_="None")
    parts = parts_of(adata, basis, side, "sg.pl.indicatrices", ax=ax, color=color, style=kwargs)
    maps = {part.m.key: part.m for part in parts}
    boxes = {key: box_of(m, outliers=outliers) for key, m in maps.items()}
    places = _places(maps, boxes, where, n_tiles)
    ellipses = [_indicatrices_at(part.m, part.side, places[part.m.key]) for part in parts]
    all_sizes = [sizes_of(m.metric(s)) for m, s, _ in parts]
    radii = _radii(places, [part.m.key for part in parts], ellipses, all_sizes)
    if edgecolor is None:
        edgecolor = plt.rcParams["text.color"]

    drawn = []
    rows = zip(parts, ellipses, all_sizes, row_of_axes(len(parts), ax), strict=True)
    for (m, _, given), unscaled, sizes, row_ax in rows:
        are_drawn = where != "data" or n_tiles is not None or not sizes.are_one
        at, radius = places[m.key], scale * radii[m.key]
        kept = slice(None) if where == "cells" else without_overlap(at.centers, unscaled * radius)
        axes, centers = unscaled[kept] * radius, at.centers[kept]
        # Scanpy chooses the size of the cells
        style = {"size": None} | given | {"color": color}
        for panel in draw_cells(m, boxes[m.key], ax=row_ax, is_given=ax is not None, ruler=ruler, **style):
            width = np.clip(in_points(panel, at.width) / 40, 0.3, 0.8) if linewidth is None else linewidth
            if are_drawn:
                add_outlines(
                    panel, centers, axes, facecolors=[facecolor], edgecolors=[edgecolor], linewidths=width, zorder=5
                )
            if legend:
                words, diameter = sizes.in_words(are_drawn=are_drawn), 2 * radius * sizes.median
                add_legend(panel, words, diameter, linewidth=width, edgecolor=edgecolor)
            drawn.append(panel)
    if len(parts) > 1:
        keep_last_legend(drawn)
    name = f"indicatrices_{'_'.join(maps)}"
    return finish(drawn, name, ax=ax, style=kwargs, show=show, save=save, return_fig=return_fig)


def _places(maps: dict[str, Map], boxes: dict[str, Box], where: str, n_tiles: int | None) -> dict[str, Places]:
    """Return where outlines are drawn on each map, with as many tiles on all maps as keep readable those of each."""
    if where == "cells":
        return {key: places_of_all_cells(m.positions, boxes[key]) for key, m in maps.items()}
    crowds = {} if where == "grid" else {key: Crowds(m.positions, boxes[key]) for key, m in maps.items()}

    def found(n: int) -> dict[str, Places]:
        return {key: crowds[key].places(n) if crowds else places_on_grid(boxes[key], n) for key in maps}

    if n_tiles is not None:
        places = found(n_tiles)
        if empty := [key for key, at in places.items() if not len(at.centers)]:
            msg = f"With n_tiles={n_tiles}, no place of {empty[0]!r} has 1% of the cells around it; choose fewer tiles."
            raise ValueError(msg)
        return places
    for n in range(MAX_TILES, 1, -1):
        places = found(n)
        if all(1 <= len(at.centers) <= MAX_OUTLINES for at in places.values()):
            return places
    return found(1)


def _indicatrices_at(m: Map, side: Side, places: Places) -> NDArray[Any]:
    """Return the semi-axes as columns, for a circle of radius 1 in the data, (n, 2, 2)."""
    if places.cells is None:
        metric = m.model.metric_of(side, torch.from_numpy(places.centers))
    else:
        metric = torch.from_numpy(m.metric(side)[places.cells])
    return indicatrix_axes(metric.double()).numpy()


def _radii(
    places: dict[str, Places], keys: list[str], ellipses: list[NDArray[Any]], sizes: list[Sizes]
) -> dict[str, float]:
    """Return the radius in the data of the circle that each map draws. `keys` are the maps of the other two lists.

    In each panel, at least nine in ten outlines fit into a tile. On each map, the median size is the same share of it.
    """
    medians = {key: of.median for key, of in zip(keys, sizes, strict=True)}
    longest = [np.quantile(np.linalg.norm(axes[:, :, 0], axis=1), 0.9) for axes in ellipses]
    share = min(0.42 * medians[key] / length for key, length in zip(keys, longest, strict=True))
    return {key: float(share * at.width / medians[key]) for key, at in places.items()}
