"""What all plots of a map share: drawing the cells in a box, and saving or showing the figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import scanpy as sc

from .._anndata.map import read_map
from ._labels import mend_labels
from ._layout import make_room
from ._ruler import add_ruler
from ._scanpy import groups_in_panels, scatter
from ._view import Box, data_box, set_view

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .._anndata.map import Map

_EXTENSIONS = (".svg", ".pdf", ".png")
# Scanpy's default size of the cells is for axes of this area, in square inches: those of a figure of default size.
AREA = 4.96 * 3.696
# With fewer cells than this, those of Scanpy's default size would cover each other and the border of the axes.
FEW = 400


def read_flat_map(adata: AnnData, basis: str, caller: str, kwargs: Mapping[str, Any] | None = None) -> Map:
    """Return the map, or raise if it does not have two dimensions, or if `kwargs` name it as functions of `tl` do."""
    if kwargs is not None and "key" in kwargs:
        msg = (
            f"Plots take the name of a map as `basis`, as those of Scanpy do, and {caller} got it as `key`; run "
            f"{caller}(adata, basis={kwargs['key']!r})."
        )
        raise TypeError(msg)
    m = read_map(adata, basis, "basis")
    if m.positions.ndim != 2 or m.n_components != 2:
        run = "run sg.tl.geoae(adata, n_components=2)" if m.is_own else "make it with 2"
        msg = f"{caller} draws maps of 2 dimensions, and adata.obsm[{m.slot!r}] has {m.n_components}; {run}."
        raise ValueError(msg)
    return m


def draw_cells(
    m: Map, box: Box, *, ax: Axes | None, is_given: bool, ruler: bool, words: str | None = None, **kwargs: Any
) -> list[Axes]:
    """Draw the cells in a box of the map, with a scale bar if `ruler`, and return one axes for each color.

    There is no room for a ruler below axes that are given. What the plot says in `words` is a second line of the label
    of the x-axis.
    """
    unit = m.unit if ruler else None
    kwargs = {"size": 40_000 / len(m.positions)} | kwargs
    panels = scatter(m, ax=ax, **kwargs)
    of_panels = groups_in_panels(m, len(panels), kwargs.get("color"), kwargs.get("groups"))
    for panel, groups in zip(panels, of_panels, strict=True):
        fit_sizes(panel, len(m.positions), kwargs)
        set_view(panel, m.positions, box, groups=groups)
        mend_labels(panel, outline=kwargs.get("legend_fontoutline") is None)
        if words is not None:
            panel.set_xlabel(f"{panel.get_xlabel()}\n{words}")
        if unit is not None:
            add_ruler(panel, unit, m.positions, below=not is_given)
    return panels


def fit_sizes(panel: Axes, n: int, kwargs: dict[str, Any]) -> None:
    """Make few cells smaller, and those in a panel that is smaller than Scanpy's, unless their size was given."""
    size: Any = kwargs.get("size", kwargs.get("s"))
    is_solid = kwargs.get("projection") == "3d"
    if kwargs.get("scale_factor") is not None or np.ndim(size) or (size is not None and not is_solid):
        return
    extent = panel.get_window_extent()
    ratio = 1.0
    if size is None:
        ratio = min(extent.width * extent.height / panel.figure.figure.dpi**2 / AREA, 1) * min(n / FEW, 1)
    marks: list[Any] = list(panel.collections)
    for cells in marks:
        if is_solid:  # where Scanpy leaves the size to matplotlib, whatever their number
            cells.set_sizes([ratio * (size or 120_000 / n)])
        elif len(cells.get_offsets()) == n:  # and not in the legend
            cells.set_sizes(ratio * cells.get_sizes())


def box_of(m: Map, *, outliers: bool) -> Box:
    """Return the box around the cells, including outliers only if asked."""
    return data_box(m.positions, outliers=outliers)


def finish(
    axes: list[Axes],
    name: str,
    *,
    ax: Axes | None,
    style: Mapping[str, Any] | None = None,
    show: bool | None,
    save: bool | str | Path | None,
    return_fig: bool | None,
) -> Axes | list[Axes] | Figure | None:
    """Make room around the panels, and save and show the figure as Scanpy does.

    A figure whose `ax` was given keeps its size. `style` has the keywords for Scanpy. A string in `save` is appended to
    ``{figdir}/{name}``; a `Path` is used as it is. Returns the figure, without showing it, if `return_fig`; None if it
    was shown; otherwise the axes.
    """
    # the whole figure, also if the axes are on a part of it
    figure = axes[0].figure.figure
    if ax is None:
        style = style or {}
        make_room(axes, wspace=style.get("wspace"), hspace=style.get("hspace"))
    save = sc.settings.autosave if save is None else save
    if save:
        if isinstance(save, Path):
            path = save
        else:
            suffix = save if isinstance(save, str) else ""
            extension = "" if suffix.endswith(_EXTENSIONS) else f".{sc.settings.file_format_figs}"
            path = Path(sc.settings.figdir) / f"{name}{suffix}{extension}"
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, bbox_inches="tight")
    if return_fig:
        return figure
    if sc.settings.autoshow if show is None else show:
        plt.show()
        return None
    return axes[0] if len(axes) == 1 else axes
