"""Whether labels stay together on the embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# neighbors that `purity` looks at, as many as sc.pp.neighbors takes
N_NEIGHBORS = 15


def purity(neighbors: NDArray[np.integer], own: NDArray[np.integer], labels: NDArray[np.integer]) -> NDArray:
    """Return for each cell the share of its neighbors that have its label.

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


def silhouette(sums: NDArray[np.float64], sizes: NDArray[np.integer], label: NDArray[np.integer]) -> NDArray:
    r"""Return the silhouette of each cell, :math:`(b_i - a_i)/\max(a_i, b_i)`.

    a is the mean distance to the other cells of its label, b that to the cells of the nearest
    other label. A cell that is alone with its label gets 0, as in `sklearn.metrics.silhouette_score`,
    which is the mean over cells.

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

    References
    ----------
    Rousseeuw 1987, *Silhouettes*.

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
