"""Neighbors in the representation: the nearest among all cells, and those that training pulls together."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from .._matrix import spread_rows
from .._runtime import one_torch_thread, parallel_blocks
from .device import native

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
# Up to so many cells the search is exact: comparing all pairs takes two seconds on two cores.
MAX_EXACT = 20_000
# Lists for each root of the number of cells.
LISTS_PER_ROOT = 4
# Cells of the sample, for each list, from which k-means finds the centers of the lists, and its iterations.
SAMPLE_PER_LIST, N_ITERATIONS = 30, 8
# Lists that a cell is compared with, and cells in them at least: 200,000 cells take 11 s on two cores for 75 neighbors.
N_PROBED, LEAST_COMPARED = 32, 2000
# Cells compared at a time: more on a device, where starting an operation takes as long as comparing thousands of them,
# but not with a table of neighbors that holds more numbers than this.
BLOCK, BLOCK_ON_DEVICE, TABLE_SIZE = 1024, 8192, 2**26
# Lists that a thread takes at a time.
N_LISTS = 8
# The rounding of matrix products depends on how many cells are compared at once. They find so many more neighbors than
# asked for, and exact distances then choose among these.
N_SPARE = 8


class Neighbors(NamedTuple):
    """The nearest cells to each of some, as arrays, or as tensors on a device."""

    indices: Any
    """(n, k) int32 row numbers, nearest first; −1 where a cell has fewer."""
    distances: Any
    """(n, k) float32; infinite where a cell has fewer."""


def nearest_neighbors(x: NDArray[np.float32] | Tensor, k: int, *, seed: int = 0) -> Neighbors:
    """Return the `k` nearest others of each of the (n, D) cells, as `NeighborSearch` finds them.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.training.neighbors import nearest_neighbors
    >>> nearest_neighbors(np.array([[0.0], [1.0], [3.0]], dtype=np.float32), 1).indices.ravel()
    array([1, 0, 1], dtype=int32)
    """
    return NeighborSearch(x, seed).nearest(k)


class NeighborSearch:
    """A search among (n, D) cells, which stay the same from call to call. Arrays give arrays, and tensors give tensors.

    It is exact up to 20,000 cells. Beyond, the cells are sorted into 4 √n lists around the centers of a k-means
    clustering, and each cell is compared with those in the lists nearest to its own (an inverted file; Jégou, Douze &
    Schmid 2011). This finds nearly all neighbors in time proportional to n √n, by matrix products.

    Among arrays, a point has the same neighbors whatever others are asked for. Tensors are searched on their device, in
    PyTorch alone.
    """

    def __init__(self, x: NDArray[np.float32] | Tensor, seed: int = 0) -> None:
        self.cells = InvertedFile(x, seed) if len(x) > MAX_EXACT else x

    def nearest(self, k: int, of: NDArray[np.float32] | Tensor | None = None) -> Neighbors:
        """Return the `k` nearest others of each cell, or the `k` nearest cells to each of the (m, D) points `of`."""
        if isinstance(self.cells, InvertedFile):
            return self.cells.nearest(k, of)
        return _compare_all(self.cells, k, of)


def _compare_all(x: NDArray[np.float32] | Tensor, k: int, of: NDArray[np.float32] | Tensor | None) -> Neighbors:
    if isinstance(x, Tensor):
        return InvertedFile(x, 0, compares_all=True).nearest(k, of)
    distances, indices = NearestNeighbors(n_neighbors=k).fit(x).kneighbors(of)
    return Neighbors(indices.astype(np.int32), distances.astype(np.float32))


class InvertedFile:
    """Cells in lists of near ones: arrays, or tensors on a device.

    Parameters
    ----------
    x
        (n, D) cells.
    seed
        Seed of the k-means clustering.
    compares_all
        Compare each cell with all others. The lists, of which there are fewer then, only say around which center
        distances are computed.
    """

    def __init__(self, x: NDArray[np.float32] | Tensor, seed: int, *, compares_all: bool = False) -> None:
        self.is_on_device, self.compares_all = isinstance(x, Tensor), compares_all
        n_lists = min(int((1 if compares_all else LISTS_PER_ROOT) * len(x) ** 0.5), len(x))
        sample = np.random.default_rng(seed).choice(len(x), min(SAMPLE_PER_LIST * n_lists, len(x)), replace=False)
        find = _k_means if isinstance(x, Tensor) else _clusters
        self.centers, list_of = find(x, sample, n_lists, seed)
        # the cells in the order of their lists, so that a list is a slice
        self.order, self.ends = _in_lists(list_of, n_lists)
        self.cells = torch.as_tensor(x)[self.order]
        self.rows = torch.arange(len(x), device=self.cells.device)
        # each is the nearest to itself, also where others have the same center
        nearest_lists = torch.cdist(self.centers, self.centers).fill_diagonal_(-1).argsort(1)
        self.nearest_lists = nearest_lists.cpu().numpy()

    def nearest(self, k: int, of: NDArray[np.float32] | Tensor | None = None) -> Neighbors:
        """Return the `k` nearest others of each cell, or the `k` nearest cells to each of the points `of`."""
        if of is None:
            points, order, ends = self.cells, self.order, self.ends
        else:
            points = torch.as_tensor(of)
            order, ends = _in_lists(self._lists_of(points), len(self.centers))
            points = points[order]
        indices = torch.empty(len(points), k, dtype=torch.int32, device=points.device)
        distances = points.new_empty(len(points), k)
        block = BLOCK
        if self.is_on_device:
            block = max(BLOCK, min(BLOCK_ON_DEVICE, TABLE_SIZE // ((k + N_SPARE) * points.shape[1])))

        def compare(own: int) -> None:
            candidates = self._candidates(own, k + 1 + N_SPARE)
            # from the middle of the list, as squares of long vectors leave no digits to distances between near cells
            middle = self.centers[own]
            compared = self.cells[candidates] - middle
            square = compared.square().sum(1)
            for start in range(ends[own], ends[own + 1], block):
                asked = slice(start, min(start + block, ends[own + 1]))
                products = torch.addmm(square, points[asked] - middle, compared.T, alpha=-2)
                if of is None:
                    # the first of the candidates are those of the same list
                    products.diagonal(asked.start - int(ends[own])).fill_(torch.inf)
                n_found = min(k + N_SPARE, len(candidates) - (of is None))
                columns = products.topk(n_found, largest=False, sorted=False).indices
                # of equally far ones the first is found
                columns = columns.sort(dim=1).values
                near, distance = self._nearest(points[asked], candidates[columns], k)
                indices[order[asked]] = near
                distances[order[asked]] = distance

        lists = np.flatnonzero(np.diff(ends))

        def compare_some(first: int, last: int) -> None:
            with one_torch_thread():
                for own in lists[first:last]:
                    compare(int(own))

        parallel_blocks(compare_some, len(lists), block=N_LISTS, n_threads=1 if self.is_on_device else None)
        return Neighbors(indices, distances) if self.is_on_device else Neighbors(indices.numpy(), distances.numpy())

    def _lists_of(self, points: Tensor) -> Tensor:
        """Return in which list each of m points would be, (m,)."""
        if self.is_on_device:
            return _nearest_center(points, self.centers)
        # pair by pair, so that a point gets into the same list whatever others are asked for
        return torch.cdist(points, self.centers, compute_mode="donot_use_mm_for_euclid_dist").argmin(1)

    def _candidates(self, own: int, least: int) -> Tensor:
        """Return where the cells of the lists nearest to list `own` are, at least so many if there are."""
        n_lists = len(self.nearest_lists)
        enough = max(N_PROBED * len(self.cells) // n_lists, LEAST_COMPARED, least)
        if self.compares_all:
            enough = len(self.cells)
        lists = self.nearest_lists[own]
        probed = lists[: np.searchsorted(np.cumsum(np.diff(self.ends)[lists]), enough) + 1]
        return torch.cat([self.rows[self.ends[which] : self.ends[which + 1]] for which in probed])

    def _nearest(self, points: Tensor, found: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return row numbers and distances of the k nearest to each of m points among `found`, (m, k + spare)."""
        distance = torch.linalg.vector_norm(points[:, None] - self.cells[found], dim=2)
        distance, nearest = distance.sort(dim=1, stable=True)
        return self.order[found.gather(1, nearest[:, :k])].int(), distance[:, :k]


def _clusters(x: Any, sample: NDArray[np.intp], n_lists: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return the centers of a k-means clustering of the `sample`, and which of them is the nearest to each cell."""
    clustering = KMeans(n_lists, init="random", n_init=1, max_iter=N_ITERATIONS, random_state=seed)
    with warnings.catch_warnings():
        # of cells that are equal there are fewer clusters, and empty lists do no harm
        warnings.simplefilter("ignore", ConvergenceWarning)
        clustering.fit(x[np.sort(sample)])
    centers = torch.from_numpy(clustering.cluster_centers_.astype(np.float32))
    return centers, torch.from_numpy(clustering.predict(x)).long()


def _k_means(x: Any, sample: NDArray[np.intp], n_lists: int, _seed: int) -> tuple[Tensor, Tensor]:
    """Do what `_clusters` does, on a device."""
    some = x[torch.from_numpy(sample).to(x.device)]
    # random cells, as those of the sample are in random order
    centers = some[:n_lists]
    for _ in range(N_ITERATIONS):
        list_of, order = _nearest_center(some, centers).sort(stable=True)
        counts = _starts(list_of, n_lists).diff()
        means = torch.segment_reduce(some[order], "mean", lengths=counts, axis=0)
        centers = means.where(counts[:, None] > 0, centers)
    return centers, _nearest_center(x, centers)


def _nearest_center(x: Tensor, centers: Tensor) -> Tensor:
    """Return which center is the nearest to each of m points, (m,), by matrix products."""
    square = centers.square().sum(1)
    parts = x.split(max(TABLE_SIZE // len(centers), 1))
    return torch.cat([torch.addmm(square, part, centers.T, alpha=-2).argmin(1) for part in parts])


def _in_lists(list_of: Tensor, n_lists: int) -> tuple[Tensor, NDArray[np.intp]]:
    """Return cells list by list, from the list of each, (m,), and where each list starts and the last one ends."""
    list_of, order = list_of.sort(stable=True)
    return order, _starts(list_of, n_lists).cpu().numpy()


def _starts(list_of: Tensor, n_lists: int) -> Tensor:
    return torch.searchsorted(list_of, torch.arange(n_lists + 1, device=list_of.device))


def find_neighbors(x: Tensor, among: Tensor, k: int, *, of: Tensor | None = None) -> Tensor:
    """Return for each of the (n, D) cells its k nearest others of those in rows `among`, (n, k).

    There are fewer where there are fewer cells. If `of` is given, only these rows are searched for, and all other cells
    are their own neighbors.
    """
    k = min(k, len(among) - 1)
    asked = torch.arange(len(x), device=x.device) if of is None else of
    # one more than asked for, because a cell that is among them finds itself
    found = _compare_all(native(x[among]), k + 1, native(x[asked])).indices
    near = among[torch.as_tensor(found, dtype=torch.long, device=x.device)]
    others = near != asked[:, None]
    # the cell itself goes last, and the order of the others stays
    order = torch.argsort((~others).int(), dim=1, stable=True)
    table = torch.arange(len(x), device=x.device)[:, None].repeat(1, k)
    table[asked] = near.gather(1, order)[:, :k]
    return table


def within(neighbors: NDArray[np.integer] | Tensor, rows: NDArray[np.integer], among: Tensor) -> Tensor:
    """Return the neighbors of the cells `rows`, from (n, k) row numbers, as positions in `rows`, (m, k).

    Neighbors that are not at one of the positions `among` are replaced by other neighbors of the same cell, the nearest
    first. A cell that has none left is its own neighbor; −1 stands for none.
    """
    neighbors = torch.as_tensor(neighbors)
    places, own = among.to(neighbors.device), torch.from_numpy(rows).to(neighbors.device)
    position = torch.full((len(neighbors) + 1,), -1, device=neighbors.device)  # the last for −1
    position[own[places]] = places
    table = position[neighbors[own].long()]
    kept = table >= 0
    order = torch.argsort((~kept).int(), dim=1, stable=True)
    counts = kept.sum(1, keepdim=True)
    cycle = torch.arange(table.shape[1], device=table.device) % counts.clamp(min=1)
    itself = torch.arange(len(table), device=table.device)[:, None]
    return torch.where(counts > 0, table.gather(1, order).gather(1, cycle), itself).to(among.device)


def suitable_noise(x: Tensor, positives: Tensor, of: Tensor) -> float:
    """Return the standard deviation of the noise that suits the contrastive loss.

    It is 0.25, or less, so that the noise on the (n, D) cells is at most two thirds as long as the median distance of a
    cell in rows `of` to the neighbors in its row of the (n, k) table `positives`.
    """
    some = of[torch.from_numpy(spread_rows(len(of), N_NOISE_CELLS)).to(of.device)]
    distance = (x[positives[some]] - x[some, None]).norm(dim=2).mean(1).median().item()
    return min(NOISE, MAX_NOISE_LENGTH * distance / x.shape[1] ** 0.5)
