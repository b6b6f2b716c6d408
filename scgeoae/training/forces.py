"""The gradients that move positions, as compiled loops over cells.

Each function is given a slice of cells and writes the rows of these alone, so that several threads share the work
and every number of threads gives the same bits. Loops in numba are ten times as fast as gathering the same pairs in
PyTorch, which writes each of some fifteen intermediate results for a hundred pairs of each cell to memory.
"""

from __future__ import annotations

import numpy as np
from numba import float32, njit, uint64

COMPILED = {"nogil": True, "fastmath": True, "cache": True}


@njit(inline="always")
def _mixed(x):
    """Return 64 random bits for each x (splitmix64; Steele, Lea & Flood 2014)."""
    x = (x ^ (x >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> uint64(27))) * uint64(0x94D049BB133111EB)
    return x ^ (x >> uint64(31))


@njit(**COMPILED)
def neighbor_forces(
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
    locality,
    force,
    total,
):
    r"""Write the gradient of the Kullback–Leibler divergence, times n/4, of the cells from `start` to `stop`.

    .. math:: F_i = \sum_j p_{ij} w_{ij} \frac{z_i - z_j}{\tau_i \tau_j}
        - c_i \sum_j w_{ij}^2 \frac{z_i - z_j}{\tau_i \tau_j}, \quad
        w_{ij} = \frac{1}{1 + \|z_i - z_j\|^2/(\tau_i \tau_j)}

    The first sum is over the edges of the affinities. The second is over the cells that are near on the map, and over
    a sample of the others, which is weighted by how many each of them stands for.

    :math:`c_i = (n/Z)^{1-a} (A_i/R_i)^a` with :math:`Z = \sum w`, the locality a, and the virials A and R of the
    attraction and the repulsion of cell i, :math:`\sum_j F_{ij} \cdot (z_i - z_j)`. a = 0 is the gradient for fixed
    widths τ. It makes dense groups expand, however wide they are, because their widths grow with them; at a = 1 attraction
    and repulsion of each cell balance, so that nothing expands.
    """
    n, d = y.shape
    n_near = near.shape[1]
    per_far = float32((n - 1 - n_near) / max(n_far, 1))
    step, pull, push = np.empty(d, np.float32), np.empty(d, np.float32), np.empty(d, np.float32)
    for i in range(start, stop):
        pull[:] = 0
        push[:] = 0
        kernels, attraction, repulsion = float32(0), float32(0), float32(0)
        for edge in range(offsets[i], offsets[i + 1]):
            j = partners[edge]
            square = float32(0)
            for a in range(d):
                step[a] = y[i, a] - y[j, a]
                square += step[a] * step[a]
            per_square = narrowness[i] * narrowness[j]
            strength = affinity[edge] * per_square / (1 + square * per_square)
            attraction += strength * square
            for a in range(d):
                pull[a] += strength * step[a]
        for column in range(n_near):
            j = near[i, column]
            square = float32(0)
            for a in range(d):
                step[a] = y[i, a] - y[j, a]
                square += step[a] * step[a]
            per_square = narrowness[i] * narrowness[j]
            kernel = 1 / (1 + square * per_square)
            strength = kernel * kernel * per_square
            kernels += kernel
            repulsion += strength * square
            for a in range(d):
                push[a] += strength * step[a]
        state = uint64(key) + uint64(i) * uint64(0x9E3779B97F4A7C15)
        for _ in range(n_far):
            state += uint64(0xD1342543DE82EF95)
            j = np.int64(((_mixed(state) >> uint64(32)) * uint64(n)) >> uint64(32))
            square, square_near = float32(0), float32(0)
            for a in range(d):
                step[a] = y[i, a] - y[j, a]
                square += step[a] * step[a]
                square_near += (y_near[i, a] - y_near[j, a]) ** 2
            # the near ones, and the cell itself, are counted already
            if square_near > reach[i]:
                per_square = narrowness[i] * narrowness[j]
                kernel = 1 / (1 + square * per_square)
                strength = per_far * kernel * kernel * per_square
                kernels += per_far * kernel
                repulsion += strength * square
                for a in range(d):
                    push[a] += strength * step[a]
        total[i] = kernels
        scale = per_total
        if locality > 0:
            scale = per_total ** (1 - locality) * (attraction / max(repulsion, float32(1e-30))) ** locality
        for a in range(d):
            force[i, a] = pull[a] - scale * push[a]


@njit(**COMPILED)
def chord_forces(start, stop, y, landmarks, decoded_distance, weight, force):
    r"""Add the gradient of :math:`\frac{w}{2} \operatorname{mean}_l (\|z_i - z_l\| - D_{il})^2` over landmarks l."""
    d = y.shape[1]
    n_landmarks = len(landmarks)
    for i in range(start, stop):
        for column in range(n_landmarks):
            square = float32(0)
            for a in range(d):
                square += (y[i, a] - landmarks[column, a]) ** 2
            if square > 0:
                strength = weight / n_landmarks * (1 - decoded_distance[i, column] / np.sqrt(square))
                # two cells on one place that ought to be far apart are pushed by no more than the way between them
                strength = max(strength, -4 * weight / n_landmarks)
                for a in range(d):
                    force[i, a] += strength * (y[i, a] - landmarks[column, a])
