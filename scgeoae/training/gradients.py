"""The gradients that move positions, and where cells jump to, as compiled loops over cells.

Each function is given a slice of cells and writes the rows of these alone, so several threads share the work, and every
number of threads gives the same bits. Loops in numba are ten times as fast as gathering the same pairs in PyTorch,
which writes each of some fifteen intermediate results for a hundred pairs of each cell to memory.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numba import float32, njit, uint64

if TYPE_CHECKING:
    from collections.abc import Callable

COMPILED: Any = {"nogil": True, "fastmath": True, "cache": True, "error_model": "numpy"}


class Gradients(NamedTuple):
    """The loops, compiled for a number of dimensions."""

    of_refined: Callable[..., None]
    of_chords: Callable[..., None]
    gatherings: Callable[..., None]


@njit(inline="always")
def _mixed(x):
    """Return 64 random bits for each x (splitmix64; Steele, Lea & Flood 2014)."""
    x = (x ^ (x >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> uint64(27))) * uint64(0x94D049BB133111EB)
    return x ^ (x >> uint64(31))


@njit(inline="always")
def squared_distance(z, i, y, j, d):
    """Return the squared distance between z_i and y_j."""
    square = float32(0)
    for c in range(d):
        square += (z[i, c] - y[j, c]) ** 2
    return square


@njit(inline="always")
def attraction(z, i, y, j, per_square, affinity, d):
    """Return the strength with which y_j attracts z_i."""
    return affinity * per_square / (1 + squared_distance(z, i, y, j, d) * per_square)


@njit(inline="always")
def repulsion(z, i, y, j, per_square, per_total, d):
    """Return the kernel of a pair, and the strength with which y_j repels z_i."""
    kernel = 1 / (1 + squared_distance(z, i, y, j, d) * per_square)
    return kernel, per_total * kernel * kernel * per_square


@cache
def gradients(d: int) -> Gradients:
    """Compile the loops for d dimensions: with a known d the compiler unrolls the loops over it."""

    @njit(**COMPILED)
    def of_refined(
        start,
        stop,
        y,
        narrowness,
        offsets,
        partners,
        affinity,
        near,
        reach,
        y_near,
        n_far,
        key,
        per_total,
        gradient,
        total,
    ):
        r"""Write the gradient of the Kullback–Leibler divergence, times n/4, of the cells from `start` to `stop`.

        .. math:: F_i = \sum_j p_{ij} w_{ij} \frac{z_i - z_j}{\tau_i \tau_j}
            - \frac nZ \sum_j w_{ij}^2 \frac{z_i - z_j}{\tau_i \tau_j}, \quad
            w_{ij} = \frac{1}{1 + \|z_i - z_j\|^2/(\tau_i \tau_j)}, \quad Z = \sum_{ij} w_{ij}

        The first sum is over the edges of the affinities. The second is over the cells that are near on the map, and
        over a sample of the others, each weighted by the number of cells it stands for. ``total`` gets
        :math:`\sum_j w_{ij}`.
        """
        n = len(y)
        # the sample is drawn from all cells, and the near ones among them are left out
        per_far = float32(n / max(n_far, 1))
        for i in range(start, stop):
            # two dimensions at a time, whose sums stay in registers
            for a in range(0, d, 2):
                b = min(a + 1, d - 1)
                of_a = of_b = kernels = float32(0)
                for edge in range(offsets[i], offsets[i + 1]):
                    j = partners[edge]
                    strength = attraction(y, i, y, j, narrowness[i] * narrowness[j], affinity[edge], d)
                    of_a += strength * (y[i, a] - y[j, a])
                    of_b += strength * (y[i, b] - y[j, b])
                for column in range(near.shape[1]):
                    j = near[i, column]
                    kernel, strength = repulsion(y, i, y, j, narrowness[i] * narrowness[j], per_total, d)
                    kernels += kernel
                    of_a -= strength * (y[i, a] - y[j, a])
                    of_b -= strength * (y[i, b] - y[j, b])
                state = uint64(key) + uint64(i) * uint64(0x9E3779B97F4A7C15)
                for _ in range(n_far):
                    state += uint64(0xD1342543DE82EF95)
                    j = np.int64(((_mixed(state) >> uint64(32)) * uint64(n)) >> uint64(32))
                    # the near ones, and the cell itself, are counted already
                    if squared_distance(y_near, i, y_near, j, d) > reach[i]:
                        per_square = narrowness[i] * narrowness[j]
                        kernel, strength = repulsion(y, i, y, j, per_square, per_total * per_far, d)
                        kernels += per_far * kernel
                        of_a -= strength * (y[i, a] - y[j, a])
                        of_b -= strength * (y[i, b] - y[j, b])
                gradient[i, a], gradient[i, b] = of_a, of_b
                total[i] = kernels

    @njit(**COMPILED)
    def of_chords(start, stop, y, landmarks, decoded_distance, weight, gradient):
        r"""Add the gradient of :math:`\frac w2 \operatorname{mean}_l (\|z_i - z_l\| - D_{il})^2` over landmarks l."""
        n_landmarks = len(landmarks)
        per_landmark = float32(weight / n_landmarks)
        for i in range(start, stop):
            for a in range(0, d, 2):
                b = min(a + 1, d - 1)
                of_a = of_b = float32(0)
                for column in range(n_landmarks):
                    square = squared_distance(y, i, landmarks, column, d)
                    if square > 0:
                        # two cells on one place that ought to be far apart are pushed by at most a multiple of the
                        # distance between them
                        strength = per_landmark * max(1 - decoded_distance[i, column] / np.sqrt(square), float32(-4))
                        of_a += strength * (y[i, a] - landmarks[column, a])
                        of_b += strength * (y[i, b] - landmarks[column, b])
                gradient[i, a] += of_a
                if b > a:
                    gradient[i, b] += of_b

    @njit(**COMPILED)
    def gatherings(start, stop, y, neighbors, per_square, place, gain):
        r"""Find for each cell from `start` to `stop` the neighbor c around which most of its neighbors j lie.

        They are counted by :math:`V_i(c) = \sum_j 1/(1 + \|y_c - y_j\|^2/h^2)`. ``gain`` gets
        :math:`(V_i(c) - 1)/V_i(i)`, where c does not count itself, and ``place`` the weighted mean of those within h of
        c. A negative number among the `neighbors` means that there is none.
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
                    if j >= 0 and j != c:
                        votes += 1 / (1 + squared_distance(y, c, y, j, d) * per_square)
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
                square = squared_distance(y, middle, y, j, d)
                if square * per_square < 1:
                    weight = 1 / (1 + square * per_square)
                    total += weight
                    for a in range(d):
                        place[i, a] += weight * (y[j, a] - place[i, a]) / total

    return Gradients(of_refined, of_chords, gatherings)
