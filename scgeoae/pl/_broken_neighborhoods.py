from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from scipy import sparse

from .._arguments import checked_integer
from ._canvas import box_of, draw_cells, finish, read_flat_map
from ._notes import under

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def broken_neighborhoods(
    adata: AnnData,
    *,
    basis: str = "umap",
    color: str | Sequence[str] | None = None,
    max_edges: int = 2000,
    linewidth: float = 0.5,
    edgecolor: Any = None,
    alpha: float | None = None,
    outliers: bool = False,
    ax: Axes | None = None,
    show: bool | None = None,
    save: bool | str | Path | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Axes | list[Axes] | Figure | None:
    """Draw where an embedding tears, that is, where it pulls apart cells that are neighbors in the data.

    Lines are torn edges of the representation's neighbor graph: the embedding stretches them far more than the edges
    around them. Rings are broken cells, in which a tenth of the edges or more are torn. Two cells joined by a line are
    neighbors in the data, however far apart they are drawn.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.distortion` was run.
    basis
        Name of the embedding, such as ``"umap"``, or ``"geoae"`` for a map of `scgeoae.tl.geoae`. It must have two
        dimensions.
    color
        Column of `obs` or gene to color the cells by. A list draws one panel for each.
    max_edges
        Draw at most this many edges, the most stretched ones first. The legend gives the total.
    linewidth, edgecolor, alpha
        Style of the lines. By default, they have the color of text, and the opacity falls from 0.6 to 0.15 as their
        number grows.
    outliers, ax, show, save, return_fig, **kwargs
        As in `scgeoae.pl.indicatrices`.

    Returns
    -------
    The axes (a list with several colors) if ``show=False``, or the figure if ``return_fig=True``.

    Raises
    ------
    KeyError
        If there is no embedding under `basis`, or its tears were not computed.
    ValueError
        If the embedding is not two-dimensional, or an argument is out of range.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.distortion(adata, method="laplacian")
    >>> ax = sg.pl.broken_neighborhoods(adata, color="bulk_labels", show=False)
    """
    max_edges = checked_integer(max_edges, "max_edges", 0)
    m = read_flat_map(adata, basis, "sg.pl.broken_neighborhoods", kwargs)
    z = m.positions
    # the matrix is symmetric; draw each edge once
    torn = sparse.triu(m.torn, format="coo")
    broken = m.column(m.slots.broken, f"sg.tl.distortion(adata, basis={m.key!r})").astype(bool)
    first = np.argsort(-torn.data, kind="stable")[:max_edges]
    segments = list(np.stack([z[torn.row[first]], z[torn.col[first]]], axis=1))
    if alpha is None:
        alpha = float(np.clip(30 / max(len(first), 1), 0.15, 0.6))

    ink = plt.rcParams["text.color"]
    if edgecolor is None:
        edgecolor = ink
    drawn = draw_cells(
        m, box_of(m, outliers=outliers), ax=ax, is_given=ax is not None, ruler=False, color=color, **kwargs
    )
    for panel in drawn:
        # between the cells, which Scanpy draws at 1, and the rings
        panel.add_collection(LineCollection(segments, colors=[edgecolor], linewidths=linewidth, alpha=alpha, zorder=2))
        panel.scatter(z[broken, 0], z[broken, 1], s=12, facecolors="none", edgecolors=[ink], linewidths=0.6, zorder=3)
        _say(panel, len(first), torn.nnz, int(broken.sum()), edgecolor)
    return finish(
        drawn, f"broken_neighborhoods_{m.key}", ax=ax, style=kwargs, show=show, save=save, return_fig=return_fig
    )


def _say(panel: Axes, n_drawn: int, n_torn: int, n_broken: int, edgecolor: Any) -> None:
    """Add a legend of lines and rings below the axes, where it covers no cells and keeps Scanpy's legend."""
    ink = plt.rcParams["text.color"]
    lines = f"{n_torn:,} torn edge{'' if n_torn == 1 else 's'}"
    if n_drawn < n_torn:
        lines += f", the {n_drawn:,} stretched most are drawn"
    rings = f"{n_broken:,} broken cell{'' if n_broken == 1 else 's'}"
    handles = [
        Line2D([], [], color=edgecolor, linewidth=1),
        Line2D([], [], linestyle="none", marker="o", markersize=4, markerfacecolor="none", markeredgecolor=ink),
    ]
    below: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "bbox_transform": under(panel)}
    style: dict[str, Any] = {"ncols": 2, "frameon": False, "fontsize": 8, "borderpad": 0, "borderaxespad": 0}
    legend = Legend(panel, handles, [lines, rings], **below, **style)
    panel.add_artist(legend)
    # otherwise a saved figure is cut off at the edge of the axes
    legend.set_clip_on(False)
