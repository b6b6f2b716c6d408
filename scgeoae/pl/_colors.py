"""Where the colors begin and end."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    # as Scanpy takes it
    Bound = float | str | Callable[[NDArray], float]


def color_bound(bound: Bound, values: NDArray) -> float:
    """Return where colors begin or end: a number, a percentile of the values such as ``"p99"``, a function of them."""
    if isinstance(bound, str) and (percentile := re.fullmatch(r"p(\d+(\.\d*)?)", bound)):
        return float(np.percentile(values, float(percentile[1])))
    return float(bound(values) if callable(bound) else bound)


def color_limit(vmax: Bound | None, columns: Iterable[NDArray], *, default: str, least: float) -> float:
    """Return the largest absolute value that colors show; by default the percentile `default`, but at least `least`."""
    sizes = [np.abs(column) for column in columns]
    if vmax is None:
        return max(*(color_bound(default, size) for size in sizes), least)
    return max(color_bound(vmax, size) for size in sizes)
