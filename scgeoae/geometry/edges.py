"""The edges of a neighbour graph, each in both directions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Edges(NamedTuple):
    """The directed edges i → j of a symmetric graph, ordered by i, then j."""

    i: NDArray[np.integer]
    """(m,)"""
    j: NDArray[np.integer]
    """(m,)"""
    length: NDArray[np.float64]
    """(m,) the same in both directions."""


def both_ways(neighbors: NDArray[np.integer], lengths: NDArray) -> Edges:
    """Return the edges between each cell and its `neighbors`, and those between it and whose neighbour it is.

    Where the two directions differ in length, the longer counts.

    Parameters
    ----------
    neighbors
        (n, k) cells next to each cell, itself excluded.
    lengths
        (n, k) how far they are.
    """
    n, k = neighbors.shape
    rows, columns = np.repeat(np.arange(n), k), neighbors.ravel()
    # storing 1 + length lets the edge survive between cells at the same place, whose length is an explicit zero
    one_way = sparse.csr_matrix((1 + lengths.ravel().astype(np.float64), (rows, columns)), shape=(n, n))
    both = one_way.maximum(one_way.T).tocsr()
    both.sort_indices()
    both = both.tocoo()
    return Edges(both.row, both.col, both.data - 1)


def positive_widths(lengths: NDArray) -> NDArray[np.float64]:
    """Return the median length of the edges of each cell, (n,), above 0.

    A cell whose neighbours lie on top of it has no width of its own; it gets the smallest of the others'.
    """
    width = np.median(lengths, axis=1)
    positive = width[width > 0]
    return np.maximum(width, positive.min() if len(positive) else 1.0)
