"""One panel for each network whose metric is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt

from .._anndata.slots import SIDES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .._anndata.slots import Side


def sides_of(side: str, ax: Axes | None) -> tuple[Side, ...]:
    """Return the sides to draw, or say why they cannot be drawn on `ax`."""
    if isinstance(side, str) and side in SIDES:
        return (side,)
    if not isinstance(side, str) or side != "both":
        msg = f"Expected `side` to be 'decoder', 'encoder' or 'both', found {side!r}."
        raise ValueError(msg)
    if ax is not None:
        msg = "side='both' draws two panels, which one `ax` cannot hold; draw each side on its own axes."
        raise ValueError(msg)
    return SIDES


def panels_by_side(sides: tuple[Side, ...], ax: Axes | None) -> dict[Side, Axes | None]:
    """Return the axes to draw each side on, None for new ones; two new ones side by side for both."""
    if len(sides) == 1:
        return {sides[0]: ax}
    width, height = plt.rcParams["figure.figsize"]
    # room between the two for a colour bar
    _, axes = plt.subplots(1, 2, figsize=(2.3 * width, height), gridspec_kw={"wspace": 0.18})
    return dict(zip(SIDES, axes, strict=True))
