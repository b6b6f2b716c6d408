"""How positions, neighbors and distances vary over repeated maps of the same cells."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse
from scipy.spatial import KDTree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Smallest variance in any direction, as a share of the median one: an ellipse always has an area.
LEAST_VARIANCE = 1e-6
# Steps of the alignment, and the smallest distance that counts, as a share of the median one.
N_ITERATIONS, SMALLEST = 30, 1e-3


def aligned(z: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.float64]:
    r"""Return (m, d) positions, moved, rotated and if need be mirrored to lie as near to a `target` as possible.

    It is :math:`(z - a) R + b` with an orthogonal R, for the least sum of distances :math:`\sum_i \|z_i' - t_i\|` to
    the (n, d) target. With squared distances, a few cells far from all others would turn the rest. Lengths stay. If
    m > n, the last m − n positions move along. The sum falls in each step of Procrustes with weights (Weiszfeld 1937).

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality.stability import aligned
    >>> square = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> bool(np.allclose(aligned(5 - square, square), square))
    True
    """
    z, target = np.asarray(z, dtype=np.float64), np.asarray(target, dtype=np.float64)
    n = len(target)
    weights = np.ones(n)
    for _ in range(N_ITERATIONS):
        origin, center = (np.average(each, axis=0, weights=weights) for each in (z[:n], target))
        u, _, vh = np.linalg.svd(((z[:n] - origin) * weights[:, None]).T @ (target - center))
        found = (z - origin) @ (u @ vh) + center
        distance = np.linalg.norm(found[:n] - target, axis=1)
        # a cell that lies on its target must not hold all others
        least = max(SMALLEST * float(np.median(distance)), float(np.finfo(np.float32).tiny))
        weights = 1 / np.maximum(distance, least)
    return found


class Ellipses(NamedTuple):
    """Where cells may lie on another map."""

    shape: NDArray[np.float64]
    """(n, d, d) S: the ellipse of a cell is {v : vᵀ S⁻¹ v ≤ 1} around its position."""
    coverage: NDArray[np.float64]
    """(k,) share of the cells whose position on one refit lies in the ellipse that the other refits give."""
    factor: float
    """S divided by the covariance of the difference of two maps."""


def ellipses(refits: NDArray[np.floating], *, around: NDArray[np.integer], level: float = 0.9) -> Ellipses:
    r"""Return the ellipses that hold the positions on another map with probability `level`.

    Let :math:`\bar C_i` be the covariance of a cell's positions on the k refits, averaged over the cells `around` it.
    Two maps of fresh cells differ by twice that, so :math:`S_i = 2 f \bar C_i`. The factor f is found by leaving out
    one refit after the other: at a share `level` of the cells and refits,

    .. math:: v^\top (\tfrac{k}{k-1} \bar C_i^{-})^{-1} v \le f,

    where v leads from the mean of the other k − 1 refits to the position on the one left out, :math:`\bar C_i^{-}` is
    the covariance over these others, and the fraction accounts for the error of their mean. For normal distributions
    known exactly, f is a quantile of the χ² distribution.

    Parameters
    ----------
    refits
        (k, n, d) aligned positions, k ≥ 3.
    around
        (n, m) rows of the cells near each cell, with the cell itself.
    """
    k, _, d = refits.shape
    offset = refits - refits.mean(0, dtype=np.float64)
    products = np.einsum("kni,knj->nij", offset, offset)

    def pooled(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
        mean = np.zeros_like(covariance)
        for column in around.T:
            mean += covariance[column] / around.shape[1]
        floor = LEAST_VARIANCE * np.median(np.trace(mean, axis1=1, axis2=2)) / d
        return mean + np.eye(d) * max(float(floor), float(np.finfo(np.float32).tiny))

    squares = np.empty(refits.shape[:2])
    for j, v in enumerate(offset):
        # leaving one out moves the mean by v/(k − 1)
        others = (products - k / (k - 1) * v[:, :, None] * v[:, None, :]) / (k - 2)
        step = k / (k - 1) * v
        squares[j] = (
            (k - 1) / k * np.einsum("ni,ni->n", step, np.linalg.solve(pooled(others), step[:, :, None])[..., 0])
        )
    factor = float(np.quantile(squares, level))
    coverage = [np.mean(squares[j] <= np.quantile(np.delete(squares, j, 0), level)) for j in range(k)]
    return Ellipses(2 * factor * pooled(products / (k - 1)), np.array(coverage), factor)


def nearest_on_map(z: NDArray[np.floating], n_neighbors: int) -> NDArray[np.intp]:
    """Return the rows of the `n_neighbors` nearest others on the map, (n, n_neighbors), nearest first."""
    found = KDTree(z).query(z, n_neighbors + 1)[1]
    # a cell at the same place may come before the cell itself, or crowd it out
    is_self = found == np.arange(len(z))[:, None]
    is_self[~is_self.any(1), -1] = True
    return found[~is_self].reshape(len(z), n_neighbors)


def share_that_stays(near: NDArray[np.integer], refits: NDArray[np.floating], *, among: int) -> NDArray[np.float64]:
    """Return how often each of the (n, m) cells `near` others is `among` the nearest of these on a refit, (n, m)."""
    counts = np.zeros(near.shape)
    for z in refits:
        there = nearest_on_map(z, among)
        for column in range(near.shape[1]):
            counts[:, column] += (there == near[:, column, None]).any(1)
    return counts / len(refits)


class Order(NamedTuple):
    """Of two groups, which is nearer to a third: g(g − 1)(g − 2)/2 rows."""

    group: NDArray[np.intp]
    nearer: NDArray[np.intp]
    """The group that is nearer to `group` on the map."""
    farther: NDArray[np.intp]
    distance: NDArray[np.float64]
    """From `group` to `nearer` on the map."""
    distance_farther: NDArray[np.float64]
    share: NDArray[np.float64]
    """Share of the refits in which `nearer` is the nearer one, too."""


def order_of_groups(
    z: NDArray[np.floating], refits: NDArray[np.floating], groups: Sequence[NDArray[np.integer]]
) -> Order:
    """Return which of two groups is nearer to a third one, and how many refits agree.

    The distance between two groups is that between the means of their cells. Rows are sorted by group and distances.
    """
    here = _distances(z, groups)
    there = np.stack([_distances(refit, groups) for refit in refits])
    rows = []
    for i, distances in enumerate(here):
        others = [j for j in np.argsort(distances, kind="stable") if j != i]
        rows += [(i, *pair) for pair in combinations(others, 2)]
    a, b, c = np.array(rows, dtype=np.intp).reshape(-1, 3).T
    return Order(a, b, c, here[a, b], here[a, c], (there[:, a, b] < there[:, a, c]).mean(0))


def _distances(z: NDArray[np.floating], groups: Sequence[NDArray[np.integer]]) -> NDArray[np.float64]:
    centers = np.stack([z[rows].mean(0, dtype=np.float64) for rows in groups])
    return np.linalg.norm(centers[:, None] - centers, axis=2)


def as_graph(near: NDArray[np.integer], values: NDArray[np.floating]) -> sparse.csr_matrix:
    """Return values of the (n, m) cells near each cell as an (n, n) float32 matrix with m entries per row."""
    n, m = near.shape
    order = np.argsort(near, axis=1)
    columns, data = np.take_along_axis(near, order, 1), np.take_along_axis(values, order, 1)
    return sparse.csr_matrix((data.ravel().astype(np.float32), columns.ravel(), np.arange(0, n * m + 1, m)), (n, n))
