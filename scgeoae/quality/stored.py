"""Points that stay on disk: memory holds a sample of them, and one block of rows at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from .._matrix import row_blocks
from .._runtime import parallel_blocks
from .distances import BLOCK, MAX_COLUMNS_ONE_BY_ONE, diameter_of, distances, radii, squared_norms, thread_count
from .points import as_points, in_double_precision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from .distances import Points

    Floats = NDArray[np.float64]

# Distances that are gathered before they are ranked: 0.5 GB. With more of them, the points are read less often.
GATHERED = 2**26


class StoredPoints:
    """Points in a matrix that is lazy or on disk, in another order.

    They are as `in_double_precision` makes them in memory, but centered at the medians of the sample, which changes
    distances by rounding errors alone.

    Parameters
    ----------
    matrix
        (n, D) points of any kind that `scgeoae._matrix.row_blocks` reads.
    order
        (n,) rows of the matrix, in the order that the points have here.
    m
        Number of points that memory holds, the first of them.
    """

    def __init__(self, matrix: Any, order: NDArray[np.intp], m: int) -> None:
        self.matrix, self.n = matrix, len(order)
        self.number = np.argsort(order)
        # without a center they stay where they are
        self.center = np.zeros(matrix.shape[1])
        self.sample = self._take(np.arange(m))
        if isinstance(self.sample, np.ndarray) and matrix.shape[1] > MAX_COLUMNS_ONE_BY_ONE:
            self.center = np.median(self.sample, axis=0)
            self.sample -= self.center
        self.squares = np.empty(self.n)
        total = np.zeros(matrix.shape[1])
        for own, block in self._blocks():
            self.squares[own] = squared_norms(block)
            total += block.sum(0)
        self.mean = total / self.n

    def _blocks(self) -> Iterator[tuple[NDArray[np.intp], Points]]:
        """Yield blocks of points with their numbers, in the order of the matrix."""
        for start, rows in row_blocks(self.matrix):
            own = self.number[start : start + rows.shape[0]]
            yield own, in_double_precision(as_points(rows), center=self.center)

    def _take(self, numbers: NDArray[np.intp]) -> Points:
        """Return some points, given by their numbers in ascending order."""
        is_wanted = np.zeros(self.n, dtype=bool)
        is_wanted[numbers] = True
        found = [(own[is_wanted[own]], block[is_wanted[own]]) for own, block in self._blocks()]
        order = np.argsort(np.concatenate([own for own, _ in found]))
        points = [block for _, block in found]
        joined = sparse.vstack(points, format="csr") if sparse.issparse(points[0]) else np.concatenate(points)
        return joined[order]

    def _compare(self, points: Points, work: Callable[[NDArray[np.intp], Floats], None]) -> None:
        """Call `work` with the numbers of some points and their distances from (m, D) `points`, until it had all."""
        for own, block in self._blocks():

            def measure(start: int, stop: int, own: NDArray[np.intp] = own, block: Points = block) -> None:
                part = own[start:stop]
                work(part, distances(points, block[start:stop], self.squares[part]))

            step = max(BLOCK // points.shape[0], 1)
            parallel_blocks(measure, len(own), block=step, n_threads=thread_count())

    def diameter(self) -> float:
        """Return the `scgeoae.quality.distances.diameter` with the sample as the first points."""
        products = np.empty(self.n)
        for own, block in self._blocks():
            products[own] = block @ self.mean

        def farthest(numbers: NDArray[np.intp]) -> Floats:
            largest: list[Floats] = [np.zeros(len(numbers))]
            if len(numbers):
                self._compare(self._take(numbers), lambda _, found: largest.append(found.max(1)))
            return np.max(largest, axis=0)

        return diameter_of(radii(self.squares, products, self.mean), self.sample.shape[0], farthest)

    def distances(self, m: int) -> Iterator[tuple[NDArray[np.intp], Floats]]:
        """Yield the numbers of the first m points, some at a time, with their distances to all."""
        step = max(GATHERED // self.n, 1)
        for start in range(0, m, step):
            own = np.arange(start, min(start + step, m))
            is_sampled = own[-1] < self.sample.shape[0]
            found = np.empty((len(own), self.n))

            def fill(numbers: NDArray[np.intp], part: Floats, found: Floats = found) -> None:
                found[:, numbers] = part

            self._compare(self.sample[own] if is_sampled else self._take(own), fill)
            # which matrix products only approximate
            found[np.arange(len(own)), own] = 0
            yield own, found
