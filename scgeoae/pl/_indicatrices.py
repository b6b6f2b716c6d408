from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from matplotlib.collections import EllipseCollection

from .._arguments import check_option, checked_integer
from .._runtime import default_torch_modes
from ..geometry import indicatrix_axes
from ._canvas import box_of, draw_cells, finish, panels_by_side, read_flat_map, sides_of
from ._view import occupied_tiles, tile_centers, without_overlap

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .._anndata.slots import Side


@default_torch_modes
def indicatrices(
    adata: AnnData,
    *,
    basis: str = "geoae",
    color: str | Sequence[str] | None = None,
    side: Literal["decoder", "encoder", "both"] = "decoder",
    where: Literal["data", "grid", "cells"] = "data",
    n_tiles: int = 16,
    scale: float = 1.0,
    linewidth: float | None = None,
    edgecolor: Any = "black",
    facecolor: Any = (1, 1, 1, 0.4),
    ruler: bool = True,
    outliers: bool = False,
    ax: Axes | None = None,
    show: bool | None = None,
    save: bool | str | Path | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Axes | list[Axes] | Figure | None:
    r"""Draw how the map stretches, as Tissot drew it on maps of the Earth.

    Each ellipse is the set :math:`\{v : v^\top G v = r^2\}`, with the same r everywhere: a circle
    of radius r in the data as the map shows it. On a perfect map all are circles of one size.
    Ellipses of different shape mean that angles are not kept, of different size that areas are
    not.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae` or `scgeoae.tl.distortion` was run.
    basis
        The `key_added` of that run, or ``"umap"`` for a UMAP; the map must have 2 dimensions.
    color
        Column of `obs` or gene to colour the cells by, or several, one panel each.
    side
        ``"decoder"``: G is the metric that the decoder pulls back, and the ellipses say what is at
        a position of the map. ``"encoder"``: that which the encoder pushes forward, and they are
        the image of a small ball around the cells. ``"both"``: one panel each, on one scale.
    where
        ``"data"``: one ellipse per occupied tile, at the cell nearest its centre; ``"grid"``:
        one at the centre of every tile of the box around the cells, also off the data, from
        the stored model; ``"cells"``: one at every cell.
    n_tiles
        Number of tiles along the longer side of the box around the cells.
    scale
        Multiplies the size of all ellipses. At 1 nine in ten fit into a tile; the smaller of two
        that would overlap is left out.
    linewidth, edgecolor, facecolor
        Of the ellipses; the lines are 0.8 points wide, at single cells 0.3.
    ruler
        Draw a scale bar in units of the representation, of their mean where the map has none of its own.
    outliers
        Show the whole map. By default cells far outside are marked at the border.
    ax
        Axes to draw on; only with one colour and one side.
    show
        Show the figure and return nothing; by default `scanpy.settings.autoshow`.
    save
        As in Scanpy: `True` or a string appended to the default file name, inside
        `scanpy.settings.figdir`; or a `pathlib.Path` that is used as it is.
    return_fig
        Return the figure, and do not show it.
    **kwargs
        Passed on to `scanpy.pl.embedding`: `groups`, `palette`, `size`, `title`,
        `legend_loc`, … but none that moves the cells, such as `dimensions`.

    Returns
    -------
    The axes (a list with several colours or both sides) if ``show=False``, or the figure if ``return_fig=True``.

    Raises
    ------
    KeyError
        If there is no map under `basis`.
    ValueError
        If the map is not two-dimensional, an argument is out of its range, or a grid is asked for of tensors
        that have no model.

    References
    ----------
    Tissot 1881, *Mémoire sur la représentation des surfaces*; for autoencoders Nazari, Damrich &
    Hamprecht 2023, arXiv 2306.17638.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> ax = sg.pl.indicatrices(adata, color="bulk_labels", show=False)
    """
    check_option(where, "where", ("data", "grid", "cells"))
    n_tiles = checked_integer(n_tiles, "n_tiles", 1)
    m = read_flat_map(adata, basis, "sg.pl.indicatrices")
    z = m.positions
    sides = sides_of(side, ax)
    if len(sides) > 1 and not (color is None or isinstance(color, str)):
        msg = f"side='both' draws one panel for each side; give one colour, found {color!r}."
        raise ValueError(msg)
    box = box_of(m, outliers=outliers)
    width = box.longest / n_tiles
    tiles = occupied_tiles(z, box, width)
    if where == "grid":
        centers = tile_centers(box, width)
        metrics = {s: m.model.metric_of(s, torch.from_numpy(centers)).numpy() for s in sides}
    elif where == "data":
        centers = z[tiles]
        metrics = {s: m.metric(s)[tiles] for s in sides}
    else:
        # as if each cell had its share of the occupied tiles
        centers, width = z, width * np.sqrt(len(tiles) / len(z))
        metrics = {s: m.metric(s) for s in sides}
    ellipses = {s: indicatrix_axes(torch.from_numpy(metric).double()).numpy() for s, metric in metrics.items()}
    longest = np.concatenate([np.linalg.norm(axes[:, :, 0], axis=1) for axes in ellipses.values()])
    radius = scale * 0.42 * width / np.quantile(longest, 0.9)

    if linewidth is None:
        linewidth = 0.3 if where == "cells" else 0.8
    panels, drawn = panels_by_side(sides, ax), []
    for s, axes in ellipses.items():
        kept = slice(None) if where == "cells" else without_overlap(centers, axes * radius)
        semi_axes, offsets = axes[kept] * radius, centers[kept]
        lengths = np.linalg.norm(semi_axes, axis=1)
        for panel in draw_cells(m, box, ax=panels[s], ruler=ruler, color=color, **_labels(side, s, kwargs)):
            panel.add_collection(
                EllipseCollection(
                    widths=2 * lengths[:, 0],
                    heights=2 * lengths[:, 1],
                    angles=np.degrees(np.arctan2(semi_axes[:, 1, 0], semi_axes[:, 0, 0])),
                    units="xy",
                    offsets=offsets,
                    offset_transform=panel.transData,
                    facecolors=[facecolor],
                    edgecolors=[edgecolor],
                    linewidths=linewidth,
                    zorder=5,
                )
            )
            drawn.append(panel)
    return finish(drawn, f"indicatrices_{m.key}", show=show, save=save, return_fig=return_fig)


def _labels(side: str, drawn: Side, kwargs: dict[str, Any]) -> dict[str, Any]:
    # the cells as large as Scanpy draws them
    kwargs = {"size": None} | kwargs
    if side != "both":
        return kwargs
    # one legend, in the margin of the right panel, is enough for both
    legend = {"legend_loc": "none"} if drawn == "decoder" else {}
    return {"title": drawn, **legend} | kwargs
