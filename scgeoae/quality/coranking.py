"""Measures of the co-ranking matrix: the ranks of all pairs of cells in the data and on an embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .cell_scores import inverse_order
from .distances import distances, for_row_blocks, squared_norms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from .distances import Points


def coranking_measures(
    x: Points, embeddings: Mapping[str, NDArray[np.float64]], *, k: int = 30
) -> dict[str, dict[str, float]]:
    r"""Return the measures of the co-ranking matrix that OpenProblems computes, for several embeddings.

    Cell j has the rank :math:`r_{ij}` among the neighbors of cell i in the data, and :math:`s_{ij}` on the embedding,
    from 1. Equal distances are ranked in the order of the rows. With

    .. math:: Q_{NX}(K) = \frac{1}{Kn} \#\{(i, j) : \max(r_{ij}, s_{ij}) \le K\}, \quad
              \mathrm{LCMC}(K) = Q_{NX}(K) - \frac{K}{n - 1}, \quad K = 1, …, n - 1

    and the first :math:`K_{\max}` at which LCMC is largest, these are

    - ``trustworthiness_at_k30`` :math:`1 - \frac{2}{G} \sum_{s_{ij} \le k} \max(0, r_{ij} - k)` and
      ``continuity_at_k30`` :math:`1 - \frac{2}{G} \sum_{r_{ij} \le k} \max(0, s_{ij} - k)`, where
      :math:`G = nk(2n - 3k - 1)` if :math:`k < n/2`, else :math:`n(n - k)(n - k - 1)`;
    - ``qnx_at_k30`` :math:`Q_{NX}(k)` and ``lcmc_at_k30`` :math:`\mathrm{LCMC}(k)`;
    - ``qnx_auc`` the mean of :math:`Q_{NX}` over all K, ``qlocal`` the mean up to :math:`K_{\max}`, and ``qglobal`` the
      mean beyond it, NaN if there is nothing beyond.

    Memory grows with n, not with its square: blocks of rows are ranked, and the matrix itself is never formed.

    Source: Lee & Verleysen 2009, *Quality assessment of dimensionality reduction: rank-based criteria*; the names and
    the normalization are those of the R package coRanking.

    Parameters
    ----------
    x
        (n, D) data, dense or sparse.
    embeddings
        By name, (n, d) positions of the same cells.
    k
        Size of the neighborhoods, less than n − 1.

    Returns
    -------
    By name of the embedding, the seven values by name. 1 is best.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality.coranking import coranking_measures
    >>> x = np.array([[0.0], [1.0], [3.0], [7.0]])
    >>> coranking_measures(x, {"same": x}, k=1)["same"]["qnx_auc"]
    1.0
    """
    n = x.shape[0]
    larger = {name: np.zeros(n, dtype=np.int64) for name in embeddings}
    missing = {name: {"trustworthiness": 0, "continuity": 0} for name in embeddings}
    parts: list[tuple[str, NDArray[np.int64], int, int]] = []

    squares_x = squared_norms(x)

    def measure(own: NDArray[np.intp]) -> None:
        r = _ranks(x, own, squares_x)
        for name, z in embeddings.items():
            s = _ranks(z, own)
            counts = np.bincount(np.maximum(r, s).ravel(), minlength=n)
            parts.append((name, counts, _beyond(r[s <= k], k), _beyond(s[r <= k], k)))

    for_row_blocks(measure, np.arange(n), n)
    # sums of integers, so the order of the parts does not matter
    for name, counts, intruders, lost in parts:
        larger[name] += counts
        missing[name]["trustworthiness"] += intruders
        missing[name]["continuity"] += lost
    g = n * k * (2 * n - 3 * k - 1) if k < n / 2 else n * (n - k) * (n - k - 1)
    return {
        name: {f"{which}_at_k30": 1 - 2 * total / g for which, total in missing[name].items()}
        | _curve_measures(larger[name], k)
        for name in embeddings
    }


def _ranks(points: Points, own: NDArray[np.intp], squares: NDArray[np.float64] | None = None) -> NDArray[np.int32]:
    """Return the ranks of all n cells among the neighbors of some, (m, n), with 0 for the cell itself."""
    d = distances(points[own], points, squares)
    d[np.arange(len(own)), own] = -1
    return inverse_order(np.argsort(d, axis=1, kind="stable"))


def _beyond(ranks: NDArray[np.int32], k: int) -> int:
    return int(np.maximum(ranks - k, 0).sum(dtype=np.int64))


def _curve_measures(larger: NDArray[np.int64], k: int) -> dict[str, float]:
    """Return the measures of Q_NX from the number of pairs by the larger of their ranks, (n,); entry 0 is ignored."""
    n = len(larger)
    sizes = np.arange(1, n)
    q_nx = np.cumsum(larger[1:]) / (sizes * n)
    lcmc = q_nx - sizes / (n - 1)
    k_max = int(np.argmax(lcmc)) + 1
    return {
        "qnx_at_k30": float(q_nx[k - 1]),
        "lcmc_at_k30": float(lcmc[k - 1]),
        "qnx_auc": float(q_nx.mean()),
        "qlocal": float(q_nx[:k_max].mean()),
        "qglobal": float(q_nx[k_max:].mean()) if k_max < n - 1 else float("nan"),
    }
