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
# Cells whose edges a thread weighs at a time.
WEIGHED = 2**11


class MetricGraph(NamedTuple):
    """Three (n, n) matrices on the edges of a neighbor graph."""

    metric: sparse.csr_matrix
    """k a row: (z_j − z_i)ᵀ G_i (z_j − z_i), the squared length of the edge in the metric of cell i."""
    distances: sparse.csr_matrix
    """Symmetric: the length of the edge in the metric that varies along it."""
    connectivities: sparse.csr_matrix
    """Symmetric: an adaptive Gaussian kernel of the lengths, between 0 and 1."""


class MeasuredEdges(NamedTuple):
    """The edges of m cells among n."""

    metric: sparse.csr_matrix
    """(m, n) rows of `MetricGraph.metric`."""
    distances: sparse.csr_matrix
    """(m, n) rows of `MetricGraph.distances`."""
    width: NDArray[np.float64]
    """(m,) median length of the edges of a cell to its neighbors."""


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
    edges = measured_edges(z, metric, neighbors)
    return MetricGraph(edges.metric, edges.distances, connectivities_of(edges.distances, positive(edges.width)))


def measured_edges(
    z: NDArray[Any], metric: NDArray[Any], neighbors: NDArray[np.integer], start: int = 0, stop: int | None = None
) -> MeasuredEdges:
    """Measure the edges of the cells from `start` to `stop`, by default of all, as `metric_graph` does.

    Parameters
    ----------
    z
        (n, d) positions on the map.
    metric
        (n, d, d) metric tensors there, or (n, d(d+1)/2), their upper triangles row by row.
    neighbors
        (n, k) neighbors of each cell, without itself.
    """
    (n, k), d = neighbors.shape, z.shape[1]
    entries = np.arange(d**2).reshape(d, d)
    if metric.ndim == 2:
        upper = np.triu_indices(d)
        entries[upper] = entries.T[upper] = np.arange(metric.shape[1])
    metric = metric.reshape(n, -1)
    links = linked(neighbors, start, stop)
    m = links.shape[0]
    squares, width, lengths = np.empty((m, k), np.float32), np.empty(m), np.empty(links.nnz, np.float32)

    def measure(first: int, last: int) -> None:
        edges, i, j = _edges(links, first, last)
        i += start
        delta = z.take(j, axis=0).astype(np.float64) - z.take(i, axis=0)
        square = _squared_length(delta, metric.take([i, j], axis=0), entries)
        length = np.sqrt(square).mean(axis=0)
        to_neighbor = links.data[edges] != BACKWARD
        squares[first:last] = square[0, to_neighbor].reshape(-1, k)
        width[first:last] = medians(length[to_neighbor].reshape(-1, k))
        lengths[edges] = length

    parallel_blocks(measure, m, block=max(BLOCK // (k * d**2), 1))
    neighbors_of_rows = links.indices[links.data != BACKWARD]
    return MeasuredEdges(
        sparse.csr_matrix((squares.ravel(), neighbors_of_rows, np.arange(0, m * k + 1, k)), shape=(m, n)),
        sparse.csr_matrix((lengths, links.indices, links.indptr), shape=(m, n)),
        width,
    )


def connectivities_of(distances: sparse.csr_matrix, width: NDArray[np.float64], start: int = 0) -> sparse.csr_matrix:
    """Return the connectivities of edges, (m, n), as `metric_graph` does.

    Parameters
    ----------
    distances
        (m, n) lengths of the edges of the cells from `start` on.
    width
        (n,) median length of the edges of each cell, above 0.
    """
    weights = np.empty(distances.nnz, dtype=np.float32)

    def weigh(first: int, last: int) -> None:
        edges, i, j = _edges(distances, first, last)
        a, b = width.take(i + start), width.take(j)
        spread = a**2 + b**2
        weights[edges] = np.sqrt(2 * a * b / spread) * np.exp(-(distances.data[edges].astype(np.float64) ** 2) / spread)

    parallel_blocks(weigh, distances.shape[0], block=WEIGHED)
    # copies, so that changing one of the two matrices in place does not change the other
    return sparse.csr_matrix((weights, distances.indices.copy(), distances.indptr.copy()), shape=distances.shape)


def _edges(links: sparse.csr_matrix, start: int, stop: int) -> tuple[slice, NDArray[Any], NDArray[Any]]:
    """Return where the edges of some rows are, and from which row to which column these go."""
    ends = links.indptr[start : stop + 1]
    edges = slice(ends[0], ends[-1])
    return edges, np.repeat(np.arange(start, stop), np.diff(ends)), links.indices[edges]


def _squared_length(delta: NDArray[Any], metric: NDArray[Any], entries: NDArray[np.intp]) -> NDArray[Any]:
    """Return the squared lengths of (m, d) steps in (..., m, e) metrics, which have the (d, d) `entries`."""
    square = np.zeros(metric.shape[:-1])
    # term by term: three times as fast as einsum, and the result for an edge does not depend on its place in the block
    for (a, b), entry in np.ndenumerate(entries):
        square += metric[..., entry] * (delta[:, a] * delta[:, b])
    return square.clip(min=0)
