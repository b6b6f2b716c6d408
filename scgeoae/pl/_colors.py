"""Limits of color scales."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    # the forms that Scanpy accepts
    Bound = float | str | Callable[[NDArray[Any]], float]


def color_bound(bound: Bound, values: NDArray[Any]) -> float:
    """Return a limit of the colors, given as a number, a percentile such as ``"p99"``, or a function of the values."""
    if isinstance(bound, str) and (percentile := re.fullmatch(r"p(\d+(\.\d*)?)", bound)):
        return float(np.percentile(values, float(percentile[1])))
    return float(bound(values) if callable(bound) else bound)


def color_limit(vmax: Bound | None, columns: Iterable[NDArray[Any]], *, default: str, least: float) -> float:
    """Return the largest absolute value of the colors, by default the percentile `default`, and at least `least`."""
    sizes = [np.abs(column) for column in columns]
    if vmax is None:
        return max(*(color_bound(default, size) for size in sizes), least)
    return max(color_bound(vmax, size) for size in sizes)
