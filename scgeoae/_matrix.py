"""Rows of a matrix, in memory or on disk, dense or sparse."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

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


def in_memory(matrix: Any) -> Any:
    """Return a NumPy array or a SciPy sparse matrix, from disk or lazy forms too."""
    for to_memory in ("to_memory", "compute"):
        if hasattr(matrix, to_memory):
            matrix = getattr(matrix, to_memory)()
    return matrix if sparse.issparse(matrix) else dense(matrix)


def blocks(matrix: Any, columns: NDArray[np.intp] | None = None) -> Iterator[tuple[int, NDArray]]:
    """Yield the rows of an (n, D) matrix as dense arrays of about four million numbers, with where each starts.

    Of some `columns` only, if these are given.

    Whatever has a shape and gives rows to a slice: arrays of NumPy and Dask, sparse matrices, datasets of HDF5 and
    zarr files, and those that an AnnData on disk has.
    """
    for start, rows in _rows(matrix):
        yield start, dense(rows if columns is None else in_memory(rows)[:, columns])


def row_sums(matrix: Any) -> NDArray[np.float64]:
    """Return the sums of the rows of an (n, D) matrix of which there are `blocks`, (n,)."""
    sums = [np.asarray(in_memory(rows).sum(axis=1), dtype=np.float64).ravel() for _, rows in _rows(matrix)]
    return np.concatenate([np.empty(0), *sums])


def _rows(matrix: Any) -> Iterator[tuple[int, Any]]:
    n, n_features = matrix.shape
    step = max(1, BLOCK_SIZE // max(n_features, 1))
    for start in range(0, n, step):
        yield start, matrix[start : start + step]


def spread_rows(n: int, most: int) -> NDArray[np.intp]:
    """Return the numbers of at most `most` of n rows, evenly spaced, in ascending order."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.intp))


def digest(values: NDArray) -> str:
    """Return 16 characters by which the values of an array are told from others.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae._matrix import digest
    >>> digest(np.arange(3)) == digest(np.arange(3)[::-1])
    False
    """
    return blake2b(np.ascontiguousarray(values), digest_size=8).hexdigest()


def digest_of_rows(matrix: Any) -> str:
    """Return the digest of a matrix of which there are `blocks`, as float32, which is never dense as a whole."""
    found = blake2b(digest_size=8)
    for _, block in blocks(matrix):
        found.update(np.ascontiguousarray(block, dtype=np.float32))
    return found.hexdigest()
