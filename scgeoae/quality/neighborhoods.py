"""Neighborhood preservation and trustworthiness of each cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def sizes(n: int) -> range:
    """Return the sizes of neighborhoods that are averaged over: k = 10, 20, …, 200 below n/2."""
    return range(10, min(200, (n - 1) // 2) + 1, 10)


def recall(rank: NDArray[np.integer], ks: Sequence[int]) -> NDArray[np.float64]:
    r"""Return which share of its neighbors on the embedding each cell has in the representation too.

    .. math:: \mathrm{kNN}_i = \frac{1}{|\mathcal{K}|} \sum_{k \in \mathcal{K}} \frac1k
              \#\{a \le k : r_{ia} \le k\}

    with :math:`r_{ia}` the rank, among the neighbors of cell i in the representation, of its a-th
    nearest neighbor on the embedding. As both neighborhoods have k cells, it is the share of the
    representation's neighbors that the embedding keeps as well.

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
    r"""Return how little each cell's neighborhood on the embedding is intruded by distant cells.

    .. math:: \mathrm{Trust}_i = \frac{1}{|\mathcal{K}|} \sum_{k \in \mathcal{K}} \left(1 -
              \frac{2}{k\,(2n - 3k - 1)} \sum_{a \le k} \max(0, r_{ia} - k)\right)

    in the normalisation of `sklearn.manifold.trustworthiness`, whose value is the mean over cells.

    Parameters
    ----------
    rank
        (m, at least max k), as in `recall`.
    n
        Number of all cells, among which the ranks count.
    ks
        Sizes of neighborhoods, each below n/2.

    Returns
    -------
    (m,) between 0 and 1; 1 is best.

    References
    ----------
    Venna & Kaski 2001, *Neighborhood preservation in nonlinear projection methods*, ICANN.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality import trust
    >>> trust(np.array([[1, 2], [2, 9]]), 10, [2]).round(3)  # the second: its farthest cell came near
    array([1.   , 0.462])
    """
    parts = [1 - 2 / (k * (2 * n - 3 * k - 1)) * np.maximum(rank[:, :k] - k, 0).sum(1) for k in ks]
    return np.mean(parts, axis=0)
