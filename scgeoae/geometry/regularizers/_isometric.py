from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ..metric import squared_trace, trace

if TYPE_CHECKING:
    from torch import Tensor


def isometric(metric: Tensor) -> Tensor:
    r"""Penalize deviation from a scaled isometry: zero exactly if G is the same multiple of the identity everywhere.

    .. math:: L = m^2\, \frac{\mathbb E_i \operatorname{tr} G_i^2}{(\mathbb E_i \operatorname{tr} G_i)^2} - m

    The denominator is the square of the expectation. With the expectation of the square, every conformal map would have
    loss 0 whatever its local scale, and areas would not be controlled.

    It can be differentiated once.

    Source: Lee, Yoon, Son & Park, *Regularized Autoencoders for Isometric Representation Learning*, ICLR 2022 (IRAE).

    Parameters
    ----------
    metric
        (n, m, m) metric tensors.
    """
    return _Isometric.apply(metric)  # type: ignore[no-untyped-call]  # torch does not annotate it


@torch.no_grad()
def isometric_and_gradient(metric: Tensor) -> tuple[Tensor, Tensor]:
    """Return `isometric` and its gradient, (n, m, m).

    In a training step of the default map, autograd would take longer for these few lines than for a network.
    """
    n, m, _ = metric.shape
    mean = trace(metric).mean().clamp(min=torch.finfo(metric.dtype).tiny ** 0.5)
    scaled = metric / mean
    square = squared_trace(scaled).mean()
    # 2 m²/(n t) (G/t − s I) with t the mean trace and s the mean of tr G²/t²
    scaled.diagonal(dim1=1, dim2=2).sub_(square)
    return m**2 * square - m, scaled.mul_(2 * m**2 / n / mean)


class _Isometric(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, metric: Tensor) -> Tensor:
        value, gradient = isometric_and_gradient(metric)
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * ctx.saved_tensors[0]
