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
    r"""Draw how the map stretches: each ellipse shows what it makes of a small circle in the data.

    Such an ellipse is called an indicatrix (Tissot 1881). On a perfect map, all of them are circles of one size.
    Ellipses of different shapes mean that angles are distorted; different sizes mean that areas are distorted. Each
    ellipse is the set :math:`\{v : v^\top G v = r^2\}` around a position, where G is the metric tensor, which gives a
    small step v on the map its length in the data, and r is the same everywhere. See docs/indicatrices.md.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae` or `scgeoae.tl.distortion` was run.
    basis
        The `key_added` of that run, or ``"umap"`` for a UMAP. The map must have two dimensions.
    color
        Column of `obs` or gene to color the cells by. A list draws one panel for each.
    side
        ``"decoder"``: G measures lengths on the decoder's surface (the pullback metric), at each map position.
        ``"encoder"``: G is the metric that the encoder pushes forward, so the ellipses are images of a small ball
        around the cells. ``"both"``: one panel for each, at the same scale.
    where
        ``"data"``: one ellipse in each occupied tile, at the cell nearest to its center. ``"grid"``: one at the center
        of every tile, also away from the cells, computed by the stored model. ``"cells"``: one at every cell.
    n_tiles
        Number of tiles along the longer side of the box around the cells.
    scale
        Factor for the size of all ellipses. At 1, nine in ten fit into a tile. If two overlap, the smaller one is left
        out.
    linewidth, edgecolor, facecolor
        Style of the ellipses. By default, lines are 0.8 points wide, or 0.3 with ``where="cells"``.
    ruler
        Draw a scale bar in units of the representation (docs/distances.md). ``≈`` marks an average length.
    outliers
        Show the whole map. By default, cells far from the rest are marked at the border instead.
    ax
        Axes to draw on. Only with one color and one side.
    show
        Show the figure and return nothing. Default: `scanpy.settings.autoshow`.
    save
        Save the figure: `True` or a string to append to the default file name, inside `scanpy.settings.figdir`, as in
        Scanpy; or a `pathlib.Path` to use as it is.
    return_fig
        Return the figure instead of showing it.
    **kwargs
        Passed on to `scanpy.pl.embedding`, such as `groups`, `palette`, `size`, `title` or `legend_loc`. Keywords that
        move the cells, such as `dimensions`, are refused.

    Returns
    -------
    The axes (a list with several colors or both sides) if ``show=False``, or the figure if ``return_fig=True``.

    Raises
    ------
    KeyError
        If there is no map under `basis`.
    ValueError
        If the map is not two-dimensional, an argument is out of range, or ``where="grid"`` is used without a model.

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
        msg = f"side='both' draws one panel for each side; give one color, found {color!r}."
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
        # as if the area of the occupied tiles were divided evenly among the cells
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
    # leaves the size of the cells to Scanpy
    kwargs = {"size": None} | kwargs
    if side != "both":
        return kwargs
    # one legend next to the right panel is enough for both
    legend = {"legend_loc": "none"} if drawn == "decoder" else {}
    return {"title": drawn, **legend} | kwargs
