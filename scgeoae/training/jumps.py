"""Where most neighbors of a cell lie together on the map."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from numba import float32, njit

from .forces import COMPILED

if TYPE_CHECKING:
    from collections.abc import Callable


class Jumps(NamedTuple):
    """Which cells jump to where most of their neighbors in the representation lie together."""

    within: float
    """How far apart cells still lie together, in median widths of the kernels."""
    gain: float
    """How many times as many of them have to lie there as around the cell itself."""


@cache
def gatherings(d: int) -> Callable[..., None]:
    """Compile the search for d dimensions: with a known d the compiler unrolls the loops over it."""

    @njit(**COMPILED)
    def gathering(start, stop, y, neighbors, per_square, place, gain):
        r"""Find for each cell from `start` to `stop` the neighbor c around which most of its neighbors j lie.

        They are counted by :math:`V_i(c) = \sum_j 1/(1 + \|y_c - y_j\|^2/h^2)`. `gain` gets
        :math:`(V_i(c) - 1)/V_i(i)`, where c does not count itself, and `place` the weighted mean of those within h of
        c. A negative number among the `neighbors` is none.
        """
        n_neighbors = neighbors.shape[1]
        for i in range(start, stop):
            own = most = float32(0)
            middle = i
            for candidate in range(-1, n_neighbors):
                c = i if candidate < 0 else neighbors[i, candidate]
                if c < 0:
                    continue
                votes = float32(0)
                for column in range(n_neighbors):
                    j = neighbors[i, column]
                    if j < 0 or j == c:
                        continue
                    square = float32(0)
                    for a in range(d):
                        square += (y[c, a] - y[j, a]) ** 2
                    votes += 1 / (1 + square * per_square)
                if candidate < 0:
                    own = votes
                elif votes > most:
                    most, middle = votes, c
            gain[i] = most / own if own > 0 else float32(0)
            total = float32(1)
            for a in range(d):
                place[i, a] = y[middle, a]
            for column in range(n_neighbors):
                j = neighbors[i, column]
                if j < 0 or j == middle:
                    continue
                square = float32(0)
                for a in range(d):
                    square += (y[middle, a] - y[j, a]) ** 2
                if square * per_square < 1:
                    weight = 1 / (1 + square * per_square)
                    total += weight
                    for a in range(d):
                        place[i, a] += weight * (y[j, a] - place[i, a]) / total

    return gathering
