"""The neighbour graph of a map, measured with its metric tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse

from .edges import both_ways, positive_widths

if TYPE_CHECKING:
    from numpy.typing import NDArray


class MetricGraph(NamedTuple):
    """Three (n, n) matrices on the edges of a neighbour graph."""

    metric: sparse.csr_matrix
    """k a row: (z_j − z_i)ᵀ G_i (z_j − z_i), the squared length of the edge as cell i measures it."""
    distances: sparse.csr_matrix
    """Symmetric: the length of the edge in the metric that varies along it."""
    connectivities: sparse.csr_matrix
    """Symmetric: an adaptive Gaussian kernel of the lengths, between 0 and 1."""


def metric_graph(z: NDArray, metric: NDArray, neighbors: NDArray[np.integer]) -> MetricGraph:
    r"""Measure a neighbour graph.

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
        (n, k) cells next to each cell, itself excluded.
    """
    n, k = neighbors.shape
    z, metric = z.astype(np.float64), metric.astype(np.float64)
    delta = z[neighbors] - z[:, None]
    here = _squared_length(delta, metric[:, None])
    there = _squared_length(delta, metric[neighbors])
    length = (np.sqrt(here) + np.sqrt(there)) / 2

    i, j, edge = both_ways(neighbors, length)
    width = positive_widths(length)
    spread = width[i] ** 2 + width[j] ** 2
    weight = np.sqrt(2 * width[i] * width[j] / spread) * np.exp(-(edge**2) / spread)

    def matrix(values: NDArray, rows: NDArray, columns: NDArray) -> sparse.csr_matrix:
        csr = sparse.csr_matrix((values.astype(np.float32), (rows, columns)), shape=(n, n))
        csr.sort_indices()
        return csr

    rows = np.repeat(np.arange(n), k)
    return MetricGraph(matrix(here.ravel(), rows, neighbors.ravel()), matrix(edge, i, j), matrix(weight, i, j))


def _squared_length(delta: NDArray, metric: NDArray) -> NDArray:
    return np.einsum("...a,...ab,...b->...", delta, metric, delta).clip(min=0)
