"""Neighborhoods of all sizes at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def auc_rnx(rank_x: NDArray[np.integer], rank_z: NDArray[np.integer]) -> NDArray[np.float64]:
    r"""Return the area under R_NX(K) that each cell contributes; its mean over cells is AUC_RNX.

    .. math:: \mathrm{AUC} = \frac{\sum_K R_{NX}(K)/K}{\sum_K 1/K}, \quad
              R_{NX}(K) = \frac{(n-1)\,Q_{NX}(K) - K}{n - 1 - K}, \quad K = 1, …, n-2

    where Q_NX(K) is the share of the K nearest neighbors that the embedding keeps. The weights
    1/K make it an area over log K. 1 is perfect, 0 what a random embedding gives.

    Parameters
    ----------
    rank_x, rank_z
        (m, n) ranks of all n cells among the neighbors of m of them, in the representation and on
        the embedding; 0 for the cell itself (`neighbor_ranks`).

    Returns
    -------
    (m,)

    References
    ----------
    Lee, Peluffo-Ordóñez & Verleysen 2015, *Multi-scale similarities in stochastic neighbour
    embedding*, Eq. 17.

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
    # A pair counts in all Q(K) with K from the larger of its two ranks on: the sum over K of what
    # it adds there is one look-up.
    gain = np.zeros(n)
    gain[1:-1] = np.cumsum((weights * (n - 1) / (sizes * (n - 1 - sizes)))[::-1])[::-1]
    by_chance = np.sum(weights * sizes / (n - 1 - sizes))
    return gain[np.maximum(rank_x, rank_z)].sum(1) - by_chance
