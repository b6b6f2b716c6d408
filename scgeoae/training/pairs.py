"""Sums over pairs of cells on a map: by compiled loops on the CPU, in PyTorch alone on a device."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._runtime import parallel_blocks
from ..graphs.neighbors import search_tree
from ..graphs.partition import Partition
from .gradients import gradients

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .affinities import Edges

# Cells that a thread takes at a time.
BLOCK = 2048
# Pairs that a device takes at a time: with their positions and intermediate results, these take some 2 GB. Each cell
# counts as so many pairs at least, those of the votes among its neighbors (`gatherings`).
N_PAIRS, LEAST_PAIRS = 2**25, 128
# The constants of `gradients`, as signed integers, whose products wrap around in the same way.
MULTIPLIERS = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64
PER_CELL, PER_DRAW = 0x9E3779B97F4A7C15 - 2**64, 0xD1342543DE82EF95 - 2**64


class Near(NamedTuple):
    """The near cells on a map, which stay the same for some steps."""

    indices: Tensor
    """(n, k) int32, without the cell itself."""
    reach: Tensor
    """(n,) squared distance up to which cells are near."""
    at: Tensor
    """(n, d) where the cells lay then."""


class Repulsion(NamedTuple):
    """What the repulsion depends on in a step."""

    n_far: int
    """Number of cells that are drawn for each cell, to stand for those that are not near."""
    key: int
    """Seed of the draws, which are the same on every device."""
    per_total: Tensor
    """n/Z, 0-dimensional float64."""


class CompiledPairs:
    """Sums over pairs of cells on the CPU. Each function writes to the row of the first cell of a pair.

    Parameters
    ----------
    edges
        Symmetric affinities.
    d
        Number of dimensions of the map.
    n_threads
        Number of threads. Every number gives the same bits.
    """

    def __init__(self, edges: Edges, d: int, n_threads: int) -> None:
        self.edges = [part.numpy() for part in edges]
        self.gradients, self.n_threads = gradients(d), n_threads

    def nearest_others(self, y: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return the `k` nearest others of each cell at (n, d) positions, (n, k) int32, and their distances."""
        near, distance = search_tree(y.numpy(), k, n_threads=self.n_threads)
        return torch.from_numpy(near), torch.from_numpy(distance)

    def write_divergence(
        self, y: Tensor, narrowness: Tensor, near: Near, repulsion: Repulsion, gradient: Tensor
    ) -> Tensor:
        """Write the gradient of the divergence, times n/4, and return the sum of all kernels, 0-dimensional float64."""
        total = np.empty(len(y), dtype=np.float32)
        cells, around = (y.numpy(), narrowness.numpy()), [part.numpy() for part in near]
        settings, results = (repulsion.n_far, repulsion.key, np.float32(repulsion.per_total)), (gradient.numpy(), total)
        self._in_blocks(
            lambda a, b: self.gradients.of_refined(a, b, *cells, *self.edges, *around, *settings, *results), len(y)
        )
        return torch.tensor(total.sum(dtype=np.float64))

    def add_chords(self, y: Tensor, landmarks: Tensor, decoded: Tensor, weight: float, gradient: Tensor) -> None:
        """Add the gradient of the misfit of distances to the landmarks, (l, d), which should be `decoded`, (n, l)."""
        cells = y.numpy(), landmarks.numpy(), decoded.numpy()
        self._in_blocks(
            lambda a, b: self.gradients.of_chords(a, b, *cells, np.float32(weight), gradient.numpy()), len(y)
        )

    def gatherings(self, y: Tensor, neighbors: Tensor, per_square: float) -> tuple[Tensor, Tensor]:
        """Return where most of the neighbors of each cell lie, (n, d), and how many more than around the cell, (n,)."""
        place, gain = torch.empty_like(y), y.new_empty(len(y))
        cells, results = (y.numpy(), neighbors.numpy()), (place.numpy(), gain.numpy())
        self._in_blocks(lambda a, b: self.gradients.gatherings(a, b, *cells, np.float32(per_square), *results), len(y))
        return place, gain

    def _in_blocks(self, work: Callable[[int, int], None], n: int) -> None:
        parallel_blocks(work, n, block=BLOCK, n_threads=self.n_threads)


class TorchPairs:
    """The sums of `CompiledPairs`, as regular operations on tables of pairs, which give the same bits each time.

    Parameters
    ----------
    edges
        Symmetric affinities.
    """

    def __init__(self, edges: Edges) -> None:
        self.edges = edges
        self.n_partners = edges.offsets.diff()
        n = len(self.n_partners)
        self.block = max(N_PAIRS // max(len(edges.partners) // n, LEAST_PAIRS), 1)
        # so that no step has to wait for the device
        self.ends = edges.offsets[[*range(0, n, self.block), n]].tolist()

    def nearest_others(self, y: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return the `k` nearest others of each cell at (n, d) positions, (n, k) int32, and their distances."""
        return Partition(y).nearest_others(k)

    def write_divergence(
        self, y: Tensor, narrowness: Tensor, near: Near, repulsion: Repulsion, gradient: Tensor
    ) -> Tensor:
        """Write the gradient of the divergence, times n/4, and return the sum of all kernels, 0-dimensional float64."""
        n_far, key, per_total = repulsion.n_far, repulsion.key, repulsion.per_total.float()
        # one access to memory finds both
        cells = torch.cat([y, narrowness[:, None]], dim=1)
        total = torch.zeros_like(narrowness)
        for rows, edges in zip(self._blocks(len(y)), pairwise(self.ends), strict=True):
            gradient[rows] = self._attraction(cells, rows, slice(*edges))
            own = cells[rows, None]
            others = _taken(cells, near.indices[rows])
            kernel, push = _repulsion(own, others, per_total)
            total[rows] += kernel.sum(1)
            gradient[rows] -= push.sum(1)
            if n_far:
                far = drawn(rows, len(y), n_far, key, y.device)
                # the near ones, and the cell itself, are counted already; each other stands for so many
                is_far = (near.at[rows, None] - near.at[far]).square().sum(2) > near.reach[rows, None]
                count = is_far * (len(y) / n_far)
                kernel, push = _repulsion(own, cells[far], per_total)
                total[rows] += (count * kernel).sum(1)
                gradient[rows] -= (count[:, :, None] * push).sum(1)
        return total.sum(dtype=torch.float64)

    def add_chords(self, y: Tensor, landmarks: Tensor, decoded: Tensor, weight: float, gradient: Tensor) -> None:
        """Add the gradient of the misfit of distances to the landmarks, (l, d), which should be `decoded`, (n, l)."""
        for rows in self._blocks(len(y)):
            delta = y[rows, None] - landmarks
            length = delta.square().sum(2).sqrt()
            # at most so much for two cells on one place that ought to be far apart, and nothing for the cell itself
            strength = (1 - decoded[rows] / length).clamp(min=-4).where(length > 0, 0)
            gradient[rows] += weight / len(landmarks) * (strength[:, :, None] * delta).sum(1)

    def gatherings(self, y: Tensor, neighbors: Tensor, per_square: float) -> tuple[Tensor, Tensor]:
        """Return where most of the neighbors of each cell lie, (n, d), and how many more than around the cell, (n,)."""
        place, gain = torch.empty_like(y), y.new_empty(len(y))
        for rows in self._blocks(len(y)):
            itself = torch.arange(rows.start, rows.stop, device=y.device)[:, None]
            # the cell is the first candidate, but has no vote
            candidates = torch.cat([itself.int(), neighbors[rows]], dim=1)
            exists, at = candidates >= 0, _taken(y, candidates.clamp(min=0))
            votes = exists[:, None, 1:] & (candidates[:, :, None] != candidates[:, None, 1:])
            square = (at[:, :, None] - at[:, None, 1:]).square().sum(3)
            votes = votes / (1 + square * per_square)
            counts = votes.sum(2).where(exists, 0)
            own, (most, which) = counts[:, 0], counts[:, 1:].max(1)
            gain[rows] = (most / own).where(own > 0, 0)
            # of the cell itself if no neighbor has a vote
            which = (which + 1).where(most > 0, 0)[:, None, None]
            middle = at.gather(1, which.expand(-1, 1, y.shape[1]))
            chosen = [table.gather(1, which.expand(-1, 1, table.shape[2]))[:, 0] for table in (votes, square)]
            weight = chosen[0].where(chosen[1] * per_square < 1, 0)[:, :, None]
            place[rows] = middle[:, 0] + (weight * (at[:, 1:] - middle)).sum(1) / (1 + weight.sum(1))
        return place, gain

    def _attraction(self, cells: Tensor, rows: slice, edges: slice) -> Tensor:
        counts = self.n_partners[rows]
        own = cells[rows].repeat_interleave(counts, dim=0, output_size=edges.stop - edges.start)
        delta, per_square, kernel = _kernels(own, _taken(cells, self.edges.partners[edges]))
        pull = (self.edges.affinity[edges] * per_square * kernel)[:, None] * delta
        # without checks, which would wait for the device
        return torch.segment_reduce(pull, "sum", lengths=counts, axis=0, unsafe=True)

    def _blocks(self, n: int) -> Iterator[slice]:
        return (slice(start, min(start + self.block, n)) for start in range(0, n, self.block))


def drawn(rows: slice, n: int, n_far: int, key: int, device: torch.device) -> Tensor:
    """Return the cells that stand for those far from each of the cells `rows`, (m, n_far) of n, as `gradients` does."""
    state = torch.arange(rows.start, rows.stop, device=device)[:, None] * PER_CELL + key
    x = state + torch.arange(1, n_far + 1, device=device) * PER_DRAW
    for shift, multiplier in zip((30, 27), MULTIPLIERS, strict=True):
        x = (x ^ _shifted(x, shift)) * multiplier
    return (_shifted(x ^ _shifted(x, 31), 32) * n) >> 32


def _shifted(x: Tensor, shift: int) -> Tensor:
    """Shift unsigned integers to the right, which torch takes for signed ones."""
    return (x >> shift) & (2 ** (64 - shift) - 1)


def _taken(cells: Tensor, indices: Tensor) -> Tensor:
    """Return rows by their int32 numbers, which indexing with brackets would convert."""
    return cells.index_select(0, indices.flatten()).view(*indices.shape, -1)


def _kernels(own: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return z_i − z_j, 1/(τ_i τ_j), and the kernel w_ij, from positions and narrowness of cells in one row each."""
    delta = own[..., :-1] - other[..., :-1]
    per_square = own[..., -1] * other[..., -1]
    return delta, per_square, 1 / (1 + delta.square().sum(-1) * per_square)


def _repulsion(own: Tensor, other: Tensor, per_total: Tensor) -> tuple[Tensor, Tensor]:
    """Return the kernels of pairs, and the gradient that pushes them apart."""
    delta, per_square, kernel = _kernels(own, other)
    return kernel, (per_total * kernel.square() * per_square)[..., None] * delta
