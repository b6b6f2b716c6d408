"""No slot gets a number that is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping


def check_finite(slots: Mapping[str, Any]) -> None:
    """Say which of the arrays, with a row for each cell, is about to be written with values that are not finite.

    Raises
    ------
    RuntimeError
        If one is.
    """
    for slot, values in slots.items():
        if values is None:
            continue
        bad = ~np.isfinite(np.asarray(values)).reshape(len(values), -1).all(1)
        if bad.any():
            msg = (
                f"{bad.sum()} of {len(bad)} cells, the first of them in row {bad.argmax()}, would have values that are "
                f"not finite in {slot}, and nothing was written: the model there is beyond float32. Train it with a "
                "lower learning rate or strength, or without cells that are far from all others."
            )
            raise RuntimeError(msg)


def check_positive(slots: Mapping[str, Any]) -> None:
    """Say which of the (n, d, d) tensors are about to be written as zero.

    Raises
    ------
    RuntimeError
        If one is.
    """
    for slot, metric in slots.items():
        zero = np.trace(metric, axis1=1, axis2=2) < np.finfo(np.float32).tiny
        if zero.any():
            msg = (
                f"{zero.sum()} of {len(zero)} cells, the first of them in row {zero.argmax()}, would have tensors in "
                f"{slot} that are zero in float32, and nothing was written: the data do not vary there, or less than "
                "1e-19 times as much as the map. Divide the larger of the two by a number."
            )
            raise RuntimeError(msg)
