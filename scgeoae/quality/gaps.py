"""The cells between two groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from scipy.stats import beta

from .bridge import N_POINTS, CurveFit, largest_spread, length_of, polyline, project, route
from .valley import LEVEL, N_BINS, N_DRAWS, POWER, Power, Valley, histogram, power, scan, valley

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    Blocks = Iterable[tuple[int, NDArray[Any]]]

# Cells are counted up to the median distance of a group from the curve plus so many times the median deviation from it.
# Wider tubes let in other types of cells beside the curve.
N_DEVIATIONS = 2.5
# At least so many cells, if a group has them, give its center.
N_CENTER = 100
# Cells among which a route is searched.
N_ROUTE = 2000
# Bins over which the highest and the lowest density are averaged.
N_WINDOW = N_BINS // 6
# Each of these parts of the cells is counted along bridges that the others have chosen.
N_FOLDS = 5
BRIDGES = ("straight", "cells")
# Times that the curve through the cells is fitted.
N_FITS = 3
# Cells from which the spread around it is estimated.
N_SPREAD = 1000
# A valley lower than this share of the density of the sparser group can be a gap. Two Gaussians of equal size have one
# from 3 standard deviations apart.
EMPTY = 2 / 3

# Float32 does not tell places apart that differ by less, relative to their coordinates.
SAME_PLACE = 1e-6

Verdict = Literal["gap", "bridge", "continuum", "torn", "too few cells"]


class Depth(NamedTuple):
    """How empty the emptiest stretch is. The other folds choose the stretch in which a fold is counted."""

    depth: float
    """Its lowest density, over a sixth of the way, relative to the highest one of the sparser group; NaN if there is no
    cell at the highest."""
    interval: tuple[float, float]
    """90% interval, or NaN."""
    stretch: tuple[float, float]
    """Where it starts and ends, from 0 at the center of A to 1 at that of B."""
    n_between: int
    n_expected: int
    """Cells that the tails of the groups would leave there: as many as are equally far out on their other sides."""
    p_bridge: float
    """p-value of the hypothesis that there are no more than that."""


class Bridge(NamedTuple):
    """The cells along a bridge. Each is counted along the curve that the other folds have chosen."""

    curve: NDArray[np.float64]
    """(N_POINTS, d) on the map, the mean over the folds."""
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
    """The one with the larger p-value: there is a gap only if neither is filled (Berger 1982)."""
    power: Power
    """Which valleys would have been found there."""
    on_map: Bridge
    """The same cells by their places on the map."""
    power_on_map: float
    """Chance of finding an empty middle third there."""

    @property
    def chosen(self) -> Bridge:
        """The fullest bridge."""
        return self.bridges[self.fullest]

    @property
    def shown(self) -> Literal["gap", "continuum", "unclear"]:
        """What the map shows."""
        if self.on_map.is_empty:
            return "gap"
        return "continuum" if self.on_map.valley.p_value > LEVEL and self.power_on_map >= POWER else "unclear"


def folds(groups: NDArray[np.integer], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return a number from 0 to `N_FOLDS` - 1 for each cell, (n,), at random, each for as many cells of each group."""
    fold = np.empty(len(groups), dtype=np.int64)
    # in the order of their first cells, so that it does not matter which group is named first
    names, first = np.unique(groups, return_index=True)
    for group in names[np.argsort(first)]:
        rows = rng.permutation(np.flatnonzero(groups == group))
        fold[rows] = np.arange(len(rows)) % N_FOLDS
    return fold


class Cells(NamedTuple):
    """Cells, their places on the map, and which of them are counted together."""

    blocks: Callable[[], Blocks]
    """Yields rows of the representation, each block with its first row."""
    z: NDArray[Any]
    """(n, d) positions on the map."""
    decode: Callable[[NDArray[Any]], NDArray[Any]]
    """Maps (m, d) positions to points of the representation, (m, D)."""
    groups: NDArray[np.integer]
    """(n,) 0 for cells of A, 1 for cells of B, and 2 for others."""
    fold: NDArray[np.int64]
    """(n,) from 0 to `N_FOLDS` - 1."""

    def decoded(self) -> Blocks:
        """Yield the same rows as the decoder sees them."""
        for start, block in self.blocks():
            yield start, self.decode(self.z[start : start + len(block)])

    def chosen_by(self, k: int) -> NDArray[np.bool_]:
        """Tell which cells choose the curve along which fold k is counted, (n,)."""
        return self.fold != k


def between(
    blocks: Callable[[], Blocks],
    z: NDArray[Any],
    decode: Callable[[NDArray[Any]], NDArray[Any]],
    groups: NDArray[np.integer],
    rng: np.random.Generator,
) -> Gap:
    """Count the cells between two groups, in the representation and on the map; see `Cells` for the arguments."""
    cells = Cells(blocks, z, decode, groups, folds(groups, rng))
    ends = _ends(cells)
    straight, straight_map = _lines(_means(blocks(), ends)), _lines(_means([(0, z)], ends))
    if length_of(straight).min() <= SAME_PLACE * np.abs(straight).max():
        msg = (
            "The centers of `source` and `target` are at the same place in the data, so there is no way from one to "
            "the other along which cells could be counted; take groups whose cells differ."
        )
        raise ValueError(msg)
    bent, u, waves = _principal_curves(cells, straight, rng)
    bent_map = _curves_on_map(cells, straight_map, u, waves)
    curves, curves_map = np.stack([straight, bent], axis=1), np.stack([straight_map, bent_map], axis=1)
    u, distance = _places(blocks(), curves, len(z))
    # noise in many dimensions hides how far a cell is from the curve, and the decoder leaves it out
    _keep_near(u, [distance, _places(cells.decoded(), curves, len(z))[1]], cells)
    u_map, distance = _places([(0, z)], curves_map, len(z))
    _keep_near(u_map, [distance], cells)
    length, length_map = length_of(curves), length_of(curves_map)

    def bridge(u: NDArray[Any], length: NDArray[Any], i: int) -> Bridge:
        own = u[cells.fold, i, np.arange(len(z))]
        counts = np.array([histogram(own[cells.fold == k]) for k in range(N_FOLDS)])
        found = valley(counts.sum(0), rng)
        depth = _depth(own, counts, cells, rng)
        return Bridge(curves_map[:, i].mean(0), float(length[:, i].mean()), own, found, depth)

    bridges = {name: bridge(u, length, i) for i, name in enumerate(BRIDGES)}
    fullest = max(BRIDGES, key=lambda name: bridges[name].valley.p_value)
    on_map = bridge(u_map, length_map, BRIDGES.index(fullest))
    powers = [power(found.valley, rng) for found in (bridges[fullest], on_map)]
    return Gap(bridges, fullest, powers[0], on_map, powers[1].of_empty)


def _ends(cells: Cells) -> list[list[NDArray[np.intp]]]:
    """Return rows that give the centers of A and B for each fold: of those that choose, the half nearest the median."""
    found: list[list[NDArray[np.intp]]] = []
    for k in range(N_FOLDS):
        found.append([])
        for g in (0, 1):
            rows = np.flatnonzero(cells.chosen_by(k) & (cells.groups == g))
            far = np.linalg.norm(cells.z[rows] - np.median(cells.z[rows], axis=0), axis=1)
            found[k].append(rows[np.argsort(far, kind="stable")[: max(len(rows) // 2, N_CENTER)]])
    return found


def _lines(ends: NDArray[Any]) -> NDArray[np.float64]:
    """Return straight curves, (K, N_POINTS, D), between (K, 2, D) points."""
    return np.linspace(ends[:, 0], ends[:, 1], N_POINTS, axis=1)


def _means(blocks: Blocks, rows: list[list[NDArray[np.intp]]]) -> NDArray[np.float64]:
    """Return the means of the cells in lists of rows, (K, 2, D)."""
    flat = [cells for pair in rows for cells in pair]
    sums: Any = 0.0
    for start, block in blocks:
        inside = [cells[(cells >= start) & (cells < start + len(block))] - start for cells in flat]
        sums = sums + np.stack([block[cells].sum(0, dtype=np.float64) for cells in inside])
    return (sums / np.array([len(cells) for cells in flat])[:, None]).reshape(len(rows), 2, -1)


def _principal_curves(
    cells: Cells, straight: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[int]]:
    """Return curves through the middle of the cells, (K, N_POINTS, D), places along them, (K, n), and their waves.

    They start as routes through neighboring cells. Then they are fitted to the cells that are near them, which are
    placed on them anew, in turn (principal curves; Hastie & Stuetzle 1989).
    """
    found = _routes(cells, straight, rng)
    # noise is left out of the first places
    at = cells.decoded()
    spreads: list[float] = []
    for _ in range(N_FITS):
        u, distance = _places(at, found[:, None], len(cells.z))
        _keep_near(u, [distance], cells)
        u = u[:, 0]
        spreads = spreads or _spreads(cells, u, found, rng)
        fits = [CurveFit(line[[0, -1]]) for line in straight]
        for start, block in cells.blocks():
            here = slice(start, start + len(block))
            for k, fit in enumerate(fits):
                own = cells.chosen_by(k)[here]
                fit.add(block[own].astype(np.float64), u[k, here][own])
        waves = [fit.n_waves(spread) for fit, spread in zip(fits, spreads, strict=True)]
        found = np.array([fit.curve(j) for fit, j in zip(fits, waves, strict=True)])
        at = cells.blocks()
    return found, u, waves


def _routes(cells: Cells, straight: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a route through decoded cells for each fold, (K, N_POINTS, D), from end to end of a straight curve."""
    found = []
    for k, line in enumerate(straight):
        points = cells.decode(cells.z[_some(np.flatnonzero(cells.chosen_by(k)), N_ROUTE, rng)])
        start, end = (int(np.square(points - tip).sum(1).argmin()) for tip in line[[0, -1]])
        found.append(polyline(points[route(points, start, end)]))
    return np.array(found)


def _some(rows: NDArray[np.intp], n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return n of the rows at random, in order, or all if there are no more."""
    return np.sort(rng.choice(rows, n, replace=False)) if len(rows) > n else rows


def _curves_on_map(
    cells: Cells, straight: NDArray[np.float64], u: NDArray[np.float64], waves: list[int]
) -> NDArray[np.float64]:
    """Return the curves on the map, (K, N_POINTS, d), of cells whose places along curves with these waves are u."""
    found = []
    for k, line in enumerate(straight):
        fit = CurveFit(line[[0, -1]])
        fit.add(cells.z[cells.chosen_by(k)], u[k, cells.chosen_by(k)])
        found.append(fit.curve(waves[k]))
    return np.array(found)


def _spreads(
    cells: Cells, u: NDArray[np.float64], curves: NDArray[np.float64], rng: np.random.Generator
) -> list[float]:
    """Return the largest spread around the curve of each fold, from some of the cells that choose it."""
    chosen = [
        _some(np.flatnonzero(cells.chosen_by(k) & (u[k] > 0) & (u[k] < 1)), N_SPREAD, rng) for k in range(N_FOLDS)
    ]
    parts: list[list[NDArray[Any]]] = [[] for _ in chosen]
    for start, block in cells.blocks():
        for part, rows in zip(parts, chosen, strict=True):
            part.append(block[rows[(rows >= start) & (rows < start + len(block))] - start])
    return [
        largest_spread(np.concatenate(parts[k]).astype(np.float64), u[k, rows], curves[k])
        for k, rows in enumerate(chosen)
    ]


def _places(blocks: Blocks, curves: NDArray[Any], n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the places of the cells along (K, J, m, D) curves and their distances from them, (K, J, n) each."""
    u, distance = np.empty((2, *curves.shape[:2], n))
    for start, block in blocks:
        rows = slice(start, start + len(block))
        for at in np.ndindex(curves.shape[:2]):
            u[*at, rows], distance[*at, rows] = project(block, curves[at])
    return u, distance


def _keep_near(u: NDArray[Any], distances: list[NDArray[Any]], cells: Cells) -> None:
    """Set the places of cells to NaN that are farther from a curve, by any distance, than is usual there.

    What is usual changes evenly from one group to the other.
    """
    for k, i in np.ndindex(u.shape[:2]):
        for distance in distances:
            at_a, at_b = (_widest(distance[k, i, cells.chosen_by(k) & (cells.groups == g)]) for g in (0, 1))
            u[k, i, distance[k, i] > at_a + (at_b - at_a) * np.clip(u[k, i], 0, 1)] = np.nan


def _widest(distance: NDArray[Any]) -> float:
    # a few cells with a wrong label do not matter
    middle = np.median(distance)
    return float(middle + N_DEVIATIONS * np.median(np.abs(distance - middle)))


def _depth(u: NDArray[Any], counts: NDArray[np.int64], cells: Cells, rng: np.random.Generator) -> Depth:
    inside, mirrored = np.zeros((2, N_BINS), dtype=np.int64)
    bottom, peak, ratio, ends = 0, 0, 1.0, []
    for k in range(N_FOLDS):
        chosen, counted = counts.sum(0) - counts[k], counts[k]
        _, first, last = scan(chosen)
        stretch = slice(first, last)
        top = min((_densest(chosen, 0, first), _densest(chosen, last, N_BINS)), key=lambda at: chosen[at].mean())
        base = _densest(-chosen, first, last)
        inside[stretch] += counted[stretch]
        for g in (0, 1):
            own = u[(cells.fold == k) & (cells.groups == g) & ~np.isnan(u)]
            if len(own):
                mirrored[stretch] += histogram(2 * np.median(own) - own)[stretch]
        peak, bottom = peak + counted[top].sum(), bottom + counted[base].sum()
        ratio *= (top.stop - top.start) / (base.stop - base.start)
        ends.append((first / N_BINS, last / N_BINS))
    depth, low, high = (share * ratio ** (1 / N_FOLDS) for share in quotient(int(bottom), int(peak)))
    return Depth(
        depth,
        (low, high),
        (float(np.mean([end[0] for end in ends])), float(np.mean([end[1] for end in ends]))),
        int(inside.sum()),
        int(mirrored.sum()),
        _more_than(inside, mirrored, rng),
    )


def quotient(bottom: int, peak: int) -> tuple[float, float, float]:
    """Return the quotient of two counts and its 90% interval, that of Clopper and Pearson; NaN if the second is 0."""
    if not peak:
        return np.nan, np.nan, np.nan
    # of the share of the first among both
    low = float(beta.ppf(0.05, bottom, peak + 1)) if bottom else 0.0
    high = float(beta.ppf(0.95, bottom + 1, peak))
    return bottom / peak, low / (1 - low), high / (1 - high)


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
    chosen = found.chosen
    if chosen.is_empty:
        return "bridge" if chosen.depth.p_bridge <= LEVEL else "gap"
    is_valley = chosen.valley.p_value <= LEVEL
    lowest = chosen.depth.interval[0] if is_valley else chosen.depth.depth
    # NaN is no known depth
    may_be_deep = not lowest >= EMPTY
    if may_be_deep or not (is_valley or found.power.of_empty >= POWER):
        return "too few cells"
    return "torn" if found.on_map.is_empty else "continuum"
