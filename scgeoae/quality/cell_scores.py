"""Scores of each cell: neighbors that are kept, labels that stay together, and densities."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Neighbors that `purity` and `label_accuracy` look at, as many as sc.pp.neighbors takes.
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
    order = neighbor_order(distances, own)
    return Ranks(order, inverse_order(order))


def neighbor_order(distances: NDArray[np.float64], own: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the first part of `neighbor_ranks`, (m, n)."""
    distances = distances.copy()
    distances[np.arange(len(own)), own] = -1
    return np.argsort(distances, axis=1)


def inverse_order(order: NDArray[np.intp]) -> NDArray[np.int32]:
    """Return the second part of `neighbor_ranks`, (m, n)."""
    rank = np.empty(order.shape, dtype=np.int32)
    for row, columns in zip(rank, order, strict=True):
        row[columns] = np.arange(len(row), dtype=np.int32)
    return rank


def ranks_in_order(rank: NDArray[np.int32], order: NDArray[np.intp]) -> NDArray[np.int32]:
    """Return the rank in one space of the a-th nearest point in another: entry (i, a) is ``rank[i, order[i, a]]``."""
    found = np.empty_like(rank)
    # this takes a third of the time of np.take_along_axis
    for row, columns, out in zip(rank, order, found, strict=True):
        np.take(row, columns, out=out, mode="clip")
    return found


def exchange_ranks(rank: NDArray[np.int32], k: int) -> NDArray[np.intp]:
    """Return the rank in the other space of the k nearest points of the first, (m, k).

    Parameters
    ----------
    rank
        (m, n) permutations of 0 … n − 1, as `ranks_in_order` returns them: entry (i, a) is the rank in the first space
        of the a-th nearest point in the other.
    k
        Number of neighbors, without the point itself.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality.cell_scores import exchange_ranks
    >>> exchange_ranks(np.array([[0, 3, 1, 2]], dtype=np.int32), 2)
    array([[2, 3]])
    """
    rows, other = np.nonzero((rank > 0) & (rank <= k))
    found = np.empty((len(rank), k), dtype=np.intp)
    found[rows, rank[rows, other] - 1] = other
    return found


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

    in the normalization of `sklearn.manifold.trustworthiness`, whose value is the mean over cells. With the two sides
    exchanged, :math:`r_{ia}` the rank on the embedding of the a-th nearest neighbor in the representation, it is the
    continuity: how free the neighborhood in the representation is of cells that are far away on the embedding.

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
        the cell itself (`neighbor_ranks`). The columns of both may be in any other order, too, even one for each row.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality import auc_rnx
    >>> rank = np.array([[0, 1, 2, 3, 4], [4, 0, 1, 3, 2]])
    >>> auc_rnx(rank, rank).round(12)
    array([1., 1.])
    """
    gain, by_chance = _area_gains(rank_x.shape[1])
    areas = [
        gain.take(np.maximum(x, z)).sum() for x, z in zip(rank_x, np.broadcast_to(rank_z, rank_x.shape), strict=True)
    ]
    return np.array(areas) - by_chance


# all blocks of cells have one n
@lru_cache(maxsize=1)
def _area_gains(n: int) -> tuple[NDArray[np.float64], float]:
    """Return what a pair adds to the area, by the larger of its two ranks, and what to subtract for chance."""
    sizes = np.arange(1, n - 1)
    weights = 1 / sizes / np.sum(1 / sizes)
    # A pair counts in all Q(K) with K from the larger of its two ranks on, so its sum over K is one look-up.
    gain = np.zeros(n)
    gain[1:-1] = np.cumsum((weights * (n - 1) / (sizes * (n - 1 - sizes)))[::-1])[::-1]
    return gain, float(np.sum(weights * sizes / (n - 1 - sizes)))


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


def label_accuracy(
    neighbors: NDArray[np.integer], own: NDArray[np.integer], labels: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Return whether the neighbors of each cell predict its label: 1 if most of them have it, else 0.

    If several labels are equally frequent among the neighbors, each of them counts as predicted with the same
    probability: a tie of t labels scores 1/t if the cell's is one of them.

    Parameters
    ----------
    neighbors, own, labels
        As in `purity`.

    Returns
    -------
    (m,) between 0 and 1; 1 is best. The mean over cells is the accuracy of a k-nearest-neighbor classifier.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality.cell_scores import label_accuracy
    >>> label_accuracy(np.array([[1, 2, 3], [0, 3, 4]]), np.array([0, 1]), np.array([5, 5, 5, 7, 9]))
    array([1.        , 0.33333333])
    """
    found = labels[neighbors]
    # how many of the neighbors share the label of each neighbor
    votes = (found[:, :, None] == found[:, None, :]).sum(2)
    most = votes.max(1)
    # a label with `most` votes is there `most` times
    tied = (votes == most[:, None]).sum(1) / most
    return np.where((found == labels[own][:, None]).sum(1) == most, 1 / tied, 0.0)


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
