"""The nearest neighbors of each cell in the representation, among all cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.neighbors import NearestNeighbors

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Up to so many cells all pairs are compared, which takes two seconds on two cores.
MAX_EXACT = 20_000
# Cells of the sample, for each list, from which k-means finds the centers of the lists, and its iterations.
SAMPLE_PER_LIST, N_ITERATIONS = 30, 8
# Lists that a cell is compared with. 68,000 cells, 60 neighbors, two cores: 10 lists take 2 s and find 91% of the 15
# nearest of cells with no groups, 99% of an atlas of 200 types; 30 lists take 5 s and find 98% and over 99%.
# pynndescent takes 10 to 45 s for 30 neighbors.
N_PROBED = 24
# Cells compared at a time.
BLOCK = 1024


class Neighbors(NamedTuple):
    """The nearest others of each cell."""

    indices: NDArray[np.int32]
    """(n, k) row numbers, nearest first."""
    distances: NDArray[np.float32]
    """(n, k)"""


def nearest_neighbors(x: NDArray[np.float32], k: int, *, seed: int = 0) -> Neighbors:
    """Return the `k` nearest others of each of the (n, D) cells.

    Exact up to 20,000 cells. Beyond, the cells are sorted into √n lists around the centers of a k-means clustering,
    and each cell is compared with those in the lists nearest to its own (an inverted file; Jégou, Douze & Schmid 2011).
    This finds nearly all neighbors in time proportional to n √n, and consists of matrix products.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.training.search import nearest_neighbors
    >>> nearest_neighbors(np.array([[0.0], [1.0], [3.0]], dtype=np.float32), 1).indices.ravel()
    array([1, 0, 1], dtype=int32)
    """
    if len(x) <= MAX_EXACT:
        distances, indices = NearestNeighbors(n_neighbors=k).fit(x).kneighbors()
        return Neighbors(indices.astype(np.int32), distances.astype(np.float32))
    return _inverted_file(x, k, seed)


@torch.no_grad()
def _inverted_file(x: NDArray[np.float32], k: int, seed: int) -> Neighbors:
    n = len(x)
    n_lists = int(n**0.5)
    sample = np.random.default_rng(seed).choice(n, SAMPLE_PER_LIST * n_lists, replace=False)
    means = KMeans(n_lists, init="random", n_init=1, max_iter=N_ITERATIONS, random_state=seed).fit(x[np.sort(sample)])
    list_of = means.predict(x)
    centers = torch.from_numpy(means.cluster_centers_.astype(np.float32))

    # the cells in the order of their lists, so that a list is a slice
    order = np.argsort(list_of, kind="stable")
    ends = np.concatenate([[0], np.cumsum(np.bincount(list_of, minlength=n_lists))])
    cells, row = torch.from_numpy(x[order]), torch.from_numpy(order)
    square = cells.square().sum(1)
    nearest_lists = torch.cdist(centers, centers).argsort(1).numpy()

    indices, distances = np.empty((n, k), dtype=np.int32), np.empty((n, k), dtype=np.float32)
    enough = max(N_PROBED * n // n_lists, k + 1)
    for own in range(n_lists):
        sizes = np.diff(ends)[nearest_lists[own]]
        probed = nearest_lists[own, : np.searchsorted(np.cumsum(sizes), enough) + 1]
        others = torch.cat([torch.arange(ends[which], ends[which + 1]) for which in probed])
        candidates, candidate_square = cells[others], square[others]
        for start in range(ends[own], ends[own + 1], BLOCK):
            asked = slice(start, min(start + BLOCK, ends[own + 1]))
            compared = torch.addmm(candidate_square, cells[asked], candidates.T, alpha=-2)
            found, column = compared.topk(k + 1, largest=False)
            near = row[others[column]]
            itself = near == row[asked, None]
            # where more than k others are equal to the cell they may be found instead of it
            itself[~itself.any(1), -1] = True
            found = (found + square[asked, None]).clamp_(min=0).sqrt_()
            indices[order[asked]] = near[~itself].view(-1, k).numpy()
            distances[order[asked]] = found[~itself].view(-1, k).numpy()
    return Neighbors(indices, distances)
