"""Which part of the map is shown."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.offsetbox import AnchoredText

from ._notes import add_note, ink_on

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from .._anndata.map import Unit

# The middle 95% of the cells, on each axis, fill at least this share of a panel of the shape of the map.
SHARE = 0.48
# Margin around the box on each side, as a share of its width and height.
MARGIN = 0.04
# A panel of the shape of the map is at most this many times as wide as high, or as high as wide.
LONGEST = 3.0
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
        style = {"size": "x-small", "color": ink_on(ax), "parse_math": False}
        add_note(ax, AnchoredText(words, "lower left", pad=0.2, borderpad=0.3, prop=style), z)


def set_view_3d(ax: Any, z: NDArray[Any], box: Box, unit: Unit | None, *, groups: pd.Series | None = None) -> None:
    """Show `box` with equal scales on all three axes, and say in a corner what lies outside and how long it is."""
    center = (box.low + box.high) / 2
    half = (box.high - box.low) * (0.5 + MARGIN)
    half = np.maximum(half, half.max() / LONGEST)
    ax.set(**{f"{axis}lim": (c - h, c + h) for axis, c, h in zip("xyz", center, half, strict=True)})
    # the labels of the axes would lie over the legend
    ax.set_box_aspect(half.tolist(), zoom=0.85)
    lines = []
    is_inside = box.holds(z)
    if not is_inside.all():
        lines.append(outside(ax, is_inside, missing_groups(groups, is_inside)))
    if unit is not None:
        edges = " × ".join(f"{float(f'{2 * h * unit.per_length:.2g}'):g}" for h in half)
        about = "≈ " if unit.is_mean else ""
        lines.append(f"edges: {about}{edges} {unit.name}")
    if lines:
        # labels of the axes are in the corners below
        style = {"size": "x-small", "color": ink_on(ax), "parse_math": False}
        ax.text2D(1, 1, "\n".join(lines), ha="right", va="top", transform=ax.transAxes, **style)


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
        words += f": all of {in_words(missing)}"
    return textwrap.fill(words, max(int(LETTERS * ax.get_window_extent().width / ax.figure.figure.dpi), 20))


def in_words(names: Sequence[str]) -> str:
    """Return a list of groups for a sentence, the first few by name."""
    shown = list(names[:MAX_NAMES])
    if (n_more := len(names) - MAX_NAMES) > 0:
        shown.append(f"{n_more} more group{'' if n_more == 1 else 's'}")
    return f"{', '.join(shown[:-1])}{' and ' if shown[:-1] else ''}{shown[-1]}"
