"""Rows of a matrix, wherever it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# Numbers in a block: 32 MB as float64.
BLOCK_SIZE = 2**22


def dense(matrix: Any) -> NDArray:
    """Return a matrix, or rows of it, as a NumPy array in memory, from sparse, lazy and on-disk forms too.

    Sums and products round in the order in which numbers lie in memory. So these always lie row by row, in the byte
    order of the machine, and are copied only where they do not yet.
    """
    for to_memory in ("to_memory", "compute", "toarray", "to_numpy"):
        if hasattr(matrix, to_memory):
            matrix = getattr(matrix, to_memory)()
    array = np.asarray(matrix)
    return array.astype(array.dtype.newbyteorder("="), order="C", copy=False)


def blocks(matrix: Any) -> Iterator[tuple[int, NDArray]]:
    """Yield the rows of an (n, D) matrix as dense arrays of about four million numbers, with where each starts.

    Whatever has a shape and gives rows to a slice: arrays of NumPy and Dask, sparse matrices, datasets of HDF5 and
    zarr files, and those that an AnnData on disk has.
    """
    n, n_features = matrix.shape
    step = max(1, BLOCK_SIZE // max(n_features, 1))
    for start in range(0, n, step):
        yield start, dense(matrix[start : start + step])
