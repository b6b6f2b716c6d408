"""Read the rows of matrices in memory or on disk, dense or sparse."""

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


def loaded(value: Any) -> Any:
    """Return a matrix or data frame that may be lazy or on disk in memory; anything else as it is."""
    for to_memory in ("to_memory", "compute"):
        if hasattr(value, to_memory):
            value = getattr(value, to_memory)()
    return value


def dense(matrix: Any) -> NDArray[Any]:
    """Return a dense, sparse, lazy or on-disk matrix, or rows of it, as a NumPy array in memory.

    Sums and products round in the order of numbers in memory, so the array always has the order of rows and the byte
    order of the machine. It is copied only if necessary.
    """
    matrix = loaded(matrix)
    for to_array in ("toarray", "to_numpy"):
        if hasattr(matrix, to_array):
            matrix = getattr(matrix, to_array)()
    array = np.asarray(matrix)
    return array.astype(array.dtype.newbyteorder("="), order="C", copy=False)


def in_memory(matrix: Any) -> Any:
    """Return a matrix, which may be lazy or on disk, as a NumPy array or a SciPy sparse matrix."""
    matrix = loaded(matrix)
    return matrix if sparse.issparse(matrix) else dense(matrix)


def blocks(matrix: Any, columns: NDArray[np.intp] | None = None) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield the rows of an (n, D) matrix as dense blocks of about four million numbers, with the start of each.

    The matrix can be anything with a shape and slices of rows: arrays of NumPy and Dask, sparse matrices, datasets of
    HDF5 and zarr files, and matrices of an AnnData on disk. If `columns` are given, only these are returned.
    """
    for start, rows in _rows(matrix):
        yield start, dense(rows if columns is None else in_memory(rows)[:, columns])


def row_blocks(matrix: Any) -> Iterator[tuple[int, Any]]:
    """Yield the rows as `blocks` does, sparse if the matrix is."""
    for start, rows in _rows(matrix):
        yield start, in_memory(rows)


def is_stored(matrix: Any) -> bool:
    """Whether a matrix is lazy or on disk: a Dask array, a dataset of a file, or a sparse matrix in one."""
    return hasattr(matrix, "chunks") or hasattr(matrix, "to_memory")


def row_sums(matrix: Any) -> NDArray[np.float64]:
    """Return the sums of the rows of an (n, D) matrix, (n,), read in `blocks`."""
    sums = [np.asarray(rows.sum(axis=1), dtype=np.float64).ravel() for _, rows in row_blocks(matrix)]
    return np.concatenate([np.empty(0), *sums])


def _rows(matrix: Any) -> Iterator[tuple[int, Any]]:
    n, n_features = matrix.shape
    step = max(1, BLOCK_SIZE // max(n_features, 1))
    for start in range(0, n, step):
        yield start, matrix[start : start + step]


def spread_rows(n: int, most: int) -> NDArray[np.intp]:
    """Return the indices of at most `most` of n rows, evenly spaced, in ascending order."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(np.intp))


def digest(values: NDArray[Any]) -> str:
    """Return 16 characters that identify the values of an array.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae._matrix import digest
    >>> digest(np.arange(3)) == digest(np.arange(3)[::-1])
    False
    """
    return blake2b(np.ascontiguousarray(values).data, digest_size=8).hexdigest()


def digest_of_rows(matrix: Any) -> str:
    """Return the digest of a matrix as float32, read in `blocks`, so that it is never dense as a whole."""
    found = blake2b(digest_size=8)
    for _, block in blocks(matrix):
        # numbers beyond float32 are infinite
        with np.errstate(over="ignore"):
            found.update(np.ascontiguousarray(block, dtype=np.float32).data)
    return found.hexdigest()
