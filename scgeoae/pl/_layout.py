"""Room around the panels of a figure, for legends, color bars, rulers, and labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.transforms import Bbox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar
    from numpy.typing import NDArray

# Inches between what belongs to one panel and to the next one, across and down. A saved text is up to 3% wider.
GAPS = (0.2, 0.08)
# Inches between what is drawn and the edge of the figure.
MARGIN = 0.08


def make_room(panels: Sequence[Axes], *, wspace: float | None = None, hspace: float | None = None) -> None:
    """Make a figure larger until nothing reaches from one panel into another or beyond the edge.

    The panels keep their size: the figure grows with what is around them, as Scanpy's grows with their number. Gaps
    that were set by `wspace` or `hspace` stay as they are, and so does a figure with a layout engine.

    Parameters
    ----------
    panels
        All panels of the figure, with everything drawn. Each other axes, such as that of a color bar, belongs to the
        panel nearest to it.
    """
    figure = panels[0].figure.figure
    if figure.get_layout_engine() is not None:
        return
    size: NDArray[Any] = np.array(figure.get_size_inches())
    # this also places the color bars
    tight = [ax.get_tightbbox() for ax in figure.axes]
    extents = np.array([ax.bbox if box is None else box for ax, box in zip(figure.axes, tight, strict=True)])
    extents /= figure.dpi
    # from the top, as rows are counted
    extents[:, :, 1] = size[1] - extents[:, ::-1, 1]
    # what is farther out, such as the label of a point far beyond the axes, would make a figure that nobody can draw
    extents = extents.clip(-size, 2 * size)
    cells = np.array([_cell(_nearest(ax, panels)) for ax in figure.axes])
    across, width = _spread(cells[:, 0], extents[:, :, 0], size[0], GAPS[0] if wspace is None else None)
    down, height = _spread(cells[:, 1], extents[:, :, 1], size[1], GAPS[1] if hspace is None else None)
    if (width, height) == tuple(size):
        return
    for ax, x, y in zip(figure.axes, across, down, strict=True):
        moved = ax.get_position(original=True).get_points() * size + np.array([x, height - size[1] - y])
        ax.set_position(Bbox(moved / [width, height]))
    figure.set_size_inches(width, height)


def _nearest(ax: Axes, panels: Sequence[Axes]) -> Axes:
    """Return the panel nearest to an axes, which is itself if it is one."""

    def distance(panel: Axes) -> float:
        own, other = np.array(ax.bbox), np.array(panel.bbox)
        return float(np.linalg.norm(np.maximum(0, np.maximum(other[0] - own[1], own[0] - other[1]))))

    return ax if ax in panels else min(panels, key=distance)


def _cell(panel: Axes) -> tuple[int, int]:
    """Return the column and the row of a panel."""
    spec: Any = panel.get_subplotspec()
    place = spec.get_topmost_subplotspec()
    return place.colspan.start, place.rowspan.start


def _spread(
    places: NDArray[np.intp], extents: NDArray[Any], length: float, gap: float | None
) -> tuple[NDArray[Any], float]:
    """Move columns or rows apart until there is a `gap` between them, if any, and a margin around them.

    Parameters
    ----------
    places
        (n,) columns or rows of the axes.
    extents
        (n, 2) where each axes starts and ends, with all that is around it.
    length
        Width or height of the figure.

    Returns
    -------
    How far each axes moves, and the new length of the figure.
    """
    found, index = np.unique(places, return_inverse=True)
    starts = np.array([extents[places == place, 0].min() for place in found])
    ends = np.array([extents[places == place, 1].max() for place in found])
    apart = np.zeros(len(found)) if gap is None else np.maximum(0, np.r_[0, ends[:-1] + gap - starts[1:]])
    shift = np.cumsum(apart) + max(0, MARGIN - starts.min())
    return shift[index], max(length + shift[-1], (ends + shift).max() + MARGIN)


def attach_color_bar(panel: Axes, color_bar: Colorbar) -> None:
    """Keep a color bar beside a panel, as high or as wide, when the panel takes the shape of the map or is moved."""
    bar, find = color_bar.ax, color_bar.ax.get_axes_locator()
    figure = panel.figure

    def inches() -> NDArray[Any]:
        return np.array(figure.bbox.size) / figure.dpi

    slot, own = (ax.get_position(original=True).get_points() * inches() for ax in (panel, bar))
    along = 0 if color_bar.orientation == "vertical" else 1
    side = int(own[0, along] > slot[0, along])
    ends = own[:, along] - slot[side, along]

    def place(axes: Any, renderer: Any) -> Any:
        at = panel.get_position().get_points() * inches()
        # on these, Scanpy's color bars lie
        between: Any = (([panel.yaxis], [panel.xaxis, *panel.artists]), ([], [panel.title]))[side][along]
        extents = [extent for artist in between if (extent := artist.get_tightbbox(renderer)) is not None]
        edges = [(extent.get_points() - figure.bbox.min)[side, along] / figure.dpi for extent in extents]
        at[:, along] = (min, max)[side]([at[side, along], *edges]) + ends
        axes.set_position(Bbox(at / inches()))
        return find(axes, renderer)

    bar.set_axes_locator(place)
