"""Whether distances are kept, over all pairs of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the Pearson correlation of two arrays of one shape; of their ranks it is Spearman's.

    NaN if either is constant.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality import correlation
    >>> round(correlation(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0])), 12)
    1.0
    """
    a, b = a - a.mean(), b - b.mean()
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return float(np.vdot(a, b) / norms) if norms > 0 else float("nan")


def average_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rank of each value from 0, equal values sharing the mean of theirs.

    As `scipy.stats.rankdata`, in a quarter of the time, because nothing needs a stable sort.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality import average_ranks
    >>> average_ranks(np.array([0.3, 0.1, 0.3]))
    array([1.5, 0. , 1.5])
    """
    order = np.argsort(values)
    ordered = values[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    counts = np.diff(np.r_[first, len(values)])
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(first + (counts - 1) / 2, counts)
    return ranks


def stress(distances_x: NDArray[np.float64], distances_z: NDArray[np.float64]) -> float:
    r"""Return how far the distances on the embedding are from those in the representation.

    .. math:: \mathrm{Stress} = \sqrt{\frac{\sum_{i<j} (d^X_{ij} - d^Z_{ij})^2}{\sum_{i<j} (d^Z_{ij})^2}}

    It punishes another scale too: only an embedding in units of the representation can be near 0.

    Parameters
    ----------
    distances_x, distances_z
        Of the same pairs, in the representation and on the embedding.

    Returns
    -------
    0 is perfect; NaN if all points of the embedding are equal.

    References
    ----------
    Kruskal 1964, *Multidimensional scaling*; divided by the distances of the embedding as in the
    literature of geometric autoencoders.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality import stress
    >>> stress(np.array([2.0, 4.0]), np.array([1.0, 2.0]))
    1.0
    """
    norm = np.linalg.norm(distances_z)
    return float(np.linalg.norm(distances_x - distances_z) / norm) if norm > 0 else float("nan")


def scale_free_stress(distances_x: NDArray[np.float64], distances_z: NDArray[np.float64]) -> float:
    r"""Return the stress of the embedding at the scale that fits best.

    .. math:: \min_\alpha \sqrt{\frac{\sum_{i<j} (d^X_{ij} - \alpha d^Z_{ij})^2}{\sum_{i<j} (d^X_{ij})^2}}
              = \sqrt{1 - \frac{(\sum d^X d^Z)^2}{\sum (d^X)^2 \sum (d^Z)^2}}

    Parameters
    ----------
    distances_x, distances_z
        Of the same pairs, in the representation and on the embedding.

    Returns
    -------
    Between 0, perfect, and 1; NaN if all points of either are equal.

    References
    ----------
    Kruskal 1964, *Multidimensional scaling*, minimised over the scale.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality import scale_free_stress
    >>> scale_free_stress(np.array([2.0, 4.0]), np.array([1.0, 2.0]))
    0.0
    """
    norm_x, norm_z = np.linalg.norm(distances_x), np.linalg.norm(distances_z)
    if not norm_x * norm_z > 0:
        return float("nan")
    alpha = np.vdot(distances_x, distances_z) / np.vdot(distances_z, distances_z)
    # the closed form would lose half of the digits near 0
    return float(np.linalg.norm(distances_x - alpha * distances_z) / norm_x)


def distance_correlation(distances_x: NDArray[np.float64], distances_z: NDArray[np.float64]) -> float:
    r"""Return the distance correlation of two sets of points.

    .. math:: \mathrm{dCor} = \sqrt{\frac{\langle A, B \rangle}{\|A\|\,\|B\|}}

    with A and B the distances after subtracting the means of rows and columns and adding the mean
    of all. It is 0 where the two are independent, 1 for a similarity.

    Parameters
    ----------
    distances_x, distances_z
        (m, m) symmetric, in the representation and on the embedding.

    Returns
    -------
    Between 0 and 1; 1 is best. NaN if all points of either are equal.

    References
    ----------
    Székely, Rizzo & Bakirov 2007, *Measuring and testing dependence by correlation of distances*,
    Annals of Statistics 35.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality import distance_correlation
    >>> d = np.abs(np.subtract.outer(np.arange(4.0), np.arange(4.0)))
    >>> round(distance_correlation(d, 2 * d), 12)
    1.0
    """
    a, b = _double_centered(distances_x), _double_centered(distances_z)
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    # the numerator is never negative but by rounding
    return float(np.sqrt(max(np.vdot(a, b), 0) / norms)) if norms > 0 else float("nan")


def _double_centered(d: NDArray[np.float64]) -> NDArray[np.float64]:
    mean = d.mean(0)
    return d - mean - mean[:, None] + mean.mean()
