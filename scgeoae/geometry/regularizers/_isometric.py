from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ..metric import squared_trace, trace

if TYPE_CHECKING:
    from torch import Tensor


def isometric(metric: Tensor) -> Tensor:
    r"""Return how far G is from one multiple of the identity everywhere.

    .. math:: L = m^2\, \frac{\mathbb E_i \operatorname{tr} G_i^2}{(\mathbb E_i \operatorname{tr} G_i)^2} - m

    The denominator is the square of the expectation. With the expectation of the square every
    conformal map would have loss 0 whatever its scale, and areas would not be controlled.

    It can be differentiated once.

    Source: Lee, Yoon, Son & Park, *Regularized Autoencoders for Isometric Representation
    Learning*, ICLR 2022 (IRAE).

    Parameters
    ----------
    metric
        (n, m, m) metric tensors.
    """
    return _Isometric.apply(metric)


class _Isometric(torch.autograd.Function):
    # In a step of the default map autograd's way back through the few lines below would take longer than that
    # through a network.
    @staticmethod
    def forward(ctx: Any, metric: Tensor) -> Tensor:
        m = metric.shape[-1]
        mean = trace(metric).mean().clamp(min=torch.finfo(metric.dtype).tiny ** 0.5)
        scaled = metric / mean
        square = squared_trace(scaled).mean()
        ctx.save_for_backward(scaled, mean, square)
        return m**2 * square - m

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        scaled, mean, square = ctx.saved_tensors
        n, m, _ = scaled.shape
        # 2 m²/(n t) (G/t − s I) with t the mean trace and s the mean of tr G²/t²
        slope = scaled.clone()
        slope.diagonal(dim1=1, dim2=2).sub_(square)
        return slope.mul_(grad * (2 * m**2 / n) / mean)
