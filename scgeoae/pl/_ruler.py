"""The ruler: a scale bar for maps with a unit of length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from .._anndata.map import Unit


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
