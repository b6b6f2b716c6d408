"""t-SNE's affinities: how strongly neighbors belong together."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import torch
from numba import float64, njit
from scipy import sparse
from torch import Tensor

from .._runtime import parallel_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .neighbors import Neighbors

Array = TypeVar("Array", "NDArray[np.float32]", Tensor)

# Bisections of the width of a cell's kernel, at most, and how close the entropy has to come.
N_BISECTIONS, TOLERANCE = 60, 1e-5
WIDEST = 1e12
# Cells that a thread takes at a time, and affinities that a device computes at a time: 0.2 GB in float64.
BLOCK, TABLE_SIZE = 2048, 2**24
# Neighbors whose affinities are counted, for each unit of the perplexity, and at most. Three are customary; with two
# the wider neighborhoods are kept better (docs/defaults.md).
NEIGHBORS_PER_PERPLEXITY, MAX_AFFINITIES = 2, 2**31 - 1


def n_affinities(perplexity: float) -> int:
    """Return the number of neighbors of each cell that get affinities, where there are so many other cells."""
    return int(min(NEIGHBORS_PER_PERPLEXITY * perplexity, MAX_AFFINITIES))


def affinities(neighbors: Neighbors, perplexity: float, *, n_threads: int = 1) -> sparse.csr_matrix:
    r"""Return the symmetric affinities p of n cells, (n, n), whose sum is n.

    .. math:: p_{j|i} \propto \exp(-\beta_i d_{ij}^2), \quad p_{ij} = (p_{j|i} + p_{i|j})/2

    over the neighbors j of cell i, with the width :math:`\beta_i` at which the perplexity of :math:`p_{\cdot|i}`, the
    exponential of its entropy, is `perplexity` (van der Maaten & Hinton 2008, *Visualizing Data using t-SNE*). The
    perplexity counts how many neighbors matter. Where a cell has fewer than 3/2 times as many, it is two thirds of
    their number.

    Parameters
    ----------
    neighbors
        The k nearest others of each cell.
    perplexity
        Above 1.
    """
    n, k = neighbors.indices.shape
    weights = conditional(neighbors.distances, perplexity, n_threads=n_threads)
    # neighbors that are not there have no weight, and are removed below
    columns = np.where(neighbors.indices < 0, np.arange(n, dtype=np.int32)[:, None], neighbors.indices)
    directed = sparse.csr_matrix((weights.ravel(), columns.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n))
    both = (directed + directed.T).tocsr()
    both.data /= 2
    both.eliminate_zeros()
    both.sort_indices()
    return both


class Edges(NamedTuple):
    """Symmetric affinities, as the rows of a sparse matrix on a device."""

    offsets: Tensor
    """(n + 1,) int64: where the edges of each cell start, and where those of the last cell end."""
    partners: Tensor
    """(m,) int32: to which cell each edge goes."""
    affinity: Tensor
    """(m,) float32."""


def affinity_edges(neighbors: Neighbors, perplexity: float, *, n_threads: int = 1) -> Edges:
    """Return the symmetric affinities (`affinities`) where the neighbors are: arrays on the CPU, tensors on a device.

    On a device, each cell's neighbors and the cells whose neighbor it is are merged by sorting.
    """
    if isinstance(neighbors.indices, np.ndarray):
        graph = affinities(neighbors, perplexity, n_threads=n_threads)
        return Edges(
            torch.from_numpy(graph.indptr.astype(np.int64)),
            torch.from_numpy(graph.indices.astype(np.int32, copy=False)),
            torch.from_numpy(graph.data),
        )
    n, k = neighbors.indices.shape
    weights = conditional(neighbors.distances, perplexity).flatten()
    # neighbors that are not there have no weight, and are removed below
    itself = torch.arange(n, dtype=torch.int32, device=weights.device)[:, None]
    columns = neighbors.indices.where(neighbors.indices >= 0, itself).flatten()
    # the same edges in the order of the cells to which they go
    to, order = columns.sort(stable=True)
    starts = [*range(0, n, max(TABLE_SIZE // k, 1)), n]
    ends = torch.searchsorted(to, torch.tensor(starts, dtype=torch.int32, device=to.device)).tolist()
    counts, partners, affinity = [], [], []
    for (start, stop), (first, last) in zip(pairwise(starts), pairwise(ends), strict=True):
        own, incoming = torch.arange(start * k, stop * k, device=to.device), order[first:last]
        key = torch.cat([own // k * n + columns[start * k : stop * k], to[first:last].long() * n + incoming // k])
        key, at = key.sort(stable=True)
        both = torch.cat([weights[start * k : stop * k], weights[incoming]])[at] / 2
        key, times = key.unique_consecutive(return_counts=True)
        both = torch.segment_reduce(both, "sum", lengths=times)
        key, both = key[both > 0], both[both > 0]
        counts.append(torch.searchsorted(key, torch.arange(start, stop + 1, device=key.device) * n).diff())
        partners.append((key % n).int())
        affinity.append(both)
    offsets = torch.nn.functional.pad(torch.cat(counts).cumsum(0), (1, 0))
    return Edges(offsets, torch.cat(partners), torch.cat(affinity))


def conditional(distances: Array, perplexity: float, *, n_threads: int = 1) -> Array:
    """Return p of each neighbor given the cell, (n, k), from the (n, k) distances in ascending order.

    Rows sum to 1. An infinite distance means that there is no neighbor. Arrays are computed by compiled loops, tensors
    by PyTorch.
    """
    if isinstance(distances, Tensor):
        rows = max(TABLE_SIZE // distances.shape[1], 1)
        return torch.cat([_bisected(part, perplexity) for part in distances.split(rows)])
    found = np.empty(distances.shape, dtype=np.float32)
    parallel_blocks(
        lambda start, stop: _conditional(start, stop, distances, perplexity, found),
        len(distances),
        block=BLOCK,
        n_threads=n_threads,
    )
    return found


@njit(nogil=True, cache=True, error_model="numpy")
def _conditional(start, stop, distances, perplexity, found):
    square, weight = np.empty(distances.shape[1]), np.empty(distances.shape[1])
    for i in range(start, stop):
        found[i] = 0
        count = 0
        while count < len(square) and np.isfinite(distances[i, count]):
            # so that the nearest has a weight of 1
            square[count] = float64(distances[i, count]) ** 2 - float64(distances[i, 0]) ** 2
            count += 1
        if not count:
            continue
        counted = min(max(2 * count / 3, 1), perplexity)
        # the width is close to the distance of the last neighbor that counts, however far others are
        scale = square[min(int(np.ceil(counted)), count) - 1]
        if scale == 0:
            scale = square[:count].mean()
        if scale == 0:
            # where all neighbors are equally far, every width gives the same weights
            scale = 1
        target = np.log(counted)
        low, high, width = 0.0, np.inf, 1.0
        for _ in range(N_BISECTIONS):
            total = moment = 0.0
            for j in range(count):
                relative = square[j] / scale
                weight[j] = np.exp(-width * relative)
                total += weight[j]
                moment += weight[j] * relative
            entropy = np.log(total) + width * moment / total
            if abs(entropy - target) < TOLERANCE:
                break
            if entropy > target:
                low = width
                width = min(2 * width, WIDEST) if np.isinf(high) else (low + high) / 2
            else:
                high = width
                width = (low + high) / 2
        for j in range(count):
            found[i, j] = weight[j] / total


def _bisected(distances: Tensor, perplexity: float) -> Tensor:
    """Do what `_conditional` does, for all rows at once."""
    exists = distances.isfinite()
    count = exists.sum(1, keepdim=True)
    square = distances.double().square()
    square = (square - square[:, :1]).where(exists, 0)
    counted = (2 * count.double() / 3).clamp(min=1).clamp(max=perplexity)
    scale = square.gather(1, torch.minimum(counted.ceil().long(), count).sub(1).clamp(min=0))
    scale = scale.where(scale > 0, square.sum(1, keepdim=True) / count)
    square /= scale.where(scale > 0, 1)
    target = counted.log()
    low, width = torch.zeros_like(target), torch.ones_like(target)
    high = torch.full_like(target, torch.inf)
    for _ in range(N_BISECTIONS):
        weight = (-width * square).exp_() * exists
        total = weight.sum(1, keepdim=True)
        entropy = total.log() + width * (weight * square).sum(1, keepdim=True) / total
        is_found = ((entropy - target).abs() < TOLERANCE) | (count == 0)
        if is_found.all():
            break
        # rows that are found stay as they are
        low = low.where((entropy <= target) | is_found, width)
        high = high.where((entropy > target) | is_found, width)
        middle = ((low + high) / 2).where(high < torch.inf, (2 * width).clamp(max=WIDEST))
        width = width.where(is_found, middle)
    return (weight / total).where(exists, 0).float()
