"""t-SNE's affinities: how strongly neighbors belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .search import Neighbors

# Bisections of the width of a cell's kernel: to four digits of its perplexity.
N_BISECTIONS = 40
TINY, WIDEST = 1e-300, 1e12
# Cells whose widths are found at a time.
BLOCK = 2**15


def affinities(neighbors: Neighbors, perplexity: float) -> sparse.csr_matrix:
    r"""Return the symmetric affinities p of n cells, (n, n), whose sum is n.

    .. math:: p_{j|i} \propto \exp(-\beta_i d_{ij}^2), \quad p_{ij} = (p_{j|i} + p_{i|j})/2

    over the neighbors j of cell i, with the width :math:`\beta_i` at which the perplexity of :math:`p_{\cdot|i}`, the
    exponential of its entropy, is `perplexity`; the source is van der Maaten & Hinton 2008, *Visualizing Data using
    t-SNE*. It counts how many neighbors matter. Where a cell has fewer than 3/2 times as many, it is two thirds of
    their number.

    Parameters
    ----------
    neighbors
        The k nearest others of each cell.
    perplexity
        Above 1.
    """
    n, k = neighbors.indices.shape
    weights = np.empty((n, k), dtype=np.float32)
    for start in range(0, n, BLOCK):
        rows = slice(start, start + BLOCK)
        weights[rows] = conditional(neighbors.distances[rows], perplexity)
    # what is not there has no weight, and goes
    columns = np.where(neighbors.indices < 0, np.arange(n, dtype=np.int32)[:, None], neighbors.indices)
    directed = sparse.csr_matrix((weights.ravel(), columns.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n))
    both = (directed + directed.T).tocsr()
    both.data /= 2
    both.eliminate_zeros()
    both.sort_indices()
    return both


def conditional(distances: NDArray[np.float32], perplexity: float) -> NDArray[np.float32]:
    """Return p of each neighbor given the cell, (n, k), from the (n, k) distances in ascending order.

    Rows sum to 1; an infinite distance is no neighbor.
    """
    is_there = np.isfinite(distances)
    count = is_there.sum(1, keepdims=True)
    square = np.square(np.where(is_there, distances, 0), dtype=np.float64)
    square -= square[:, :1]
    scale = np.where(is_there, square, 0).sum(1, keepdims=True) / np.maximum(count, 1)
    # of neighbors that are all equally far every width gives the same
    square /= np.where(scale > 0, scale, 1)
    target = np.log(np.clip(2 * count / 3, 1, perplexity))
    low, high = np.zeros((len(square), 1)), np.full((len(square), 1), np.inf)
    width = np.ones_like(low)
    for _ in range(N_BISECTIONS):
        weights = np.where(is_there, np.exp(-width * square), 0)
        total = np.maximum(weights.sum(1, keepdims=True), TINY)
        entropy = np.log(total) + width * (weights * square).sum(1, keepdims=True) / total
        is_wide = entropy > target
        low, high = np.where(is_wide, width, low), np.where(is_wide, high, width)
        width = np.where(np.isinf(high), np.minimum(2 * width, WIDEST), (low + high) / 2)
    weights = np.where(is_there, np.exp(-width * square), 0)
    return (weights / np.maximum(weights.sum(1, keepdims=True), TINY)).astype(np.float32)
