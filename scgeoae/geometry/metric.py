"""The pullback metric, and the algebra of batches of metric tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from .ambient import Ambient


def pullback(jacobian: Tensor, ambient: Ambient | None = None, at: Tensor | None = None) -> Tensor:
    """Return the metric that a decoder pulls back to the map, G = AᵀHA, (n, d, d), for Jacobians A, (n, D, d).

    The ambient metric H, by default the identity, is taken at the (n, D) points `at`.
    """
    return jacobian.mT @ (jacobian if ambient is None else ambient.lower(jacobian, cast("Tensor", at)))


def cometric(jacobian: Tensor, ambient: Ambient | None = None, at: Tensor | None = None) -> Tensor:
    """Return M = BH⁻¹Bᵀ, (n, d, d), for Jacobians B, (n, d, D), of an encoder.

    Its inverse P is the metric that the encoder pushes forward: the ellipse of P is the image of the unit ball of H.
    """
    return jacobian @ (jacobian.mT if ambient is None else ambient.raise_(jacobian.mT, cast("Tensor", at)))


def trace(metric: Tensor) -> Tensor:
    """Return tr G, (n,)."""
    return metric.diagonal(dim1=-2, dim2=-1).sum(-1)


def squared_trace(metric: Tensor) -> Tensor:
    """Return tr G², (n,), which for a symmetric matrix is the sum of its squared entries."""
    return metric.square().sum((-2, -1))


def eigenvalues(metric: Tensor) -> Tensor:
    """Return the eigenvalues σ of G in ascending order, (n, d).

    They are the squared singular values of the Jacobian. For d = 2 they are tr G/2 ± r with r² = (a − c)²/4 + b²; the
    smaller one is clamped at zero, because rounding could make it negative.
    """
    d = metric.shape[-1]
    if d == 1:
        return metric[..., 0]
    if d == 2:
        a, b, c = metric[..., 0, 0], metric[..., 0, 1], metric[..., 1, 1]
        radius = torch.hypot((a - c) / 2, b)
        middle = (a + c) / 2
        return torch.stack([(middle - radius).clamp(min=0), middle + radius], dim=-1)
    return torch.linalg.eigvalsh(metric).clamp(min=0)


def log_det(metric: Tensor, *, floor: float = 1e-6) -> Tensor:
    r"""Return log det G, (n,), which is finite and differentiable for singular G too.

    det G is at most :math:`(\operatorname{tr} G/d)^d`. The quotient of the two is kept above `floor`, because rounding
    in float32 could make it zero or negative. The bound therefore depends on the shape of G, not on its scale.
    """
    d = metric.shape[-1]
    # with the smallest normal number, a metric that is exactly zero has log det ≈ −87 d, not −∞
    mean = (trace(metric) / d).clamp(min=torch.finfo(metric.dtype).tiny)
    if d == 1:
        return mean.log()
    shape = metric / mean[..., None, None]
    if d == 2:
        ratio = shape[..., 0, 0] * shape[..., 1, 1] - shape[..., 0, 1].square()
    else:
        ratio = torch.linalg.det(shape)
    return d * mean.log() + ratio.clamp(min=floor).log()


def inverse(metric: Tensor, *, floor: float = 1e-6) -> Tensor:
    """Return G⁻¹, (n, d, d), which is finite and differentiable for singular G too.

    As in `log_det`, det G relative to its largest possible value is kept above `floor`. For d > 2, where no closed form
    is used, `floor` times the mean eigenvalue is added to all eigenvalues.
    """
    d = metric.shape[-1]
    mean = (trace(metric) / d).clamp(min=torch.finfo(metric.dtype).tiny ** 0.5)[..., None, None]
    shape = metric / mean
    if d == 1:
        return 1 / (shape.clamp(min=floor) * mean)
    if d == 2:
        a, b, c = shape[..., 0, 0], shape[..., 0, 1], shape[..., 1, 1]
        adjugate = torch.stack([c, -b, -b, a], dim=-1).reshape(metric.shape)
        return adjugate / ((a * c - b * b).clamp(min=floor)[..., None, None] * mean)
    eye = torch.eye(d, dtype=metric.dtype, device=metric.device)
    return torch.linalg.inv(shape + floor * eye) / mean
