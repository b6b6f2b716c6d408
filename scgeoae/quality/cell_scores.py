"""Scores of each cell: neighbors that are kept, labels that stay together, and densities."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Neighbors that `purity` looks at, as many as sc.pp.neighbors takes.
N_NEIGHBORS = 15


class Ranks(NamedTuple):
    """Neighbors in the order of their distances."""

    order: NDArray[np.intp]
    """(m, n): entry (i, a) is the a-th nearest point of point i; at a = 0 itself"""
    rank: NDArray[np.int32]
    """(m, n): entry (i, j) is the a for which ``order[i, a]`` is j"""


def neighbor_ranks(distances: NDArray[np.float64], own: NDArray[np.intp]) -> Ranks:
    """Rank the neighbors of some points among all points; equal distances come in a fixed, arbitrary order.

    Parameters
    ----------
    distances
        (m, n) from m of the n points to all of them.
    own
        (m,) column of each row's own point, which comes first whatever its distance.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality import neighbor_ranks
    >>> neighbor_ranks(np.array([[0.0, 3.0, 1.0]]), np.array([0])).rank
    array([[0, 2, 1]], dtype=int32)
    """
    distances = distances.copy()
    distances[np.arange(len(own)), own] = -1
    order = np.argsort(distances, axis=1)
    rank = np.empty(order.shape, dtype=np.int32)
    np.put_along_axis(rank, order, np.arange(order.shape[1], dtype=np.int32)[None], axis=1)
    return Ranks(order, rank)


def sizes(n: int) -> range:
    """Return the sizes of neighborhoods that are averaged over: k = 10, 20, …, 200 below n/2."""
    return range(10, min(200, (n - 1) // 2) + 1, 10)


def recall(rank: NDArray[np.integer], ks: Sequence[int]) -> NDArray[np.float64]:
    r"""Return the share of each cell's neighbors on the embedding that are its neighbors in the representation too.

    .. math:: \mathrm{kNN}_i = \frac{1}{|\mathcal{K}|} \sum_{k \in \mathcal{K}} \frac1k
              \#\{a \le k : r_{ia} \le k\}

    with :math:`r_{ia}` the rank, among the neighbors of cell i in the representation, of its a-th nearest neighbor on
    the embedding. As both neighborhoods have k cells, it is also the share of the representation's neighbors that the
    embedding keeps.

    Parameters
    ----------
    rank
        (m, at least max k) the :math:`r_{ia}`, from 1; column 0 is a = 1.
    ks
        Sizes of neighborhoods.

    Returns
    -------
    (m,) between 0 and 1; 1 is best. kNN of the embedding is the mean over cells.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality import recall
    >>> recall(np.array([[1, 3], [2, 1]]), [2])
    array([0.5, 1. ])
    """
    return np.mean([(rank[:, :k] <= k).mean(1) for k in ks], axis=0)


def trust(rank: NDArray[np.integer], n: int, ks: Sequence[int]) -> NDArray[np.float64]:
    r"""Return how free each cell's neighborhood on the embedding is of distant cells: its trustworthiness.

    .. math:: \mathrm{Trust}_i = \frac{1}{|\mathcal{K}|} \sum_{k \in \mathcal{K}} \left(1 -
              \frac{2}{k\,(2n - 3k - 1)} \sum_{a \le k} \max(0, r_{ia} - k)\right)

    in the normalization of `sklearn.manifold.trustworthiness`, whose value is the mean over cells.

    Source: Venna & Kaski 2001, *Neighborhood preservation in nonlinear projection methods*, ICANN.

    Parameters
    ----------
    rank
        (m, at least max k), as in `recall`.
    n
        Number of all cells, which are ranked.
    ks
        Sizes of neighborhoods, each below n/2.

    Returns
    -------
    (m,) between 0 and 1; 1 is best.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality import trust
    >>> trust(np.array([[1, 2], [2, 9]]), 10, [2]).round(3)  # the second: its farthest cell came near
    array([1.   , 0.462])
    """
    parts = [1 - 2 / (k * (2 * n - 3 * k - 1)) * np.maximum(rank[:, :k] - k, 0).sum(1) for k in ks]
    return np.mean(parts, axis=0)


def auc_rnx(rank_x: NDArray[np.integer], rank_z: NDArray[np.integer]) -> NDArray[np.float64]:
    r"""Return how well neighborhoods of all sizes are kept: each cell's share of the area under R_NX(K), (m,).

    .. math:: \mathrm{AUC} = \frac{\sum_K R_{NX}(K)/K}{\sum_K 1/K}, \quad
              R_{NX}(K) = \frac{(n-1)\,Q_{NX}(K) - K}{n - 1 - K}, \quad K = 1, …, n-2

    where Q_NX(K) is the share of the K nearest neighbors that the embedding keeps. The weights 1/K make it an area over
    log K. 1 is perfect, 0 is what a random embedding gives. AUC_RNX is the mean over cells.

    Source: Lee, Peluffo-Ordóñez & Verleysen 2015, *Multi-scale similarities in stochastic neighbour embedding*, Eq. 17.

    Parameters
    ----------
    rank_x, rank_z
        (m, n) ranks of all n cells among the neighbors of m of them, in the representation and on the embedding; 0 for
        the cell itself (`neighbor_ranks`).

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality import auc_rnx
    >>> rank = np.array([[0, 1, 2, 3, 4], [4, 0, 1, 3, 2]])
    >>> auc_rnx(rank, rank).round(12)
    array([1., 1.])
    """
    n = rank_x.shape[1]
    sizes = np.arange(1, n - 1)
    weights = 1 / sizes / np.sum(1 / sizes)
    # A pair counts in all Q(K) with K from the larger of its two ranks on, so its sum over K is one look-up.
    gain = np.zeros(n)
    gain[1:-1] = np.cumsum((weights * (n - 1) / (sizes * (n - 1 - sizes)))[::-1])[::-1]
    by_chance = np.sum(weights * sizes / (n - 1 - sizes))
    return gain[np.maximum(rank_x, rank_z)].sum(1) - by_chance


def purity(
    neighbors: NDArray[np.integer], own: NDArray[np.integer], labels: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Return the share of each cell's neighbors that have its label.

    Parameters
    ----------
    neighbors
        (m, k) indices into all cells.
    own
        (m,) index of each row's cell.
    labels
        (n,) of all cells.

    Returns
    -------
    (m,) between 0 and 1; 1 is best.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality import purity
    >>> purity(np.array([[1, 2]]), np.array([0]), np.array([5, 5, 7]))
    array([0.5])
    """
    return (labels[neighbors] == labels[own][:, None]).mean(1)


def silhouette(
    sums: NDArray[np.float64], sizes: NDArray[np.integer], label: NDArray[np.integer]
) -> NDArray[np.float64]:
    r"""Return how clearly each cell lies with its own label: its silhouette, :math:`(b_i - a_i)/\max(a_i, b_i)`.

    a is the mean distance to the other cells of its label, b the mean distance to the cells of the nearest other label.
    The only cell of a label gets 0, as in `sklearn.metrics.silhouette_score`, which is the mean over cells.

    Source: Rousseeuw 1987, *Silhouettes*.

    Parameters
    ----------
    sums
        (m, L) sum of the distances from each cell to all cells of each label.
    sizes
        (L,) number of all cells of each label, ≥ 1; at least two labels.
    label
        (m,) index of each row's label.

    Returns
    -------
    (m,) between −1 and 1; 1 is best.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality import silhouette
    >>> silhouette(np.array([[1.0, 8.0]]), np.array([2, 2]), np.array([0]))
    array([0.75])
    """
    rows = np.arange(len(label))
    within = sums[rows, label] / np.maximum(sizes[label] - 1, 1)
    between = sums / sizes
    between[rows, label] = np.inf
    nearest = between.min(1)
    larger = np.maximum(within, nearest)
    # both are 0 where cells of two labels lie on one point: no label is nearer
    score = np.divide(nearest - within, larger, out=np.zeros(len(label)), where=larger > 0)
    return np.where(sizes[label] > 1, score, 0.0)


def kernel_density(distances: NDArray[np.float64], diameter: float, sigma: float) -> NDArray[np.float64]:
    r"""Return the density at each point, (m,), not normalized.

    .. math:: f_\sigma(i) = \sum_j \exp\left(-\frac{(d_{ij}/\max d)^2}{\sigma}\right)

    The sum includes the point itself.

    Source: Moor, Horn, Rieck & Borgwardt 2020, *Topological Autoencoders*, ICML.

    Parameters
    ----------
    distances
        (m, n) from m points to all.
    diameter
        max d, the largest distance.
    sigma
        Squared width of the kernel in units of the diameter.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality import kernel_density
    >>> kernel_density(np.array([[0.0, 1.0], [1.0, 0.0]]), 1.0, 1.0).round(3)
    array([1.368, 1.368])
    """
    exponents = np.square(distances)
    exponents *= -1 / (sigma * diameter**2)
    return np.exp(exponents, out=exponents).sum(1)


def density_kl(density_x: NDArray[np.float64], density_z: NDArray[np.float64]) -> float:
    r"""Return how far densities on an embedding are from those of the representation: KL(representation ‖ embedding).

    .. math:: \mathrm{KL}_\sigma = \sum_i p_i \log\frac{p_i}{q_i}, \quad
              p = f^X_\sigma / \textstyle\sum f^X_\sigma, \; q = f^Z_\sigma / \sum f^Z_\sigma

    Source: Moor, Horn, Rieck & Borgwardt 2020, *Topological Autoencoders*, ICML.

    Parameters
    ----------
    density_x, density_z
        (m,) positive densities of the same cells in the representation and on the embedding (`kernel_density`); they
        are normalized here.

    Returns
    -------
    In nats; 0 is perfect.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality import density_kl
    >>> density_kl(np.array([1.0, 3.0]), np.array([2.0, 6.0]))
    0.0
    """
    p, q = density_x / density_x.sum(), density_z / density_z.sum()
    return float(np.sum(p * np.log(p / q)))
