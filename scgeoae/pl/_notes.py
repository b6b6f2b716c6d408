"""Boxes of text in the corners of a panel, where they hide few cells."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba
from matplotlib.offsetbox import AnchoredOffsetbox
from matplotlib.transforms import ScaledTranslation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.transforms import BboxBase, Transform
    from numpy.typing import NDArray

# Points between what is under the axes.
GAP = 4
# marks the boxes of text that may be moved from corner to corner
_NOTE = "scgeoae note"


def add_note(ax: Axes, note: AnchoredOffsetbox, z: NDArray[Any]) -> int:
    """Add a box of text to a corner, and return how many cells it hides."""
    note.patch.set(facecolor=ground_of(ax), alpha=0.7, edgecolor="none")
    note.set_gid(_NOTE)
    note.set_zorder(10)
    ax.add_artist(note)
    return place_notes(ax, z)[note]


def place_notes(ax: Axes, z: NDArray[Any]) -> dict[AnchoredOffsetbox, int]:
    """Put each box of text in a corner where it hides the fewest cells, the largest first; return how many it hides."""
    free = ["lower left", "lower right", "upper left", "upper right"]
    notes: list[Any] = [artist for artist in ax.artists if artist.get_gid() == _NOTE]
    legend = ax.get_legend()
    others = [*ax.texts, *([legend] if legend else [])]
    hidden: dict[AnchoredOffsetbox, int] = {}
    for note in sorted(notes, key=lambda note: -math.prod(size_of(ax, note))):
        width, height = np.add(size_of(ax, note), _radius(ax))
        counts = hidden_in_corners(ax, z, (width, height), [*others, *hidden])
        corner = min(free, key=counts.__getitem__)
        free.remove(corner)
        note.loc = AnchoredOffsetbox.codes[corner]
        hidden[note] = counts[corner]
    return hidden


def _radius(ax: Axes) -> NDArray[Any]:
    """Return how far the largest points reach from their centers, as shares of the width and height of the axes."""
    sizes = [points.get_sizes().max(initial=0) for points in ax.collections if isinstance(points, PathCollection)]
    return np.sqrt(max(sizes, default=0)) / 2 * ax.figure.figure.dpi / 72 / np.array(ax.bbox.size)


def hidden_in_corners(
    ax: Axes, z: NDArray[Any], size: tuple[float, float], others: Sequence[Artist] = ()
) -> dict[str, int]:
    """Return how many cells a box of this width and height, as shares of the axes, hides in each corner.

    Each of the `others`, such as a legend, counts as much as all cells.
    """
    low, high = np.transpose([ax.get_xlim(), ax.get_ylim()])
    x, y = ((z - low) / (high - low)).T
    width, height = size
    across = {"left": (0.0, width), "right": (1 - width, 1.0)}
    upward = {"lower": (0.0, height), "upper": (1 - height, 1.0)}
    extents = [as_shares(ax, other.get_window_extent()) for other in others]
    hidden = {}
    for end, (bottom, top) in upward.items():
        for side, (left, right) in across.items():
            cells = int(np.count_nonzero((x >= left) & (x <= right) & (y >= bottom) & (y <= top)))
            met = sum(o.x0 < right and o.x1 > left and o.y0 < top and o.y1 > bottom for o in extents)
            hidden[f"{end} {side}"] = cells + met * len(z)
    return hidden


def under(ax: Axes) -> Transform:
    """Return a transform whose origin is under the left end of the axes, their label, and a ruler there."""
    extents = [ax.bbox, ax.xaxis.get_tightbbox(), *(artist.get_window_extent() for artist in ax.artists)]
    lowest = min(extent.y0 for extent in extents if extent is not None)
    below = (lowest - ax.bbox.y0) / ax.figure.figure.dpi - GAP / 72
    return ax.transAxes + ScaledTranslation(0, below, ax.figure.figure.dpi_scale_trans)


def as_shares(ax: Axes, extent: BboxBase) -> BboxBase:
    """Return an extent in pixels as shares of the axes."""
    return extent.transformed(ax.transAxes.inverted())


def size_of(ax: Axes, note: AnchoredOffsetbox) -> tuple[float, float]:
    """Return the width and height of a box of text and the gap between it and the border, as shares of the axes."""
    is_new = note.axes is None
    if is_new:  # a box finds its size through its axes
        ax.add_artist(note)
    extent = as_shares(ax, note.get_window_extent())
    if is_new:
        note.remove()
    return extent.width, extent.height


def ground_of(ax: Axes) -> Any:
    """Return the color behind the cells: that of the axes, or of the figure if the axes have none."""
    color = ax.get_facecolor()
    is_clear = not ax.axison or to_rgba(color)[3] == 0
    return ax.figure.figure.get_facecolor() if is_clear else color


def ink_on(ax: Axes) -> str:
    """Return black, or white on a dark ground."""
    red, green, blue, opacity = to_rgba(ground_of(ax))
    return "white" if opacity and 0.299 * red + 0.587 * green + 0.114 * blue < 0.5 else "black"
