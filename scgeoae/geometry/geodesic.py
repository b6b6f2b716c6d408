"""Shortest curves on the surface that a decoder spans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from scipy.linalg import solveh_banded

if TYPE_CHECKING:
    from torch import Tensor

    from .ambient import Ambient
    from .jet import Jet

MAX_ITERATIONS = 200
# A curve is done when no point moves by more than this share of its length, which is then known to 1e-5.
TOLERANCE = 1e-3
# Below this share of the first step, no step lowers the energy in double precision.
SMALLEST = 2.0**-12


class Surface(Protocol):
    """A decoder, its derivatives, and the metric of the representation."""

    ambient: Ambient | None

    def decode(self, z: Tensor) -> Tensor:
        """Map (n, d) positions to (n, D) points of the representation."""

    def jet(self, z: Tensor, *, order: int = 1) -> Jet:
        """Return `decode` and its derivatives up to `order` at (n, d) positions."""


def chords(model: Surface, curves: Tensor) -> Tensor:
    """Return the lengths in the representation, (b, m − 1), of the pieces of (b, m, d) polylines on the map."""
    return _squares(model, curves).sqrt()


def shorten(model: Surface, curves: Tensor) -> Tensor:
    r"""Shorten (b, m, d) polylines between fixed ends to geodesics of the pullback metric.

    They minimize the energy :math:`E = \sum_i \|D(z_{i+1}) - D(z_i)\|_H^2`, whose minimum among all curves is the
    shortest one, at constant speed. The Hessian of E without the second derivatives of D is block-tridiagonal,

    .. math:: \nabla^2 E \approx 2 \begin{pmatrix} \ddots & & \\ -A_i^\top H A_{i-1} & 2 A_i^\top H A_i &
       -A_i^\top H A_{i+1} \\ & & \ddots \end{pmatrix}

    so that a Gauss–Newton step over a whole curve costs no more than decoding it. Steps are halved until E falls.

    Parameters
    ----------
    model
        In double precision.
    curves
        Starting curves. A geodesic that is not the shortest is a minimum too, so the result is the one near the start.
    """
    curves = curves.clone()
    moving = torch.arange(len(curves))
    for _ in range(MAX_ITERATIONS if curves.shape[1] > 2 else 0):
        part = curves[moving]
        energy, step = _gauss_newton(model, part)
        length = energy.sqrt() * (part.shape[1] - 1) ** 0.5
        rate, best = torch.ones_like(energy), part.clone()
        open_ = torch.ones_like(energy, dtype=torch.bool)
        while open_.any() and rate[open_].max() > SMALLEST:
            trial = part[open_]
            trial[:, 1:-1] += rate[open_, None, None] * step[open_]
            lower = _squares(model, trial).sum(1) < energy[open_]
            rows = open_.nonzero()[:, 0]
            best[rows[lower]] = trial[lower]
            open_[rows[lower]] = False
            rate[open_] /= 2
        moved = chords(model, torch.stack([part, best], 2).flatten(0, 1)).amax(1).view(part.shape[:2]).amax(1)
        curves[moving] = best
        moving = moving[moved > TOLERANCE * length]
        if not len(moving):
            break
    return curves


def _squares(model: Surface, curves: Tensor) -> Tensor:
    """Return the squared lengths of the pieces, (b, m − 1)."""
    b, m, d = curves.shape
    x = model.decode(curves.reshape(-1, d)).view(b, m, -1)
    step = x[:, 1:] - x[:, :-1]
    if model.ambient is None:
        return step.square().sum(2)
    middle = ((x[:, 1:] + x[:, :-1]) / 2).flatten(0, 1)
    flat = step.flatten(0, 1)
    return (flat * model.ambient.lower(flat[:, :, None], middle)[:, :, 0]).sum(1).view(b, m - 1)


def _gauss_newton(model: Surface, curves: Tensor) -> tuple[Tensor, Tensor]:
    """Return the energies, (b,), and the steps of the inner points, (b, m − 2, d)."""
    b, m, d = curves.shape
    leaf = curves.detach().requires_grad_()
    with torch.enable_grad():
        energy = _squares(model, leaf).sum(1)
        (gradient,) = torch.autograd.grad(energy.sum(), leaf)
    jet = model.jet(curves.reshape(-1, d))
    x, first = jet.values.view(b, m, -1), jet.first.view(b, m, -1, d)
    # each piece is measured at its middle, which keeps the sum over the pieces positive
    start, end = first[:, :-1], first[:, 1:]
    start_, end_ = start, end
    if model.ambient is not None:
        middle = ((x[:, 1:] + x[:, :-1]) / 2).flatten(0, 1)
        start_, end_ = (model.ambient.lower(side.flatten(0, 1), middle).view(side.shape) for side in (start, end))
    diagonal = 2 * ((end.mT @ end_)[:, :-1] + (start.mT @ start_)[:, 1:])
    # bounds the step in a direction in which the surface has collapsed
    floor = 1e-9 * diagonal.diagonal(dim1=2, dim2=3).mean((1, 2), keepdim=True)
    diagonal.diagonal(dim1=2, dim2=3).add_(floor)
    upper = -2 * (start.mT @ end_)[:, 1:-1]
    return energy.detach(), -_solve(diagonal, upper, gradient[:, 1:-1])


def _solve(diagonal: Tensor, upper: Tensor, right: Tensor) -> Tensor:
    """Solve symmetric positive block-tridiagonal systems.

    Parameters
    ----------
    diagonal, upper, right
        (b, k, d, d), (b, k − 1, d, d) and (b, k, d).
    """
    b, k, d = right.shape
    # row 2d − 1 − (j − i) of column j holds the entry (i, j)
    bands = np.zeros((b, 2 * d, k, d))
    for i, j in np.ndindex(d, d):
        if i <= j:
            bands[:, 2 * d - 1 - (j - i), :, j] = diagonal[:, :, i, j]
        bands[:, d - 1 - (j - i), 1:, j] = upper[:, :, i, j]
    systems = zip(bands.reshape(b, 2 * d, k * d), right.reshape(b, k * d).numpy(), strict=True)
    found = [solveh_banded(band, values, overwrite_ab=True) for band, values in systems]
    return torch.from_numpy(np.array(found)).view(b, k, d)
