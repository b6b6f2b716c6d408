"""Numbers of slots, in whatever form somebody else has put them there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from .._matrix import dense

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
    return np.array(values, dtype=_real_type(values, name), order="C")


def real_graph(values: Any, name: str) -> sparse.csr_matrix:
    """Return an (n, n) matrix of `obsp` as a sparse one, in float32 or float64.

    Raises
    ------
    TypeError
        If it is no matrix of real numbers.
    """
    values = values if sparse.issparse(values) else dense(values)
    kind = _real_type(values, name)
    # of arrays whose type SciPy does not know, such as float16
    return sparse.csr_matrix(values if sparse.issparse(values) else values.astype(kind), dtype=kind)


def _real_type(values: Any, name: str) -> type[np.floating]:
    """Return the type that holds the numbers of a matrix, or say that it has none."""
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind not in "biuf" or values.ndim != 2:
        msg = f"Expected {name} to be a matrix of real numbers, found one of {values.dtype} and shape {values.shape}."
        raise TypeError(msg)
    return np.float32 if kind == "b" or (kind == "f" and size <= 4) else np.float64
