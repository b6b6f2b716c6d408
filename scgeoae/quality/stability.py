"""How positions, neighbors and distances vary over repeated maps of the same cells."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse

from ..graphs import nearest_others

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
    """(k,) share of the steps from or to a refit that are in the ellipses which the other refits give."""
    factor: float
    """S divided by the mean square of a step from one map to another."""


def ellipses(
    refits: NDArray[np.floating], own: NDArray[np.bool_], *, around: NDArray[np.integer], level: float = 0.9
) -> Ellipses:
    r"""Return the ellipses that hold the positions on another map with probability `level`.

    The cells are split into halves k/2 times, and each half makes a map. A cell is one of the own cells of the one, and
    new on the other. A step leads from a map of which it is an own cell to a map of another split on which it is new,
    as from the map of an experiment to that of another experiment. Let :math:`\bar C_i` be the mean of
    :math:`v v^\top` over the steps v of the cells `around` i. Then :math:`S_i = f \bar C_i`. The factor f is found by
    leaving out one pair of maps after the other: for a share `level` of all steps,

    .. math:: v^\top (\bar C_i^{-})^{-1} v \le f,

    where :math:`\bar C_i^{-}` has no step from or to one of the two maps. For normal distributions known exactly, f is
    a quantile of the χ² distribution.

    Parameters
    ----------
    refits
        (k, n, d) aligned positions, for an even k ≥ 4. Two that follow each other are of one split.
    own
        (k, n) whether a cell is one of the own cells of a refit.
    around
        (n, m) rows of the cells near each cell, with the cell itself.
    """
    k, n, d = refits.shape
    pairs = [(a, b) for a, b in combinations(range(k), 2) if a // 2 != b // 2]

    def step(a: int, b: int) -> NDArray[np.float64]:
        """Return (v, 1), or zeros if there is none."""
        found = np.pad(refits[a] - refits[b], ((0, 0), (0, 1)), constant_values=1)
        return np.where((own[a] != own[b])[:, None], found, 0)

    def pooled(sums: NDArray[np.float64], cells: NDArray[np.bool_]) -> NDArray[np.float64]:
        mean = np.zeros_like(sums[cells])
        for column in around[cells].T:
            mean += sums[column]
        mean = mean[:, :d, :d] / mean[:, d:, d:]
        floor = LEAST_VARIANCE * np.median(np.trace(mean, axis1=1, axis2=2)) / d
        return mean + np.eye(d) * max(float(floor), float(np.finfo(np.float32).tiny))

    # sums of vvᵀ and numbers of steps, over all pairs and over those with one map
    total, of_map = np.zeros((n, d + 1, d + 1)), np.zeros((k, n, d + 1, d + 1))
    for a, b in pairs:
        product = _squares(step(a, b))
        total += product
        of_map[[a, b]] += product
    squares = {}
    for a, b in pairs:
        v, is_step = step(a, b), own[a] != own[b]
        others = pooled(total - of_map[a] - of_map[b] + _squares(v), is_step)
        v = v[is_step, :d]
        squares[a, b] = np.einsum("ni,ni->n", v, np.linalg.solve(others, v[:, :, None])[..., 0])

    def joined(of: list[tuple[int, int]]) -> NDArray[np.float64]:
        return np.concatenate([squares[pair] for pair in of])

    coverage = []
    for j in range(k):
        bound = np.quantile(joined([pair for pair in pairs if j not in pair]), level)
        coverage.append(np.mean(joined([pair for pair in pairs if j in pair]) <= bound))
    factor = float(np.quantile(joined(pairs), level))
    return Ellipses(factor * pooled(total, np.ones(n, dtype=bool)), np.array(coverage), factor)


def _squares(v: NDArray[np.floating]) -> NDArray[np.float64]:
    return v[:, :, None] * v[:, None, :]


def share_that_stays(near: NDArray[np.integer], refits: NDArray[np.floating], *, among: int) -> NDArray[np.float64]:
    """Return how often each of the (n, m) cells `near` others is `among` the nearest of these on a refit, (n, m)."""
    counts = np.zeros(near.shape)
    for z in refits:
        there = nearest_others(z, among)
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
