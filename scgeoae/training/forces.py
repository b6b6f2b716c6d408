"""The gradients that move positions, as compiled loops over cells.

Each function is given a slice of cells and writes the rows of these alone, so that several threads share the work
and every number of threads gives the same bits. Loops in numba are ten times as fast as gathering the same pairs in
PyTorch, which writes each of some fifteen intermediate results for a hundred pairs of each cell to memory.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import float32, njit, uint64

if TYPE_CHECKING:
    from collections.abc import Callable

COMPILED = {"nogil": True, "fastmath": True, "cache": True, "error_model": "numpy"}


class Forces(NamedTuple):
    """Compiled for a number of dimensions."""

    of_neighbors: Callable[..., None]
    of_chords: Callable[..., None]
    of_settled: Callable[..., None]


@njit(inline="always")
def _mixed(x):
    """Return 64 random bits for each x (splitmix64; Steele, Lea & Flood 2014)."""
    x = (x ^ (x >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> uint64(27))) * uint64(0x94D049BB133111EB)
    return x ^ (x >> uint64(31))


@cache
def forces(d: int) -> Forces:
    """Compile the forces for d dimensions: with a known d the compiler unrolls the loops over it."""

    @njit(**COMPILED)
    def of_neighbors(
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
        force,
        total,
    ):
        r"""Write the gradient of the Kullback–Leibler divergence, times n/4, of the cells from `start` to `stop`.

        .. math:: F_i = \sum_j p_{ij} w_{ij} \frac{z_i - z_j}{\tau_i \tau_j}
            - \frac nZ \sum_j w_{ij}^2 \frac{z_i - z_j}{\tau_i \tau_j}, \quad
            w_{ij} = \frac{1}{1 + \|z_i - z_j\|^2/(\tau_i \tau_j)}, \quad Z = \sum_{ij} w_{ij}

        The first sum is over the edges of the affinities. The second is over the cells that are near on the map, and
        over a sample of the others, which is weighted by how many each of them stands for. ``total`` gets
        :math:`\sum_j w_{ij}`.
        """
        n = len(y)
        n_near = near.shape[1]
        # drawn are all cells, of which the near ones are left out
        per_far = float32(n / max(n_far, 1))
        for i in range(start, stop):
            # two dimensions at a time, whose sums stay in registers
            for a in range(0, d, 2):
                b = min(a + 1, d - 1)
                of_a = of_b = kernels = float32(0)
                for edge in range(offsets[i], offsets[i + 1]):
                    j = partners[edge]
                    square = float32(0)
                    for c in range(d):
                        square += (y[i, c] - y[j, c]) ** 2
                    per_square = narrowness[i] * narrowness[j]
                    strength = affinity[edge] * per_square / (1 + square * per_square)
                    of_a += strength * (y[i, a] - y[j, a])
                    of_b += strength * (y[i, b] - y[j, b])
                for column in range(n_near):
                    j = near[i, column]
                    square = float32(0)
                    for c in range(d):
                        square += (y[i, c] - y[j, c]) ** 2
                    per_square = narrowness[i] * narrowness[j]
                    kernel = 1 / (1 + square * per_square)
                    kernels += kernel
                    strength = per_total * kernel * kernel * per_square
                    of_a -= strength * (y[i, a] - y[j, a])
                    of_b -= strength * (y[i, b] - y[j, b])
                state = uint64(key) + uint64(i) * uint64(0x9E3779B97F4A7C15)
                for _ in range(n_far):
                    state += uint64(0xD1342543DE82EF95)
                    j = np.int64(((_mixed(state) >> uint64(32)) * uint64(n)) >> uint64(32))
                    square, square_near = float32(0), float32(0)
                    for c in range(d):
                        square += (y[i, c] - y[j, c]) ** 2
                        square_near += (y_near[i, c] - y_near[j, c]) ** 2
                    # the near ones, and the cell itself, are counted already
                    if square_near > reach[i]:
                        per_square = narrowness[i] * narrowness[j]
                        kernel = 1 / (1 + square * per_square)
                        kernels += per_far * kernel
                        strength = per_total * per_far * kernel * kernel * per_square
                        of_a -= strength * (y[i, a] - y[j, a])
                        of_b -= strength * (y[i, b] - y[j, b])
                force[i, a], force[i, b] = of_a, of_b
                total[i] = kernels

    @njit(**COMPILED)
    def of_chords(start, stop, y, landmarks, decoded_distance, weight, force):
        r"""Add the gradient of :math:`\frac w2 \operatorname{mean}_l (\|z_i - z_l\| - D_{il})^2` over landmarks l."""
        n_landmarks = len(landmarks)
        per_landmark = float32(weight / n_landmarks)
        for i in range(start, stop):
            for a in range(0, d, 2):
                b = min(a + 1, d - 1)
                of_a = of_b = float32(0)
                for column in range(n_landmarks):
                    square = float32(0)
                    for c in range(d):
                        square += (y[i, c] - landmarks[column, c]) ** 2
                    if square > 0:
                        # two cells on one place that ought to be far apart are pushed by no more than the way between
                        # them
                        strength = per_landmark * max(1 - decoded_distance[i, column] / np.sqrt(square), float32(-4))
                        of_a += strength * (y[i, a] - landmarks[column, a])
                        of_b += strength * (y[i, b] - landmarks[column, b])
                force[i, a] += of_a
                if b > a:
                    force[i, b] += of_b

    @njit(**COMPILED)
    def of_settled(
        start,
        stop,
        z,
        narrowness,
        y,
        narrowness_y,
        partners,
        affinity,
        near,
        far,
        is_far,
        per_far,
        per_total,
        force,
        total,
    ):
        r"""Write the gradient that `of_neighbors` does, of cells at z among others at y, which stay.

        Row i of `partners` and `affinity` are the cells that cell i is drawn to. It is pushed by those that are near,
        and by a sample `far`, of which those in row i of `is_far` count `per_far` times each.
        """
        for i in range(start, stop):
            for a in range(0, d, 2):
                b = min(a + 1, d - 1)
                of_a = of_b = kernels = float32(0)
                for column in range(partners.shape[1]):
                    j = partners[i, column]
                    square = float32(0)
                    for c in range(d):
                        square += (z[i, c] - y[j, c]) ** 2
                    per_square = narrowness[i] * narrowness_y[j]
                    strength = affinity[i, column] * per_square / (1 + square * per_square)
                    of_a += strength * (z[i, a] - y[j, a])
                    of_b += strength * (z[i, b] - y[j, b])
                for column in range(near.shape[1] + len(far)):
                    if column < near.shape[1]:
                        j, count = near[i, column], float32(1)
                    elif is_far[i, column - near.shape[1]]:
                        j, count = far[column - near.shape[1]], per_far
                    else:
                        continue
                    square = float32(0)
                    for c in range(d):
                        square += (z[i, c] - y[j, c]) ** 2
                    per_square = narrowness[i] * narrowness_y[j]
                    kernel = 1 / (1 + square * per_square)
                    kernels += count * kernel
                    strength = per_total * count * kernel * kernel * per_square
                    of_a -= strength * (z[i, a] - y[j, a])
                    of_b -= strength * (z[i, b] - y[j, b])
                force[i, a], force[i, b] = of_a, of_b
                total[i] = kernels

    return Forces(of_neighbors, of_chords, of_settled)
