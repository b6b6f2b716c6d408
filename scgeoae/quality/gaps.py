"""The cells between two groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix
from scipy.stats import beta

from .bridge import N_POINTS, n_waves, project, route, smooth
from .valley import LEVEL, N_BINS, N_DRAWS, POWER, Power, Valley, histogram, power, scan, valley

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    Blocks = Iterable[tuple[int, NDArray[Any]]]

# Cells are counted up to the median distance of a group from the curve plus so many times the median deviation from it.
# Wider tubes let in other types of cells beside the curve.
N_DEVIATIONS = 2.5
# This share of a group lies within its radius.
WITHIN = 0.95
# At least so many cells, if a group has them, give its center.
N_CENTER = 100
# Cells among which a route is searched.
N_ROUTE = 2000
# Bins over which the highest and the lowest density are averaged.
N_WINDOW = N_BINS // 6
BRIDGES = ("straight", "cells")
# Hardly any density without a valley has a higher score. The bridge through the cells takes the place of the straight
# one only if that has one (mean of both halves) or half as many cells, since it always seems filled to the cells that
# chose it. Its own score must be below this number, or less than half that of the straight one.
UNFILLED = 3.0
# A valley lower than this share of the density of the sparser group can be a gap. Two Gaussians of equal size have one
# from 3 standard deviations apart.
EMPTY = 2 / 3

Verdict = Literal["gap", "bridge", "continuum", "torn", "too few cells"]


class Depth(NamedTuple):
    """How empty the emptiest stretch is. One half of the cells chooses the stretch, and the other one is counted."""

    depth: float
    """Its lowest density, over a sixth of the way, relative to the highest one of the sparser group."""
    interval: tuple[float, float]
    """90% interval."""
    stretch: tuple[float, float]
    """Where it starts and ends, from 0 at the center of A to 1 at that of B."""
    n_between: int
    n_expected: int
    """Cells that the tails of the groups would leave there: as many as are equally far out on their other sides."""
    p_bridge: float
    """p-value of the hypothesis that there are no more than that."""


class Bridge(NamedTuple):
    """The cells along a bridge. Each is counted along the curve that the other half of the cells has chosen."""

    curve: NDArray[np.float64]
    """(N_POINTS, d) on the map, the mean over both halves."""
    length: float
    """Distance between the centers along it, in units of the space in which the cells are counted."""
    u: NDArray[np.float64]
    """(n,) place along the curve, 0 at the center of A and 1 at that of B; NaN for cells that are too far from it."""
    valley: Valley
    depth: Depth

    @property
    def is_empty(self) -> bool:
        """Whether the density has a valley that is well below the sparser group."""
        return self.valley.p_value <= LEVEL and self.depth.depth < EMPTY


class Gap(NamedTuple):
    """What is between two groups."""

    bridges: dict[str, Bridge]
    """By name: straight on the map, and through the cells."""
    fullest: str
    """The straight one, unless the other one is clearly filled more."""
    power: Power
    """Which valleys would have been found there."""
    on_map: Bridge
    """The same cells by their places on the map."""

    @property
    def chosen(self) -> Bridge:
        """The fullest bridge."""
        return self.bridges[self.fullest]


def halves(groups: NDArray[np.integer], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return 0 or 1 for each cell, (n,), at random, each for half of the cells of each group."""
    half = np.empty(len(groups), dtype=np.int64)
    for group in np.unique(groups):
        rows = rng.permutation(np.flatnonzero(groups == group))
        half[rows] = np.arange(len(rows)) % 2
    return half


def between(
    blocks: Callable[[], Blocks],
    z: NDArray[Any],
    decode: Callable[[NDArray[Any]], NDArray[Any]],
    groups: NDArray[np.integer],
    rng: np.random.Generator,
) -> Gap:
    """Count the cells between two groups, in the representation and on the map.

    Parameters
    ----------
    blocks
        Yields rows of the representation, each block with its first row.
    z
        (n, d) positions on the map.
    decode
        Maps (m, d) positions to points of the representation, (m, D).
    groups
        (n,) 0 for cells of A, 1 for cells of B, and 2 for others.
    """
    half = halves(groups, rng)
    pairs = [_weights(z, decode, groups, half != k, rng) for k in (0, 1)]
    weights, waves = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    curves, curves_map = (_curves(rows, weights, waves) for rows in (blocks(), [(0, z)]))
    u, distance = _places(blocks(), curves, len(z))
    # noise in many dimensions hides how far a cell is from the curve, and the decoder leaves it out
    decoded = ((start, decode(z[start : start + len(block)])) for start, block in blocks())
    score = _keep_near(u, [distance, _places(decoded, curves, len(z))[1]], groups, half)
    u_map, distance = _places([(0, z)], curves_map, len(z))
    _keep_near(u_map, [distance], groups, half)
    length, length_map = _lengths(curves), _lengths(curves_map)
    straight, through = score.mean(0)
    n_straight, n_through = ((u > 0) & (u < 1)).sum((0, 2))
    is_unfilled = straight > UNFILLED or n_straight < n_through / 2
    chosen = int(is_unfilled and through < max(UNFILLED, straight / 2))

    def bridge(u: NDArray[Any], length: NDArray[Any], i: int) -> Bridge:
        # each half of the cells is counted along the curve of the other half
        own = np.where(half == 0, u[0, i], u[1, i])
        counts = np.array([histogram(own[half == k]) for k in (0, 1)])
        found = valley(counts.sum(0), rng)
        return Bridge(
            curves_map[:, i].mean(0), float(length[:, i].mean()), own, found, _depth(own, counts, groups, half, rng)
        )

    bridges = {name: bridge(u, length, i) for i, name in enumerate(BRIDGES)}
    fullest = BRIDGES[chosen]
    return Gap(bridges, fullest, power(bridges[fullest].valley, rng), bridge(u_map, length_map, chosen))


def _weights(
    z: NDArray[Any],
    decode: Callable[[NDArray[Any]], NDArray[Any]],
    groups: NDArray[np.integer],
    chooses: NDArray[np.bool_],
    rng: np.random.Generator,
) -> tuple[csr_matrix, int]:
    """Return the weights of the cells in each point of the bridge through them, (k, n), and its number of waves.

    Its ends are means of those cells of a group that are nearest to its center on the map, half of the group or 100
    cells, and the points between them means of a cell on the route and its neighbors.
    """
    own = [np.flatnonzero(chooses & (groups == g)) for g in (0, 1)]
    centers = [np.median(z[cells], axis=0) for cells in own]
    far = [np.linalg.norm(z[cells] - center, axis=1) for cells, center in zip(own, centers, strict=True)]
    ends = [cells[np.argsort(d)[: max(len(cells) // 2, N_CENTER)]] for cells, d in zip(own, far, strict=True)]
    rows = np.flatnonzero(chooses)
    if len(rows) > N_ROUTE:
        rows = np.sort(rng.choice(rows, N_ROUTE, replace=False))
    start, end = (int(np.square(z[rows] - center).sum(1).argmin()) for center in centers)
    path, neighbors = route(decode(z[rows]), start, end)
    members = [ends[0], *rows[np.column_stack([path, neighbors])], ends[1]]
    sizes = np.array([len(cells) for cells in members])
    entries = np.repeat(1 / sizes, sizes), np.concatenate(members), np.concatenate([[0], sizes.cumsum()])
    weights = csr_matrix(entries, shape=(len(members), len(z)))
    length = np.linalg.norm(np.diff(weights @ z, axis=0), axis=1).sum()
    return weights, n_waves(length, max(np.quantile(distance, WITHIN) for distance in far))


def _curves(blocks: Blocks, weights: list[csr_matrix], waves: list[int]) -> NDArray[np.float64]:
    """Return both bridges of both halves, (2, 2, N_POINTS, D): the straight one, and the one through the cells."""
    points: list[Any] = [0.0, 0.0]
    for start, block in blocks:
        for k in (0, 1):
            points[k] = points[k] + weights[k][:, start : start + len(block)] @ block.astype(np.float64)
    straight = [np.linspace(ends[0], ends[-1], N_POINTS) for ends in points]
    return np.array([[line, smooth(p, j)] for line, p, j in zip(straight, points, waves, strict=True)])


def _places(blocks: Blocks, curves: NDArray[Any], n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the places of the cells along (2, 2, m, D) curves and their distances from them, (2, 2, n) each."""
    u, distance = np.empty((2, *curves.shape[:2], n))
    for start, block in blocks:
        rows = slice(start, start + len(block))
        for at in np.ndindex(curves.shape[:2]):
            u[*at, rows], distance[*at, rows] = project(block, curves[at])
    return u, distance


def _keep_near(
    u: NDArray[Any], distances: list[NDArray[Any]], groups: NDArray[np.integer], half: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Set the places of cells to NaN that are farther from a curve, by any distance, than is usual there.

    What is usual changes evenly from one group to the other. Return the scores of the valleys in the cells that chose
    the curves, (2, 2).
    """
    score = np.empty(u.shape[:2])
    for k, i in np.ndindex(u.shape[:2]):
        for distance in distances:
            at_a, at_b = (_widest(distance[k, i, (half != k) & (groups == g)]) for g in (0, 1))
            u[k, i, distance[k, i] > at_a + (at_b - at_a) * np.clip(u[k, i], 0, 1)] = np.nan
        score[k, i] = scan(histogram(u[k, i, half != k])).score
    return score


def _widest(distance: NDArray[Any]) -> float:
    # a few cells with a wrong label do not matter
    middle = np.median(distance)
    return float(middle + N_DEVIATIONS * np.median(np.abs(distance - middle)))


def _lengths(curves: NDArray[Any]) -> NDArray[np.float64]:
    return np.linalg.norm(np.diff(curves, axis=2), axis=3).sum(2)


def _depth(
    u: NDArray[Any],
    counts: NDArray[np.int64],
    groups: NDArray[np.integer],
    half: NDArray[np.int64],
    rng: np.random.Generator,
) -> Depth:
    inside, mirrored = np.zeros((2, N_BINS), dtype=np.int64)
    bottom, peak, ratio, ends = 0, 0, 1.0, []
    for k in (0, 1):
        chosen, counted = counts[1 - k], counts[k]
        _, first, last = scan(chosen)
        stretch = slice(first, last)
        top = min((_densest(chosen, 0, first), _densest(chosen, last, N_BINS)), key=lambda at: chosen[at].mean())
        base = _densest(-chosen, first, last)
        inside[stretch] += counted[stretch]
        for g in (0, 1):
            own = u[(half == k) & (groups == g) & ~np.isnan(u)]
            if len(own):
                mirrored[stretch] += histogram(2 * np.median(own) - own)[stretch]
        peak, bottom = peak + counted[top].sum(), bottom + counted[base].sum()
        ratio *= (top.stop - top.start) / (base.stop - base.start)
        ends.append((first / N_BINS, last / N_BINS))
    ratio **= 1 / 2
    # of Clopper and Pearson for the share of the bottom among the cells of both
    low = beta.ppf(0.05, bottom, peak + 1) if bottom else 0.0
    high = beta.ppf(0.95, bottom + 1, peak) if peak else 1.0
    return Depth(
        float(bottom / peak * ratio) if peak else np.inf,
        (low / (1 - low) * ratio, high / (1 - high) * ratio if high < 1 else np.inf),
        (float(np.mean([end[0] for end in ends])), float(np.mean([end[1] for end in ends]))),
        int(inside.sum()),
        int(mirrored.sum()),
        _more_than(inside, mirrored, rng),
    )


def _more_than(inside: NDArray[np.int64], mirrored: NDArray[np.int64], rng: np.random.Generator) -> float:
    r"""Return the p-value of the hypothesis that there are no more cells inside than mirrored ones.

    If so, each of the :math:`k_b + m_b` cells of a bin is mirrored with the chance ½. The statistic is
    :math:`\sum_b (k_b - m_b) / (k_b + m_b)`, in which each bin counts as much, those with few cells in the middle of a
    gap as those near the groups.
    """
    both = inside + mirrored
    both, inside = both[both > 0], inside[both > 0]
    null = (rng.binomial(both, 0.5, size=(N_DRAWS, len(both))) / both).sum(1)
    return float((1 + np.count_nonzero(null >= (inside / both).sum() - 1e-9)) / (N_DRAWS + 1))


def _densest(counts: NDArray[np.int64], start: int, end: int) -> slice:
    """Return the densest window between two bins."""
    width = min(N_WINDOW, end - start)
    first = start + int(np.convolve(counts[start:end], np.ones(width), mode="valid").argmax())
    return slice(first, first + width)


def judge(found: Gap) -> Verdict:
    """Return what is between the groups, in one or two words."""
    if found.chosen.is_empty and found.chosen.depth.p_bridge > LEVEL:
        return "gap"
    if found.chosen.valley.p_value <= LEVEL:
        return "bridge"
    if found.power.of_empty < POWER:
        return "too few cells"
    return "torn" if found.on_map.is_empty else "continuum"
