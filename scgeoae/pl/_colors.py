"""Where the colors begin and end."""

from __future__ import annotations

import re
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    # as Scanpy takes it
    Bound = float | str | Callable[[NDArray], float]


def color_bound(bound: Bound, values: NDArray, argument: str) -> float:
    """Return where colors begin or end: a number, a percentile of the values such as ``"p99"``, a function of them."""
    percentile = re.fullmatch(r"p(\d+(\.\d*)?)", bound) if isinstance(bound, str) else None
    value = np.percentile(values, float(percentile[1])) if percentile else bound(values) if callable(bound) else bound
    if not isinstance(value, Real) or not np.isfinite(value):
        msg = (
            f"Expected `{argument}` to be a number, a percentile such as 'p99' or a function that returns a number, "
            f"found {value!r}."
        )
        raise ValueError(msg)
    return float(value)


def color_limit(vmax: Bound | None, columns: Iterable[NDArray], *, default: str, least: float) -> float:
    """Return the largest absolute value that colors show; by default the percentile `default`, but at least `least`."""
    sizes = [np.abs(column) for column in columns]
    if vmax is None:
        return max(*(color_bound(default, size, "vmax") for size in sizes), least)
    limit = max(color_bound(vmax, size, "vmax") for size in sizes)
    if limit <= 0:
        msg = f"Expected `vmax` to be None or > 0, found {vmax!r}, which is {limit:g}."
        raise ValueError(msg)
    return limit
