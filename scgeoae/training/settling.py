"""Compiled loops that move new cells to rest among the cells of a map, which stay."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import float32, njit

from .gradients import COMPILED, attraction, repulsion, squared_distance

if TYPE_CHECKING:
    from collections.abc import Callable


# Keeps the step finite where nothing acts on a cell.
LEAST_CURVATURE = np.float32(1e-30)


class Loops(NamedTuple):
    """The loops, compiled for a number of dimensions."""

    of_far: Callable[..., None]
    settle: Callable[..., None]


@cache
def loops(d: int) -> Loops:
    """Compile the loops for d dimensions: with a known d the compiler unrolls the loops over it."""

    @njit(**COMPILED)
    def of_far(z, narrowness_z, y, narrowness_y, far, reach, per_far, per_total, gradient):
        """Write the gradient of the repulsion of cells at z by the sample `far` of the cells at y, divided by 4.

        Those whose squared distance is beyond ``reach`` count `per_far` times each.
        """
        for i in range(len(z)):
            # two dimensions at a time, whose sums stay in registers
            for a in range(0, d, 2):
                b = min(a + 1, d - 1)
                of_a = of_b = float32(0)
                for column in range(len(far)):
                    j = far[column]
                    if squared_distance(z, i, y, j, d) > reach[i]:
                        per_square = narrowness_z[i] * narrowness_y[j]
                        strength = repulsion(z, i, y, j, per_square, per_total * per_far, d)[1]
                        of_a -= strength * (z[i, a] - y[j, a])
                        of_b -= strength * (z[i, b] - y[j, b])
                gradient[i, a], gradient[i, b] = of_a, of_b

    @njit(**COMPILED)
    def settle(
        z,
        narrowness_z,
        y,
        narrowness_y,
        partners,
        affinity,
        near,
        of_far,
        slope,
        metric,
        decoded_at,
        divergence_weight,
        error_weight,
        per_total,
        n_steps,
        longest,
    ):
        r"""Move cells at z down the gradient of the objective of `positions.Positions`, for a number of steps.

        .. math:: z_i \leftarrow z_i - \frac{\nabla_i}{4 \kappa \sum_j p_{ij} w_{ij} / (\tau_i \tau_j)
            + \frac2D \operatorname{tr} G_i}

        The denominator bounds the curvature of the attraction and of the reconstruction error, so a step does not
        overshoot (majorization; de Leeuw 1977). Repulsion flattens the objective further. Steps are at most `longest`.
        """
        step = np.empty(d, np.float32)
        for i in range(len(z)):
            trace = float32(0)
            for a in range(d):
                trace += metric[i, a, a]
            for _ in range(n_steps):
                for a in range(0, d, 2):
                    b = min(a + 1, d - 1)
                    of_a, of_b, curvature = of_far[i, a], of_far[i, b], float32(0)
                    for column in range(partners.shape[1]):
                        j = partners[i, column]
                        strength = attraction(z, i, y, j, narrowness_z[i] * narrowness_y[j], affinity[i, column], d)
                        curvature += strength
                        of_a += strength * (z[i, a] - y[j, a])
                        of_b += strength * (z[i, b] - y[j, b])
                    for column in range(near.shape[1]):
                        j = near[i, column]
                        strength = repulsion(z, i, y, j, narrowness_z[i] * narrowness_y[j], per_total, d)[1]
                        of_a -= strength * (z[i, a] - y[j, a])
                        of_b -= strength * (z[i, b] - y[j, b])
                    step[a], step[b] = of_a, of_b
                bound = max(4 * divergence_weight * curvature + error_weight * trace, LEAST_CURVATURE)
                length = float32(0)
                for a in range(d):
                    slope_here = slope[i, a]
                    for b in range(d):
                        slope_here += metric[i, a, b] * (z[i, b] - decoded_at[i, b])
                    step[a] = (4 * divergence_weight * step[a] + error_weight * slope_here) / bound
                    length += step[a] ** 2
                shorter = longest / max(np.sqrt(length), longest)
                for a in range(d):
                    z[i, a] -= shorter * step[a]

    return Loops(of_far, settle)
