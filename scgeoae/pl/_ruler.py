"""The ruler: how long a distance on the map is in the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.offsetbox import AnchoredOffsetbox, AuxTransformBox, HPacker, TextArea, VPacker
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

from ._notes import add_note, as_shares, ink_on, place_notes, size_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from .._anndata.map import Unit

# A ruler may hide this share of the cells.
HIDDEN = 0.002


def add_ruler(ax: Axes, unit: Unit, z: NDArray[Any], *, below: bool) -> None:
    """Add a scale bar of a round length, about a sixth of the width of the axes, where it covers few cells `z`.

    Where the scale of the map varies much from place to place, it is a table of three bars. If it hides cells in each
    corner and may be `below`, it goes below the axes, to the left of the label of the x-axis.
    """
    ruler = _one_bar(ax, unit) if unit.local is None else _three_bars(ax, unit, unit.local)
    hidden = add_note(ax, ruler, z)
    if below and hidden > HIDDEN * len(z):
        ax.set_xlabel(ax.get_xlabel(), loc="right")
        label = as_shares(ax, ax.xaxis.label.get_window_extent())
        # with some to spare, because a color bar may make the axes narrower
        is_wide = size_of(ax, ruler)[0] + label.width > 0.85
        ruler.loc = AnchoredOffsetbox.codes["upper left"]
        ruler.set_bbox_to_anchor(Bbox.from_bounds(0, -label.height if is_wide else 0, 0, 0), ax.transAxes)
        # or a saved figure is cut off at the edge of the axes
        ruler.set_clip_on(False)
        ruler.set_gid(None)
        place_notes(ax, z)


def _one_bar(ax: Axes, unit: Unit) -> AnchoredSizeBar:
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    length = round_length((right - left) / 6 * unit.per_length)
    label = unit.words(length)
    if unit.spread is not None:
        label = f"≈ {label}, ± {100 * unit.spread:.0f}%"
    elif unit.is_mean:
        label = f"≈ {label}, on average"

    def bar(label: str) -> AnchoredSizeBar:
        return AnchoredSizeBar(
            ax.transData,
            length / unit.per_length,
            label,
            "lower left",
            pad=0.3,
            borderpad=0.4,
            sep=3,
            size_vertical=0.006 * (top - bottom),
            fill_bar=True,
            color=ink_on(ax),
            fontproperties={"size": _text_size(ax)},
        )

    wide = bar(label)
    # in a small panel, what follows the comma goes below
    return bar(label.replace(", ", ",\n")) if size_of(ax, wide)[0] > 0.55 else wide


def _three_bars(ax: Axes, unit: Unit, local: tuple[float, float, float]) -> AnchoredOffsetbox:
    """Return bars of one length in the data, as drawn where the map enlarges, where it is typical, where it reduces."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    low, middle, high = local
    length = round_length(min((right - left) / 6 * middle, (right - left) / 4 * low) * unit.per_length)
    color, height = ink_on(ax), 0.006 * (top - bottom)

    def words(text: str, size: str) -> TextArea:
        return TextArea(text, textprops={"size": size, "color": color})

    rows = []
    for scale, place in ((low, "where enlarged"), (middle, "typical"), (high, "where reduced")):
        bar = AuxTransformBox(ax.transData)
        bar.add_artist(Rectangle((0, 0), length / unit.per_length / scale, height, facecolor=color, edgecolor=color))
        rows.append(HPacker(children=[bar, words(place, "x-small")], align="center", pad=0, sep=4))
    title = [words(f"≈ {unit.words(length)}", _text_size(ax)), words("for small steps", "x-small")]
    table = VPacker(children=[*title, *rows], align="left", pad=0, sep=2)
    return AnchoredOffsetbox("lower left", child=table, pad=0.3, borderpad=0.4)


def _text_size(ax: Axes) -> str:
    """Return the size of the text of a ruler: smaller in axes less than three inches wide."""
    return "small" if ax.get_window_extent().width >= 3 * ax.figure.figure.dpi else "x-small"


def round_length(length: float) -> float:
    """Return the largest of 1, 2 or 5 times a power of ten that is not longer than `length`."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(max(step * power for step in (1, 2, 5) if step * power <= length * (1 + 1e-9)))
