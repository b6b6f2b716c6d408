"""Which part of the map is shown, and the ruler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from .._anndata.map import Unit


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
    """Return the box around the cells, including outliers only if `outliers`.

    A coordinate is an outlier if it lies beyond the 1% or 99% quantile by more than half the distance between the two.
    A handful of such cells would press all others into a corner. On a side with outliers, the box ends a fifth of that
    distance beyond the quantile.
    """
    low, high = z.min(0), z.max(0)
    if not outliers:
        inner_low, inner_high = np.quantile(z, [0.01, 0.99], axis=0)
        spread = (inner_high - inner_low).max()
        low = np.where(low < inner_low - spread / 2, inner_low - spread / 5, low)
        high = np.where(high > inner_high + spread / 2, inner_high + spread / 5, high)
    return Box(low, high)


def set_view(ax: Axes, z: NDArray[Any], box: Box) -> None:
    """Show `box` with equal scales on both axes, and mark the cells outside of it at the border."""
    size = ax.get_window_extent()
    center = (box.low + box.high) / 2
    # a margin of 4% on each side, then more as needed to match the shape of the axes
    half = (box.high - box.low) * 0.54
    half = np.maximum(half, box.longest * 1e-3)
    per_pixel = max(half[0] / size.width, half[1] / size.height)
    half = per_pixel * np.array([size.width, size.height])
    ax.set_xlim(center[0] - half[0], center[0] + half[0])
    ax.set_ylim(center[1] - half[1], center[1] + half[1])
    ax.set_aspect("equal", adjustable="box")

    for axis, sign, marker in ((0, -1, "<"), (0, 1, ">"), (1, -1, "v"), (1, 1, "^")):
        outside = sign * (z[:, axis] - center[axis]) > half[axis]
        if outside.any():
            at = np.clip(z[outside], center - 0.985 * half, center + 0.985 * half)
            ax.scatter(at[:, 0], at[:, 1], marker=marker, s=12, color="0.35", linewidths=0, zorder=4)


# Width and height of the bar with its text, as shares of the axes.
SIZE = (0.5, 0.12)


def add_ruler(ax: Axes, unit: Unit, z: NDArray[Any]) -> AnchoredSizeBar:
    """Add a scale bar of a round length, about a sixth of the width of the axes, where it covers few cells `z`."""
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    length = round_length((right - left) / 6 * unit.per_length)
    label = f"≈ {length:g} {unit.name}, on average" if unit.is_mean else f"{length:g} {unit.name}"
    if unit.spread is not None:
        label = f"≈ {length:g} {unit.name}, ± {100 * unit.spread:.0f}%"
    bar = AnchoredSizeBar(
        ax.transData,
        length / unit.per_length,
        label,
        _emptiest_corner(ax, z),
        frameon=True,
        pad=0.3,
        borderpad=0.4,
        sep=3,
        size_vertical=0.006 * (top - bottom),
        fill_bar=True,
        fontproperties={"size": "small"},
    )
    bar.patch.set(alpha=0.7, edgecolor="none")
    bar.set_zorder(10)
    ax.add_artist(bar)
    return bar


def _emptiest_corner(ax: Axes, z: NDArray[Any]) -> str:
    low, high = np.transpose([ax.get_xlim(), ax.get_ylim()])
    x, y = ((z - low) / (high - low)).T
    inside = (x >= 0) & (x <= 1) & (y >= 0) & (y <= 1)
    sides = {"left": x < SIZE[0], "right": x > 1 - SIZE[0]}
    ends = {"lower": y < SIZE[1], "upper": y > 1 - SIZE[1]}
    hidden = {
        f"{end} {side}": np.count_nonzero(inside & at_end & at_side)
        for end, at_end in ends.items()
        for side, at_side in sides.items()
    }
    return min(hidden, key=hidden.__getitem__)


def round_length(length: float) -> float:
    """Return the largest of 1, 2 or 5 times a power of ten that is not longer than `length`."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(max(step * power for step in (1, 2, 5) if step * power <= length * (1 + 1e-9)))
