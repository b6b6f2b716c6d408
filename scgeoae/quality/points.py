"""The positions and labels of cells, checked once where they come in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from sklearn.utils.sparsefuncs import min_max_axis

from .._matrix import is_stored, row_blocks
from .distances import MAX_COLUMNS_ONE_BY_ONE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import ArrayLike, NDArray

    from .distances import Points

MIN_CELLS = 21
"""With fewer, a neighborhood of 10 cells is half of all cells or more."""


def checked_points(
    x: ArrayLike | sparse.sparray | sparse.spmatrix, embeddings: Mapping[str, ArrayLike]
) -> tuple[Any, dict[str, Any], int]:
    """Return the representation and the embeddings as real arrays, CSR where sparse, and the number of cells.

    What is lazy or on disk is read in blocks to check it, and returned as it is.
    """
    checked_x = _checked(x, "x")
    n = checked_x.shape[0]
    return checked_x, {name: _checked(z, name, n) for name, z in embeddings.items()}, n


def _checked(points: ArrayLike | sparse.sparray | sparse.spmatrix, name: str, n: int | None = None) -> Any:
    if is_stored(points):
        _check(points, name, n, (as_points(rows) for _, rows in row_blocks(points)))
        return points
    points = as_points(points)
    _check(points, name, n, [points])
    return points


def as_points(points: ArrayLike | sparse.sparray | sparse.spmatrix) -> Any:
    """Return points as a real array, CSR if they are sparse."""
    points = sparse.csr_array(points) if sparse.issparse(points) else np.asarray(points)
    return points if points.dtype == np.float32 else points.astype(np.float64, copy=False)


def _check(points: Any, name: str, n: int | None, blocks: Iterable[Any]) -> None:
    """Raise if something is wrong with points, whose rows are in `blocks`."""
    if len(points.shape) != 2 or not points.shape[1]:
        msg = f"Expected {name!r} to be of shape (cells, dimensions), found {points.shape}."
        raise ValueError(msg)
    n_cells = points.shape[0]
    if n is not None and n_cells != n:
        msg = f"Expected {name!r} to have {n} rows like the representation, found {n_cells}."
        raise ValueError(msg)
    if n_cells < MIN_CELLS:
        msg = f"Expected at least {MIN_CELLS} cells, twice a neighborhood of 10, found {n_cells}."
        raise ValueError(msg)
    n_bad, low, high = 0, np.array(np.inf), np.array(-np.inf)
    for block in blocks:
        n_bad += _count_not_finite(block)
        lowest, highest = _range(block)
        low, high = np.minimum(low, lowest), np.maximum(high, highest)
    if n_bad:
        msg = f"{n_bad} of {n_cells} cells have NaN or infinite values in {name!r}."
        raise ValueError(msg)
    if (low == high).all():
        msg = f"All {n_cells} cells are equal in {name!r}, so there is nothing to measure."
        raise ValueError(msg)


def _count_not_finite(points: Any) -> int:
    if sparse.issparse(points):
        bad = np.flatnonzero(~np.isfinite(points.data))
        return len(np.unique(np.searchsorted(points.indptr, bad, side="right")))
    return int(np.count_nonzero(~np.isfinite(points).all(1)))


def _range(points: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the lowest and the highest value of each column."""
    return min_max_axis(points, axis=0) if sparse.issparse(points) else (points.min(0), points.max(0))


def checked_labels(labels: ArrayLike, n: int) -> NDArray[np.intp]:
    """Return the label of each of n cells as a number from 0."""
    labels = np.asarray(labels)
    if labels.shape != (n,):
        msg = f"Expected `labels` to be of shape ({n},), found {labels.shape}."
        raise ValueError(msg)
    return np.unique(labels, return_inverse=True)[1]


def in_double_precision(points: Any, center: NDArray[np.float64] | None = None) -> Points:
    """Return a copy of the points for `scgeoae.quality.distances.distances`.

    Where that uses matrix products, dense points are centered. This is at the medians, so that whole numbers stay
    exact, and with them equal distances. If these are only some of the points, give their common `center`.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality.points import in_double_precision
    >>> in_double_precision(np.array([[1], [2], [6]])).ravel()
    array([1., 2., 6.])
    """
    points = points.astype(np.float64)
    if sparse.issparse(points):
        # this also sorts the columns
        points.sum_duplicates()
        points.eliminate_zeros()
    elif points.shape[1] > MAX_COLUMNS_ONE_BY_ONE:
        points -= np.median(points, axis=0) if center is None else center
    return points


def count_equal(points: Points) -> int:
    """Return how many cells have the position of another one.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality.points import count_equal
    >>> count_equal(np.array([[1.0, 2.0], [0.0, 3.0], [1.0, 2.0]]))
    2
    """
    rows: Iterator[Any]
    if isinstance(points, sparse.csr_array):
        ends = zip(points.indptr[:-1], points.indptr[1:], strict=True)
        rows = ((points.indices[a:b].tobytes(), points.data[a:b].tobytes()) for a, b in ends)
    else:
        # adding 0 makes -0 equal to 0
        rows = ((row + 0.0).tobytes() for row in points)
    keys = np.fromiter(map(hash, rows), dtype=np.int64, count=points.shape[0])
    counts = np.unique(keys, return_counts=True)[1]
    return int(counts[counts > 1].sum())
