"""Standardize a matrix, in one pass over it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._matrix import blocks, digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Range of the scale: errors and their sums over features are its square, which float32 must hold.
SMALLEST, LARGEST = 1e-15, 1e15


class Standardization(NamedTuple):
    """The standardization x = (raw − center)/scale of a matrix."""

    center: NDArray[np.float64]
    """(D,)"""
    scale: float
    """Root of the mean variance of the features. It is ONE number, so that distances keep their meaning."""
    digest: str
    """Digest of the rows that were asked for, as float32, which tells them from others."""

    def standardize(self, raw: NDArray[Any]) -> NDArray[np.float32]:
        """Return (raw − center)/scale of any rows.

        They are centered in float64 before they are rounded to float32, so that a small variation on a large offset
        survives.
        """
        return ((raw - self.center) / self.scale).astype(np.float32)


def standardize_rows(
    raw: Any, rows: NDArray[np.integer], *, name: str = "the matrix"
) -> tuple[Standardization, NDArray[np.float32]]:
    """Return the standardization of an (n, D) matrix, and its `rows` (m, D), which are in ascending order.

    One pass over the blocks, whose means and sums of squares are combined after Chan, Golub & LeVeque (1979), so that
    neither the offset nor the size of the data costs digits.

    Parameters
    ----------
    raw
        Any matrix that can be read in `blocks`.
    rows
        Row numbers.
    name
        What a message calls the matrix.

    Raises
    ------
    ValueError
        If there are NaN or infinite values, if all rows are equal, or if they vary by less than 1e-15 or more than
        1e15.
    """
    n, n_features = raw.shape
    mean, total, taken = np.zeros(n_features), 0.0, np.empty((len(rows), n_features))
    first, is_constant, n_bad = None, True, 0
    for start, block in blocks(raw):
        first = block[:1] if first is None else first
        with np.errstate(invalid="ignore"):
            block_mean = block.mean(axis=0, dtype=np.float64)
        if not np.isfinite(block_mean).all():
            n_bad += int(np.count_nonzero(~np.isfinite(block).all(axis=1)))
            continue
        is_constant = is_constant and bool((block == first).all())
        step = block_mean - mean
        total += np.square(block - block_mean).sum() + np.square(step).sum() * (
            start * len(block) / (start + len(block))
        )
        mean += step * (len(block) / (start + len(block)))
        here = slice(*np.searchsorted(rows, [start, start + len(block)]))
        taken[here] = block[rows[here] - start]
    if n_bad:
        msg = f"{n_bad} of {n} cells have NaN or infinite values in {name}; drop these cells or recompute it."
        raise ValueError(msg)
    if is_constant:
        msg = f"All {n} cells are equal in {name}, so there is no structure in it."
        raise ValueError(msg)
    found = Standardization(mean, float(np.sqrt(total / (n * n_features))), digest(taken.astype(np.float32)))
    if not SMALLEST <= found.scale <= LARGEST:
        msg = (
            f"The values in {name} vary by {found.scale:.1e}, and float32 does not hold the square of this: divide "
            f"them by one number, so that they vary by something between {SMALLEST:g} and {LARGEST:g}."
        )
        raise ValueError(msg)
    return found, found.standardize(taken)
