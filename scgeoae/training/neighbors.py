"""Neighbors in the representation: the nearest among all cells, and those that training pulls together."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.neighbors import NearestNeighbors

from .._matrix import spread_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

N_POSITIVES = 10
"""Number of neighbors to which the contrastive loss pulls each cell: the fewer, the finer the structure that it keeps
(docs/defaults.md)."""
# Number of anchors, whose neighbors are searched for among themselves. The search compares all pairs, so that with more
# cells its time would grow with the square of their number. Neighbors among a random 10,000 are those of a somewhat
# wider neighborhood.
MAX_SEARCHED = 10_000
# Standard deviation of the noise that keeps the encoder from memorizing cells (docs/defaults.md), and its length at
# most as a share of the distance of a cell to its neighbors. Among the cells of a tissue it is shorter anyway; on
# points that fill a surface it would jump from one fold to the next.
NOISE = 0.25
MAX_NOISE_LENGTH = 2 / 3
# Number of cells from which this distance is taken.
N_NOISE_CELLS = 1000
# Up to so many cells all pairs are compared, which takes two seconds on two cores.
MAX_EXACT = 20_000
# Lists for each root of the number of cells.
LISTS_PER_ROOT = 4
# Cells of the sample, for each list, from which k-means finds the centers of the lists, and its iterations.
SAMPLE_PER_LIST, N_ITERATIONS = 30, 8
# Lists that a cell is compared with, and cells in them at least: 200,000 cells take 11 s on two cores for 75 neighbors.
N_PROBED, LEAST_COMPARED = 32, 2000
# Cells compared at a time.
BLOCK = 1024
# So many more are found by matrix products, whose rounding depends on how many cells are asked for, before their
# distances are computed one by one.
N_SPARE = 8


class Neighbors(NamedTuple):
    """The nearest cells to each of some."""

    indices: NDArray[np.int32]
    """(n, k) row numbers, nearest first; −1 where a cell has fewer."""
    distances: NDArray[np.float32]
    """(n, k); infinite where a cell has fewer."""


def nearest_neighbors(
    x: NDArray[np.float32], k: int, *, of: NDArray[np.float32] | None = None, seed: int = 0
) -> Neighbors:
    """Return the `k` nearest others of each of the (n, D) cells, or the `k` nearest of them to each of the (m, D) `of`.

    Exact up to 20,000 cells. Beyond, the cells are sorted into 4 √n lists around the centers of a k-means clustering,
    and each cell is compared with those in the lists nearest to its own (an inverted file; Jégou, Douze & Schmid 2011).
    This finds nearly all neighbors in time proportional to n √n, and consists of matrix products.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.training.neighbors import nearest_neighbors
    >>> nearest_neighbors(np.array([[0.0], [1.0], [3.0]], dtype=np.float32), 1).indices.ravel()
    array([1, 0, 1], dtype=int32)
    """
    if len(x) <= MAX_EXACT:
        distances, indices = NearestNeighbors(n_neighbors=k).fit(x).kneighbors(of)
        return Neighbors(indices.astype(np.int32), distances.astype(np.float32))
    return InvertedFile(x, seed).nearest(k, of)


class InvertedFile:
    """Cells in lists of near ones."""

    def __init__(self, x: NDArray[np.float32], seed: int) -> None:
        n = len(x)
        n_lists = min(int(LISTS_PER_ROOT * n**0.5), n)
        sample = np.random.default_rng(seed).choice(n, min(SAMPLE_PER_LIST * n_lists, n), replace=False)
        clustering = KMeans(n_lists, init="random", n_init=1, max_iter=N_ITERATIONS, random_state=seed)
        with warnings.catch_warnings():
            # of cells that are equal there are fewer clusters, and empty lists do no harm
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.means = clustering.fit(x[np.sort(sample)])
        list_of = self.means.predict(x)
        self.ends = np.concatenate([[0], np.cumsum(np.bincount(list_of, minlength=n_lists))])
        # the cells in the order of their lists, so that a list is a slice
        self.order = np.argsort(list_of, kind="stable")
        self.cells = torch.from_numpy(x[self.order])
        self.centers = torch.from_numpy(self.means.cluster_centers_.astype(np.float32))
        # each is the nearest to itself, also where others have the same center
        self.nearest_lists = torch.cdist(self.centers, self.centers).fill_diagonal_(-1).argsort(1).numpy()

    def nearest(self, k: int, of: NDArray[np.float32] | None = None) -> Neighbors:
        """Return the `k` nearest others of each cell, or the `k` nearest cells to each of the points `of`."""
        if of is None:
            points, order, ends = self.cells, self.order, self.ends
        else:
            # pair by pair, so that a point gets into the same list whatever others are asked for
            to_centers = torch.cdist(torch.from_numpy(of), self.centers, compute_mode="donot_use_mm_for_euclid_dist")
            list_of = to_centers.argmin(1).numpy()
            order = np.argsort(list_of, kind="stable")
            ends = np.concatenate([[0], np.cumsum(np.bincount(list_of, minlength=len(self.nearest_lists)))])
            points = torch.from_numpy(of[order])
        indices, distances = np.empty((len(points), k), dtype=np.int32), np.empty((len(points), k), dtype=np.float32)
        for own in np.flatnonzero(np.diff(ends)):
            candidates = self.candidates(int(own), k + 1 + N_SPARE)
            # from the middle of the list, as squares of long vectors leave no digits to distances between near cells
            middle = self.centers[own]
            compared = self.cells[candidates] - middle
            square = compared.square().sum(1)
            for start in range(ends[own], ends[own + 1], BLOCK):
                asked = slice(start, min(start + BLOCK, ends[own + 1]))
                products = torch.addmm(square, points[asked] - middle, compared.T, alpha=-2)
                if of is None:
                    # the first of the candidates are those of the same list
                    products.diagonal(asked.start - int(ends[own])).fill_(torch.inf)
                columns = products.topk(min(k + N_SPARE, len(candidates)), largest=False, sorted=False).indices
                # of equally far ones the first is found
                columns = columns.sort(dim=1).values
                near, distance = self._nearest(points[asked], candidates[columns], k)
                indices[order[asked]] = near
                distances[order[asked]] = distance
        return Neighbors(indices, distances)

    def candidates(self, own: int, least: int) -> Tensor:
        """Return the positions of the cells in the lists nearest to one of them."""
        n_lists = len(self.nearest_lists)
        enough = max(N_PROBED * len(self.cells) // n_lists, LEAST_COMPARED, least)
        lists = self.nearest_lists[own]
        probed = lists[: np.searchsorted(np.cumsum(np.diff(self.ends)[lists]), enough) + 1]
        return torch.cat([torch.arange(self.ends[which], self.ends[which + 1]) for which in probed])

    def _nearest(self, points: Tensor, found: Tensor, k: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return row numbers and distances of the k nearest to each of m points among those found, (m, k + spare)."""
        distance = torch.linalg.vector_norm(points[:, None] - self.cells[found], dim=2)
        distance, nearest = distance.sort(dim=1, stable=True)
        return self.order[found.gather(1, nearest[:, :k]).numpy()], distance[:, :k].numpy()


def find_neighbors(x: Tensor, among: Tensor, k: int, *, of: Tensor | None = None) -> Tensor:
    """Return for each of the (n, D) cells its k nearest others of those in rows `among`, (n, k).

    There are fewer where there are fewer cells. If `of` is given, only these rows are searched for, and all other cells
    are their own neighbors.
    """
    k = min(k, len(among) - 1)
    rows = among.cpu()
    asked = torch.arange(len(x)) if of is None else of.cpu()
    points = x.cpu().numpy()
    # one more than asked for, because a cell that is among them finds itself
    found = NearestNeighbors(n_neighbors=k + 1).fit(points[rows]).kneighbors(points[asked], return_distance=False)
    near = rows[torch.from_numpy(found)]
    others = near != asked[:, None]
    # the cell itself goes last, and the order of the others stays
    order = torch.argsort((~others).int(), dim=1, stable=True)
    table = torch.arange(len(x))[:, None].repeat(1, k)
    table[asked] = near.gather(1, order)[:, :k]
    return table.to(x.device)


def within(neighbors: NDArray[np.integer], rows: NDArray[np.integer], among: Tensor) -> Tensor:
    """Return the neighbors of the cells `rows`, from (n, k) row numbers, as positions in `rows`, (m, k).

    Neighbors that are not at one of the positions `among` are replaced by other neighbors of the same cell, the nearest
    first. A cell that has none left is its own neighbor; −1 stands for none.
    """
    n = len(neighbors)
    position = torch.full((n + 1,), -1)  # the last for −1
    allowed = torch.from_numpy(rows)[among.cpu()]
    position[allowed] = among.cpu()
    table = position[torch.from_numpy(np.asarray(neighbors[rows], dtype=np.int64))]
    kept = table >= 0
    order = torch.argsort((~kept).int(), dim=1, stable=True)
    counts = kept.sum(1, keepdim=True)
    cycle = torch.arange(table.shape[1]) % counts.clamp(min=1)
    itself = torch.arange(len(table))[:, None]
    return torch.where(counts > 0, table.gather(1, order).gather(1, cycle), itself).to(among.device)


def suitable_noise(x: Tensor, positives: Tensor, of: Tensor) -> float:
    """Return the standard deviation of the noise that suits the contrastive loss.

    It is 0.25, or less, so that the noise on the (n, D) cells is at most two thirds as long as the median distance of a
    cell in rows `of` to the neighbors in its row of the (n, k) table `positives`.
    """
    some = of[torch.from_numpy(spread_rows(len(of), N_NOISE_CELLS)).to(of.device)]
    distance = (x[positives[some]] - x[some, None]).norm(dim=2).mean(1).median().item()
    return min(NOISE, MAX_NOISE_LENGTH * distance / x.shape[1] ** 0.5)
