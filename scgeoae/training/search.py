"""Search for the neighbors of new cells among those of a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from .._runtime import one_blas_thread, parallel_blocks
from .._search import Search, nearest
from .neighbors import MAX_EXACT, InvertedFile, Neighbors

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Lists of points that a thread takes at a time.
LISTS = 4


class NeighborSearch:
    """Finds neighbors of new cells as `training.neighbors.nearest_neighbors` does, among cells that stay the same.

    A new cell has the same neighbors whatever others are asked for. Beyond 20,000 cells they are sorted into lists
    once; these are the only copy of the (n, D) cells `x` that is kept.
    """

    def __init__(self, x: NDArray[np.float32], seed: int = 0) -> None:
        self.lists = InvertedFile(x, seed) if len(x) > MAX_EXACT else None
        self.search = Search(x if self.lists is None else self.lists.centers.numpy())

    def nearest(self, points: NDArray[np.float32], k: int) -> Neighbors:
        """Return the `k` nearest cells to each of the (m, D) points."""
        if self.lists is None:
            return Neighbors(*nearest(self.search, points, k))
        lists, cells, row_of = self.lists, self.lists.cells.numpy(), np.asarray(self.lists.order)
        found = Neighbors(np.empty((len(points), k), dtype=np.int32), np.empty((len(points), k), dtype=np.float32))
        list_of = nearest(self.search, points, 1)[0][:, 0]
        order = np.argsort(list_of, kind="stable")
        own, starts = np.unique(list_of[order], return_index=True)
        ends = np.append(starts, len(points))

        def search(start: int, stop: int) -> None:
            for i in range(start, stop):
                asked, candidates = order[ends[i] : ends[i + 1]], lists.candidates(int(own[i]), k).numpy()
                near, distance = Search(cells[candidates]).nearest(points[asked], k)
                found.indices[asked], found.distances[asked] = row_of[candidates[near]], distance

        with one_blas_thread():
            parallel_blocks(search, len(own), block=LISTS, n_threads=torch.get_num_threads())
        return found
