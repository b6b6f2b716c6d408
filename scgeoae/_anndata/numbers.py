"""Numbers of slots, in whatever form somebody else has put them there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..training.blocks import dense

if TYPE_CHECKING:
    from numpy.typing import NDArray


def real_matrix(values: Any, name: str) -> NDArray:
    """Return a copy of an (n, d) matrix as torch takes it, in float32 or float64.

    It may be sparse, lazy, on disk or a data frame; a view in another order, of another byte order, or of integers.

    Raises
    ------
    TypeError
        If it is no matrix of real numbers.
    """
    values = dense(values)
    if values.dtype.kind not in "biuf" or values.ndim != 2:
        msg = f"Expected {name} to be a matrix of real numbers, found one of {values.dtype} and shape {values.shape}."
        raise TypeError(msg)
    is_single = values.dtype.kind == "b" or (values.dtype.kind == "f" and values.itemsize <= 4)
    return np.array(values, dtype=np.float32 if is_single else np.float64, order="C")
