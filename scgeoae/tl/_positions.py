from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def checked_positions(positions: ArrayLike, d: int, name: str, *, or_else: str = "") -> NDArray[np.float32]:
    """Return finite (m, d) positions on a map, one of shape (d,) as (1, d), or say that the argument `name` is none."""
    try:
        found = np.asarray(positions, dtype=np.float32)
    except (TypeError, ValueError):
        found = np.empty(0, dtype=np.float32)
    if found.shape == (d,):
        found = found[None]
    if found.ndim != 2 or found.shape[1] != d or not len(found) or not np.isfinite(found).all():
        shown = f"an array of shape {found.shape}" if found.size else repr(positions)
        msg = f"Expected `{name}` to be {or_else}finite positions of shape (m, {d}), found {shown}."
        raise ValueError(msg)
    return found
