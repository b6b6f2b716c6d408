"""t-SNE's affinities: how strongly neighbors belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import float64, njit
from scipy import sparse

from .._runtime import parallel_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .neighbors import Neighbors

# Bisections of the width of a cell's kernel, at most, and how close the entropy has to come.
N_BISECTIONS, TOLERANCE = 60, 1e-5
WIDEST = 1e12
# Cells that a thread takes at a time.
BLOCK = 2048
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


def conditional(distances: NDArray[np.float32], perplexity: float, *, n_threads: int = 1) -> NDArray[np.float32]:
    """Return p of each neighbor given the cell, (n, k), from the (n, k) distances in ascending order.

    Rows sum to 1. An infinite distance means that there is no neighbor.
    """
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
