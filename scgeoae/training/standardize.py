"""Bring a representation to mean 0 and one global scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Standardized(NamedTuple):
    """The matrix x = (raw − center)/scale and what it takes to undo it."""

    x: NDArray[np.float32]
    center: NDArray[np.float64]
    """(D,)"""
    scale: float
    """Root of the mean variance of the features: ONE number, so that distances keep their meaning."""


def standardize(raw: NDArray, *, chunk_size: int = 16384) -> Standardized:
    """Standardise an (n, D) matrix of any real type.

    Centred in float64 before it is rounded to float32, so that a small variation on a large
    offset survives; in chunks, so that no float64 copy of the whole is made.
    """
    center = raw.mean(axis=0, dtype=np.float64)
    x = np.empty(raw.shape, dtype=np.float32)
    starts = range(0, len(raw), chunk_size)
    total = sum(np.square(raw[i : i + chunk_size] - center).sum() for i in starts)
    scale = float(np.sqrt(total / raw.size))
    for i in starts:
        x[i : i + chunk_size] = (raw[i : i + chunk_size] - center) / scale
    return Standardized(x, center, scale)
