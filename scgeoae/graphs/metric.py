"""The neighbor graph of a map, measured with its metric tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse

from .._runtime import parallel_blocks
from .neighbors import BACKWARD, linked, medians, positive

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Numbers in the metric tensors at the ends of the edges that a thread measures at a time. They fit into the cache of a
# core, and take negligible memory beside a million cells.
BLOCK = 2**17


class MetricGraph(NamedTuple):
    """Three (n, n) matrices on the edges of a neighbor graph."""

    metric: sparse.csr_matrix
    """k a row: (z_j − z_i)ᵀ G_i (z_j − z_i), the squared length of the edge in the metric of cell i."""
    distances: sparse.csr_matrix
    """Symmetric: the length of the edge in the metric that varies along it."""
    connectivities: sparse.csr_matrix
    """Symmetric: an adaptive Gaussian kernel of the lengths, between 0 and 1."""


def metric_graph(z: NDArray[Any], metric: NDArray[Any], neighbors: NDArray[np.integer]) -> MetricGraph:
    r"""Measure the edges of a neighbor graph with a metric that varies over the map.

    The length of an edge is the trapezoidal rule for the length of the straight segment,
    :math:`l_{ij} = \tfrac12 (\sqrt{\delta^\top G_i \delta} + \sqrt{\delta^\top G_j \delta})` with
    :math:`\delta = z_j - z_i`. Its connectivity is
    :math:`\sqrt{2 s_i s_j/(s_i^2 + s_j^2)} \exp(-l_{ij}^2/(s_i^2 + s_j^2))`, where :math:`s_i` is
    the median length of the edges of cell i (Haghverdi et al. 2016; ``method="gauss"`` of
    `scanpy.pp.neighbors`).

    Parameters
    ----------
    z
        (n, d) positions on the map.
    metric
        (n, d, d) metric tensors there.
    neighbors
        (n, k) neighbors of each cell, without itself.
    """
    n, k = neighbors.shape
    links = linked(neighbors)
    block = max(BLOCK // (k * z.shape[1] ** 2), 1)
    squares, width = np.empty((n, k), dtype=np.float32), np.empty(n)
    lengths, weights = np.empty(links.nnz, dtype=np.float32), np.empty(links.nnz, dtype=np.float32)

    def measure(start: int, stop: int) -> None:
        edges, i, j = _edges(links, start, stop)
        delta = z.take(j, axis=0).astype(np.float64) - z.take(i, axis=0)
        square = _squared_length(delta, metric.take([i, j], axis=0))
        length = np.sqrt(square).mean(axis=0)
        to_neighbor = links.data[edges] != BACKWARD
        squares[start:stop] = square[0, to_neighbor].reshape(-1, k)
        width[start:stop] = medians(length[to_neighbor].reshape(-1, k))
        lengths[edges] = length

    parallel_blocks(measure, n, block=block)
    width = positive(width)

    def weigh(start: int, stop: int) -> None:
        edges, i, j = _edges(links, start, stop)
        a, b = width.take(i), width.take(j)
        spread = a**2 + b**2
        weights[edges] = np.sqrt(2 * a * b / spread) * np.exp(-(lengths[edges].astype(np.float64) ** 2) / spread)

    parallel_blocks(weigh, n, block=block)

    def matrix(values: NDArray[Any], columns: NDArray[Any], ends: NDArray[Any]) -> sparse.csr_matrix:
        return sparse.csr_matrix((values, columns, ends), shape=(n, n))

    return MetricGraph(
        matrix(squares.ravel(), links.indices[links.data != BACKWARD], np.arange(0, n * k + 1, k)),
        # copies, so that changing one of the two matrices in place does not change the other
        matrix(lengths, links.indices.copy(), links.indptr.copy()),
        matrix(weights, links.indices, links.indptr),
    )


def _edges(links: sparse.csr_matrix, start: int, stop: int) -> tuple[slice, NDArray[Any], NDArray[Any]]:
    """Return where the edges of a block of cells are, and from which i to which j these go."""
    ends = links.indptr[start : stop + 1]
    edges = slice(ends[0], ends[-1])
    return edges, np.repeat(np.arange(start, stop), np.diff(ends)), links.indices[edges]


def _squared_length(delta: NDArray[Any], metric: NDArray[Any]) -> NDArray[Any]:
    """Return the squared lengths of (m, d) steps in (..., m, d, d) metrics."""
    square = np.zeros(metric.shape[:-2])
    # term by term: three times as fast as einsum, and the result for an edge does not depend on its place in the block
    for a, b in np.ndindex(metric.shape[-2:]):
        square += metric[..., a, b] * (delta[:, a] * delta[:, b])
    return square.clip(min=0)
