"""UMAP's fuzzy graph of the nearest neighbors, and the local radii that densMAP takes from it.

They are computed here, because importing umap-learn and compiling its functions takes 10 to 50 s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse

from ..graphs import nearest_others
from ..graphs.neighbors import both_ways
from .distances import distances, for_row_blocks, squared_norms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .distances import Points

# Settings of umap-learn: bisections of the width of a kernel, at most, how close its sum has to come, and the smallest
# width as a share of the mean distance.
N_BISECTIONS, TOLERANCE, LEAST_WIDTH = 64, 1e-5, 1e-3
# Keeps the logarithm of a radius of 0 finite.
TINY = 1e-8
# So many more neighbors are searched for, because matrix products round, before distances are computed one by one.
N_SPARE = 8
# Numbers in a block of differences: 32 MB.
BLOCK = 2**22


class Neighbors(NamedTuple):
    """The nearest others of each cell, the nearest first."""

    indices: NDArray[np.intp]
    """(n, k)"""
    distances: NDArray[np.float64]
    """(n, k)"""

    def first(self, k: int) -> Neighbors:
        """Return only the k nearest."""
        return Neighbors(self.indices[:, :k], self.distances[:, :k])


def exact_neighbors(x: Points, k: int) -> Neighbors:
    """Return the `k` nearest others of each cell, without approximation.

    Cells that are equally far come in the order of the rows, unless there are more than eight of them.

    Parameters
    ----------
    x
        (n, D) dense or sparse. A sparse matrix is multiplied in blocks of rows and never becomes dense.
    k
        Less than n.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality.fuzzy_graph import exact_neighbors
    >>> exact_neighbors(np.array([[0.0], [1.0], [3.0]]), 1).distances.ravel()
    array([1., 1., 2.])
    """
    n = x.shape[0]
    most = min(k + N_SPARE, n - 1)
    near = np.sort(_nearest_in_sparse(x, most) if sparse.issparse(x) else nearest_others(x, most), axis=1)
    length = np.empty(near.shape)
    step = max(BLOCK // (most * x.shape[1]), 1)
    for start in range(0, n, step):
        rows = slice(start, start + step)
        length[rows] = _lengths(x, np.arange(n)[rows], near[rows])
    nearest = np.argsort(length, axis=1, kind="stable")[:, :k]
    return Neighbors(np.take_along_axis(near, nearest, axis=1), np.take_along_axis(length, nearest, axis=1))


def _nearest_in_sparse(x: sparse.csr_array, k: int) -> NDArray[np.intp]:
    n = x.shape[0]
    near, squares = np.empty((n, k), dtype=np.intp), squared_norms(x)

    def search(own: NDArray[np.intp]) -> None:
        d = distances(x[own], x, squares)
        d[np.arange(len(own)), own] = np.inf
        near[own] = np.argpartition(d, k - 1, axis=1)[:, :k]

    for_row_blocks(search, np.arange(n), n)
    return near


def _lengths(x: Any, own: NDArray[np.intp], near: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the distances between some cells and others, (m, k), from the differences of their rows."""
    difference = x[np.repeat(own, near.shape[1])] - x[near.ravel()]
    square = difference.multiply(difference) if sparse.issparse(difference) else difference**2
    return np.sqrt(np.asarray(square.sum(axis=1), dtype=np.float64).reshape(near.shape))


def fuzzy_graph(neighbors: Neighbors) -> sparse.csr_matrix:
    r"""Return UMAP's graph of n cells, (n, n), symmetric with weights from 0 to 1.

    The weight of the edge from cell i to its neighbor j is
    :math:`w_{ij} = \exp(-\max(0, d_{ij} - \rho_i)/\sigma_i)`, where :math:`\rho_i` is the distance of the nearest other
    cell that is not a duplicate, and :math:`\sigma_i` is such that the weights of cell i sum to
    :math:`\log_2(k + 1)`. The graph has :math:`w_{ij} + w_{ji} - w_{ij} w_{ji}`.

    It is the graph of ``sc.pp.neighbors`` and of umap-learn, whose ``n_neighbors`` counts the cell itself and so is
    :math:`k + 1`, from exact neighbors.

    Source: McInnes, Healy & Melville 2018, *UMAP*, arXiv 1802.03426.

    Parameters
    ----------
    neighbors
        The k nearest others of each cell.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality.fuzzy_graph import exact_neighbors, fuzzy_graph
    >>> fuzzy_graph(exact_neighbors(np.array([[0.0], [1.0], [3.0]]), 1)).toarray()
    array([[0., 1., 0.],
           [1., 0., 1.],
           [0., 1., 0.]])
    """
    n, k = neighbors.indices.shape
    d = neighbors.distances
    nearest = np.where(d > 0, d, np.inf).min(axis=1)
    rho = np.where(np.isfinite(nearest), nearest, 0.0)
    beyond = np.maximum(d - rho[:, None], 0)
    # the mean includes the cell itself, at distance 0
    mean = d.sum(axis=1) / (k + 1)
    least = LEAST_WIDTH * np.where(rho > 0, mean, mean.mean())
    sigma = np.maximum(_widths(beyond, np.log2(k + 1)), least)[:, None]
    weights = np.exp(-np.divide(beyond, sigma, out=np.zeros_like(beyond), where=sigma > 0))
    rows = np.arange(0, n * k + 1, k)
    one_way = sparse.csr_matrix((weights.ravel(), neighbors.indices.ravel(), rows), shape=(n, n))
    other_way = one_way.T.tocsr()
    graph = sparse.csr_matrix(one_way + other_way - one_way.multiply(other_way))
    graph.eliminate_zeros()
    graph.sort_indices()
    return graph


def _widths(beyond: NDArray[np.float64], total: float) -> NDArray[np.float64]:
    """Return the widths at which the kernels of the rows of (n, k) distances sum to `total`, by bisection."""
    low, high, width = np.zeros(len(beyond)), np.full(len(beyond), np.inf), np.ones(len(beyond))
    open_ = np.arange(len(beyond))
    for _ in range(N_BISECTIONS):
        sums = np.exp(-beyond[open_] / width[open_, None]).sum(axis=1)
        left = np.abs(sums - total) >= TOLERANCE
        open_, too_wide = open_[left], sums[left] > total
        high[open_[too_wide]] = width[open_[too_wide]]
        low[open_[~too_wide]] = width[open_[~too_wide]]
        is_bounded = np.isfinite(high[open_])
        width[open_] = np.where(is_bounded, (low[open_] + np.where(is_bounded, high[open_], 0)) / 2, 2 * width[open_])
    return width


def local_radii(neighbors: Neighbors) -> NDArray[np.float64]:
    r"""Return the logarithm of the local radius of each cell, (n,), as densMAP defines it.

    .. math:: \log\left(10^{-8} + \frac{\sum_j w_{ij} d_{ij}}{\sum_j w_{ij}}\right)

    with the weights w of `fuzzy_graph`.

    Source: Narayan, Berger & Cho 2021, *Assessing single-cell transcriptomic variability through density-preserving
    data visualization*, Nature Biotechnology 39.

    Parameters
    ----------
    neighbors
        The nearest others of each cell; densMAP and OpenProblems take 29.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality.fuzzy_graph import exact_neighbors, local_radii
    >>> np.exp(local_radii(exact_neighbors(np.array([[0.0], [1.0], [3.0]]), 1))).round(6)
    array([1. , 1.5, 2. ])
    """
    n = len(neighbors.indices)
    edges = both_ways(neighbors.indices, neighbors.distances)
    weights = np.asarray(fuzzy_graph(neighbors)[edges.i, edges.j]).ravel()
    return np.log(TINY + np.bincount(edges.i, weights * edges.length, n) / np.bincount(edges.i, weights, n))
