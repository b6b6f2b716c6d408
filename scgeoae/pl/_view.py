"""Which part of the map is shown, the ruler, and the notes in the corners."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.offsetbox import AnchoredOffsetbox, AnchoredText, AuxTransformBox, HPacker, TextArea, VPacker
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.transforms import BboxBase
    from numpy.typing import NDArray

    from .._anndata.map import Unit

# The middle 95% of the cells, on each axis, fill at least this share of a panel of the shape of the map.
SHARE = 0.48
# Margin around the box on each side, as a share of its width and height.
MARGIN = 0.04
# A panel of the shape of the map is at most this many times as wide as high, or as high as wide.
LONGEST = 3.0
# A ruler may hide this share of the cells.
HIDDEN = 0.005
# A note names so many groups at most, and has lines of so many letters per inch of the axes, two thirds of their width.
MAX_NAMES, LETTERS = 3, 12


class Box(NamedTuple):
    """A rectangle on the map."""

    low: NDArray[Any]
    high: NDArray[Any]

    @property
    def longest(self) -> float:
        """Length of the longer side, or 1 for a single point."""
        return float((self.high - self.low).max()) or 1.0

    def holds(self, z: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which of the (n, 2) positions lie inside."""
        return np.all((z >= self.low) & (z <= self.high), axis=1)


def data_box(z: NDArray[Any], *, outliers: bool = False) -> Box:
    """Return the box around the cells in `d` dimensions, including outliers only if `outliers`.

    A handful of cells far from the rest would press all others into a corner. The box therefore ends at most f times
    the width of the middle 95% of the cells beyond them, on each side, where f is the largest number at which the
    middle 95% fill `SHARE` of the area of a panel. If they do so anyway, nothing is cut.
    """
    low, high = z.min(0), z.max(0)
    inner_low, inner_high = np.quantile(z, [0.025, 0.975], axis=0)
    width = inner_high - inner_low
    # on a map that is a line, or nearly so, the thin side does not count
    width = np.maximum(width, width.max() / 10)
    if outliers or not width.all():
        return Box(low, high)

    def ends(f: float) -> Box:
        return Box(np.maximum(low, inner_low - f * width), np.minimum(high, inner_high + f * width))

    def is_filled(box: Box) -> bool:
        share: float = np.prod(width / np.maximum(box.high - box.low, width) / (1 + 2 * MARGIN))
        # of a plane, whatever the number of dimensions
        return share ** (2 / len(width)) >= SHARE

    if is_filled(Box(low, high)):
        return Box(low, high)
    # at f = 1, even one side alone is too empty
    smallest, largest = 0.0, 1.0
    while largest - smallest > 1e-4:
        middle = (smallest + largest) / 2
        if is_filled(ends(middle)):
            smallest = middle
        else:
            largest = middle
    return ends(smallest)


def set_view(ax: Axes, z: NDArray[Any], box: Box, *, fit: bool = False, groups: pd.Series | None = None) -> None:
    """Show `box` with equal scales on both axes, and say in a corner how many cells are outside of the view.

    The axes keep their shape, and the view extends beyond the box to match it. If `fit`, they take the shape of the
    box instead. Of the `groups` of the cells, those that are all outside are named, and lose their labels.
    """
    center = (box.low + box.high) / 2
    half = (box.high - box.low) * (0.5 + MARGIN)
    half = np.maximum(half, box.longest * 1e-3)
    if fit:
        half = np.maximum(half, half.max() / LONGEST)
    else:
        size = ax.get_window_extent()
        per_pixel = max(half[0] / size.width, half[1] / size.height)
        half = per_pixel * np.array([size.width, size.height])
    ax.set_xlim(center[0] - half[0], center[0] + half[0])
    ax.set_ylim(center[1] - half[1], center[1] + half[1])
    ax.set_aspect("equal", adjustable="box")
    # or the size of the axes would be known only once they are drawn
    ax.apply_aspect()

    is_inside = (np.abs(z - center) <= half).all(1)
    if not is_inside.all():
        missing = missing_groups(groups, is_inside)
        # at the border, a label would stand where no cell of its group is
        for label in [text for text in ax.texts if text.get_text() in missing]:
            label.remove()
        words = outside(ax, is_inside, missing)
        style = {"size": "x-small", "color": _ink(ax), "parse_math": False}
        _add_note(ax, AnchoredText(words, "lower left", pad=0.2, borderpad=0.3, prop=style), z)


def set_view_3d(ax: Any, z: NDArray[Any], box: Box, unit: Unit | None, *, groups: pd.Series | None = None) -> None:
    """Show `box` with equal scales on all three axes, and say in the corners what lies outside and how long it is."""
    center = (box.low + box.high) / 2
    half = (box.high - box.low) * (0.5 + MARGIN)
    half = np.maximum(half, half.max() / LONGEST)
    ax.set(**{f"{axis}lim": (c - h, c + h) for axis, c, h in zip("xyz", center, half, strict=True)})
    # the labels of the axes would lie over the legend
    ax.set_box_aspect(half.tolist(), zoom=0.85)
    words = {"transform": ax.transAxes, "size": "x-small", "color": _ink(ax), "parse_math": False}
    is_inside = box.holds(z)
    if not is_inside.all():
        note = outside(ax, is_inside, missing_groups(groups, is_inside))
        ax.text2D(1, 1, note, ha="right", va="top", **words)
    if unit is not None:
        edges = " × ".join(f"{float(f'{2 * h * unit.per_length:.2g}'):g}" for h in half)
        about = "≈ " if unit.is_mean else ""
        ax.text2D(0, 0, f"edges: {about}{edges} {unit.name}", ha="left", va="bottom", **words)


def keep_labels_inside(ax: Axes) -> None:
    """Move labels that reach beyond the border of the axes inside."""
    for label in ax.texts:
        extent, border = label.get_window_extent(), ax.get_window_extent()
        low, high = np.subtract(border.min, extent.min), np.subtract(border.max, extent.max)
        # to the left and down only if there is room for it
        shift = np.clip(0, low + 2, np.maximum(high - 2, low + 2))
        if shift.any():
            x, y = ax.transData.inverted().transform(ax.transData.transform(label.get_position()) + shift)
            label.set_position((x, y))


def outline_labels(ax: Axes) -> None:
    """Set labels off from cells of all colors by an outline in the color of the ground."""
    for label in ax.texts:
        label.set_path_effects([withStroke(linewidth=1.5, foreground=_ground(ax))])


def missing_groups(groups: pd.Series | None, is_inside: NDArray[np.bool_]) -> list[str]:
    """Return the groups that have cells, but none inside."""
    if groups is None:
        return []
    seen = set(groups[is_inside])
    categories = groups.astype("category").cat.remove_unused_categories().cat.categories
    return [str(name) for name in categories if name not in seen]


def outside(ax: Axes, is_inside: NDArray[np.bool_], missing: Sequence[str]) -> str:
    """Say how many cells are not shown, and which groups they make up."""
    n = int(np.count_nonzero(~is_inside))
    words = f"{n:,} cell{'' if n == 1 else 's'} outside"
    if missing:
        names = list(missing[:MAX_NAMES])
        if len(missing) > MAX_NAMES:
            names.append(f"{len(missing) - MAX_NAMES} more groups")
        words += f": all of {', '.join(names[:-1])}{' and ' if names[:-1] else ''}{names[-1]}"
    return textwrap.fill(words, max(int(LETTERS * ax.get_window_extent().width / ax.figure.figure.dpi), 20))


def add_ruler(ax: Axes, unit: Unit, z: NDArray[Any], *, below: bool = False) -> AnchoredOffsetbox:
    """Add a scale bar of a round length, about a sixth of the width of the axes, where it covers few cells `z`.

    Where the scale of the map varies much from place to place, it is a table of three bars. If it hides cells in each
    corner and may be `below`, it goes below the axes, to the left of the label of the x-axis.
    """
    ruler = _one_bar(ax, unit) if unit.local is None else _three_bars(ax, unit, unit.local)
    hidden = _add_note(ax, ruler, z)
    if below and hidden > HIDDEN * len(z):
        ax.set_xlabel(ax.get_xlabel(), loc="right")
        label = _shares(ax, ax.xaxis.label.get_window_extent())
        # with some to spare, because the axes may become smaller
        is_wide = _size(ax, ruler)[0] + label.width > 0.85
        ruler.loc = AnchoredOffsetbox.codes["upper left"]
        ruler.set_bbox_to_anchor(Bbox.from_bounds(0, -label.height if is_wide else 0, 0, 0), ax.transAxes)
        # or a saved figure is cut off at the edge of the axes
        ruler.set_clip_on(False)
        ruler.set_gid(None)
        _place_notes(ax, z)
    return ruler


def fit_below(panels: Sequence[Axes], rulers: Sequence[AnchoredOffsetbox]) -> None:
    """Make the panels as much lower as it takes for rulers below them to end above what is there, and in the figure."""
    figure = panels[0].figure.figure
    slots = [panel.get_position(original=True) for panel in panels]
    tops = [panel.title.get_window_extent().y1 for panel in panels]
    excess = 0.0
    for slot, ruler in zip(slots, rulers, strict=True):
        below = [top for other, top in zip(slots, tops, strict=True) if other.y1 < slot.y0]
        excess = max(excess, max(below, default=0) - ruler.get_window_extent().y0)
    if excess > 0:
        for panel, slot in zip(panels, slots, strict=True):
            raised = min(excess / figure.bbox.height, slot.height / 3)
            panel.set_position((slot.x0, slot.y0 + raised, slot.width, slot.height - raised))
            panel.apply_aspect()


def _one_bar(ax: Axes, unit: Unit) -> AnchoredSizeBar:
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    length = round_length((right - left) / 6 * unit.per_length)
    label = f"{length:g} {unit.name}"
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
            color=_ink(ax),
            fontproperties={"size": _text_size(ax)},
        )

    wide = bar(label)
    # in a small panel, what follows the comma goes below
    return bar(label.replace(", ", ",\n")) if _size(ax, wide)[0] > 0.55 else wide


def _three_bars(ax: Axes, unit: Unit, local: tuple[float, float, float]) -> AnchoredOffsetbox:
    """Return bars of one length in the data, as drawn where the map enlarges, where it is typical, where it reduces."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    low, middle, high = local
    length = round_length(min((right - left) / 6 * middle, (right - left) / 4 * low) * unit.per_length)
    color, height = _ink(ax), 0.006 * (top - bottom)

    def words(text: str, size: str) -> TextArea:
        return TextArea(text, textprops={"size": size, "color": color})

    rows = []
    for scale, place in ((low, "where enlarged"), (middle, "typical"), (high, "where reduced")):
        bar = AuxTransformBox(ax.transData)
        bar.add_artist(Rectangle((0, 0), length / unit.per_length / scale, height, facecolor=color, edgecolor=color))
        rows.append(HPacker(children=[bar, words(place, "x-small")], align="center", pad=0, sep=4))
    title = words(f"≈ {length:g} {unit.name}", _text_size(ax))
    table = VPacker(children=[title, *rows], align="left", pad=0, sep=2)
    return AnchoredOffsetbox("lower left", child=table, pad=0.3, borderpad=0.4)


# marks the boxes of text that may be moved from corner to corner
_NOTE = "scgeoae note"


def _add_note(ax: Axes, note: AnchoredOffsetbox, z: NDArray[Any]) -> int:
    """Add a box of text to a corner, and return how many cells it hides."""
    note.patch.set(facecolor=_ground(ax), alpha=0.7, edgecolor="none")
    note.set_gid(_NOTE)
    note.set_zorder(10)
    ax.add_artist(note)
    return _place_notes(ax, z)[note]


def _place_notes(ax: Axes, z: NDArray[Any]) -> dict[AnchoredOffsetbox, int]:
    """Put each box of text in a corner where it hides the fewest cells, the largest first; return how many it hides."""
    free = ["lower left", "lower right", "upper left", "upper right"]
    notes: list[Any] = [artist for artist in ax.artists if artist.get_gid() == _NOTE]
    legend = ax.get_legend()
    others = [*ax.texts, *([legend] if legend else [])]
    hidden: dict[AnchoredOffsetbox, int] = {}
    for note in sorted(notes, key=lambda note: -math.prod(_size(ax, note))):
        counts = hidden_in_corners(ax, z, _size(ax, note), [*others, *hidden])
        corner = min(free, key=counts.__getitem__)
        free.remove(corner)
        note.loc = AnchoredOffsetbox.codes[corner]
        hidden[note] = counts[corner]
    return hidden


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
    extents = [_shares(ax, other.get_window_extent()) for other in others]
    hidden = {}
    for end, (bottom, top) in upward.items():
        for side, (left, right) in across.items():
            cells = int(np.count_nonzero((x >= left) & (x <= right) & (y >= bottom) & (y <= top)))
            met = sum(o.x0 < right and o.x1 > left and o.y0 < top and o.y1 > bottom for o in extents)
            hidden[f"{end} {side}"] = cells + met * len(z)
    return hidden


def _shares(ax: Axes, extent: BboxBase) -> BboxBase:
    """Return an extent in pixels as shares of the axes."""
    return extent.transformed(ax.transAxes.inverted())


def _size(ax: Axes, note: AnchoredOffsetbox) -> tuple[float, float]:
    """Return the width and height of a box of text and the gap between it and the border, as shares of the axes."""
    is_new = note.axes is None
    if is_new:  # a box finds its size through its axes
        ax.add_artist(note)
    extent = _shares(ax, note.get_window_extent())
    if is_new:
        note.remove()
    return extent.width, extent.height


def _text_size(ax: Axes) -> str:
    """Return the size of the text of a ruler: smaller in axes less than three inches wide."""
    return "small" if ax.get_window_extent().width >= 3 * ax.figure.figure.dpi else "x-small"


def _ground(ax: Axes) -> Any:
    """Return the color behind the cells: that of the axes, or of the figure if the axes have none."""
    color = ax.get_facecolor()
    is_clear = not ax.axison or to_rgba(color)[3] == 0
    return ax.figure.figure.get_facecolor() if is_clear else color


def _ink(ax: Axes) -> str:
    """Return black, or white on a dark ground."""
    red, green, blue, opacity = to_rgba(_ground(ax))
    return "white" if opacity and 0.299 * red + 0.587 * green + 0.114 * blue < 0.5 else "black"


def round_length(length: float) -> float:
    """Return the largest of 1, 2 or 5 times a power of ten that is not longer than `length`."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(max(step * power for step in (1, 2, 5) if step * power <= length * (1 + 1e-9)))
