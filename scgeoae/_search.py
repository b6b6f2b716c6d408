"""Search for the nearest of many cells: matrix products find candidates, and distances one by one decide."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numba import float32, njit

from ._runtime import one_blas_thread, parallel_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Numbers in a table of products: 8 MB, which a core's share of the cache holds.
TABLE_SIZE = 2**21
# Points that a thread takes at a time.
BLOCK = 256
# So many more are found by products than are asked for.
N_SPARE = 8
# Columns of products whose minimum is taken together: `ROWS` rows of `LANES` columns, of which each lane keeps its own.
LANES, ROWS = 32, 32
TWO = np.float32(2)


class Search:
    """The nearest of (m, D) cells to any points, exactly.

    Products of float32 round differently for other numbers of points. They only exclude cells that are certainly
    farther; distances are computed pair by pair, and equal ones are in the order of the cells. So the neighbors of a
    point do not depend on the points that come with it.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae._search import Search
    >>> Search(np.array([[0], [1], [3]], dtype=np.float32)).nearest(np.array([[2.5]], dtype=np.float32), 2)[0]
    array([[2, 1]], dtype=int32)
    """

    def __init__(self, cells: NDArray[np.float32]) -> None:
        self.cells = cells
        # squares of long vectors would leave no digits to distances between near cells
        self.middle = cells.mean(0, dtype=np.float64).astype(np.float32)
        centered = cells - self.middle
        self.squares = np.einsum("ij,ij->i", centered, centered)
        self.radius = np.sqrt(self.squares.max(initial=0))
        self.columns = np.ascontiguousarray(centered.T)

    def nearest(self, points: NDArray[np.float32], k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the rows of the `k` nearest cells of each of (n, D) points, nearest first, and the distances, (n, k).

        The calling thread does all of it; matrix products should not use more (`_runtime.one_blas_thread`).
        """
        m, d = self.cells.shape
        n, n_found = len(points), min(k + N_SPARE, m)
        indices, distances = np.empty((n, k), dtype=np.int32), np.empty((n, k), dtype=np.float32)
        step = max(TABLE_SIZE // m, 1)
        table = np.empty((min(step, n), m), dtype=np.float32)
        for start in range(0, n, step):
            rows = slice(start, start + step)
            centered = points[rows] - self.middle
            products = np.matmul(centered, self.columns, out=table[: len(centered)])
            length = np.sqrt(np.einsum("ij,ij->i", centered, centered))
            # the largest error of a squared distance by products (Higham 2002, section 3.1)
            error = np.float32(d * 2.0**-23) * np.square(length + self.radius)
            found, beyond = _select(products, self.squares, n_found)
            beyond += np.square(length) - error
            _arrange(points[rows], self.cells, found, beyond, indices[rows], distances[rows])
        return indices, distances


def nearest(search: Search, points: NDArray[np.float32], k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return what `search` finds for (n, D) points, on all threads."""
    indices, distances = np.empty((len(points), k), dtype=np.int32), np.empty((len(points), k), dtype=np.float32)

    def find(start: int, stop: int) -> None:
        indices[start:stop], distances[start:stop] = search.nearest(points[start:stop], k)

    with one_blas_thread():
        parallel_blocks(find, len(points), block=BLOCK, n_threads=torch.get_num_threads())
    return indices, distances


@njit(nogil=True, fastmath=True, cache=True, error_model="numpy")
def _select(products, squares, k):
    """Return the k cells j with the smallest ``squares[j] - 2 products[i, j]`` for each i, and a bound of all others.

    The minima of groups of cells say which groups can have one of them; these are the only ones that are looked
    through.
    """
    n, m = products.shape
    per_band = LANES * ROWS
    n_lanes = -(-m // per_band) * LANES
    found, beyond = np.zeros((n, k), np.int32), np.empty(n, np.float32)
    lowest, value = np.empty(n_lanes, np.float32), np.empty(k, np.float32)
    for i in range(n):
        lowest[:] = np.finfo(np.float32).max
        row = products[i]
        for band in range(m // per_band):
            low = lowest[band * LANES : (band + 1) * LANES]
            for first in range(band * per_band, (band + 1) * per_band, LANES):
                for lane in range(LANES):
                    low[lane] = min(low[lane], squares[first + lane] - TWO * row[first + lane])
        for j in range(m // per_band * per_band, m):
            lane = m // per_band * LANES + j % LANES
            lowest[lane] = min(lowest[lane], squares[j] - TWO * row[j])
        # the k-th smallest minimum is a bound, as each is that of another cell
        value[:] = np.finfo(np.float32).max
        for lane in range(n_lanes):
            if lowest[lane] < value[k - 1]:
                _insert(value, found[i], lowest[lane], 0)
        bound = value[k - 1]
        value[:] = np.finfo(np.float32).max
        count = 0
        for group in range(n_lanes):
            if lowest[group] <= bound:
                first = group // LANES * per_band + group % LANES
                for j in range(first, min(first + per_band, m), LANES):
                    v = squares[j] - TWO * row[j]
                    if v <= bound and (count < k or v < value[k - 1]):
                        _insert(value, found[i], v, j)
                        count += 1
                        if count >= k:
                            bound = value[k - 1]
        beyond[i] = bound if k < m else np.finfo(np.float32).max
    return found, beyond


@njit(inline="always")
def _insert(value, found, v, j):
    """Insert a value and its cell into lists in ascending order, whose last entries drop out."""
    at = len(value) - 1
    while at > 0 and value[at - 1] > v:
        value[at], found[at] = value[at - 1], found[at - 1]
        at -= 1
    value[at], found[at] = v, j


@njit(nogil=True, fastmath=True, cache=True, error_model="numpy")
def _square(points, i, cells, j):
    total = float32(0)
    for a in range(points.shape[1]):
        total += (points[i, a] - cells[j, a]) ** 2
    return total


@njit(nogil=True, cache=True, error_model="numpy")
def _arrange(points, cells, found, beyond, indices, distances):
    """Write the nearest of the cells that were `found` for each point, or of all cells if these can be nearer.

    ``beyond`` bounds the squared distances of all others.
    """
    k, most = indices.shape[1], found.shape[1]
    value = np.empty(most, np.float32)
    for i in range(len(points)):
        value[:] = np.inf
        for column in range(most):
            j = found[i, column]
            _place(value, found[i], column, _square(points, i, cells, j), j)
        if value[k - 1] >= beyond[i]:
            value[:] = np.inf
            for j in range(len(cells)):
                square = _square(points, i, cells, j)
                if square < value[most - 1] or j < most:
                    _place(value, found[i], min(j, most - 1), square, j)
        for column in range(k):
            indices[i, column] = found[i, column]
            distances[i, column] = np.sqrt(value[column])


@njit(inline="always")
def _place(value, found, at, v, j):
    """Insert a value at its place among the first `at`; of equal ones the first cell comes first."""
    while at > 0 and (value[at - 1] > v or (value[at - 1] == v and found[at - 1] > j)):
        value[at], found[at] = value[at - 1], found[at - 1]
        at -= 1
    value[at], found[at] = v, j
