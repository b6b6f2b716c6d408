from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..metric import squared_trace, trace

if TYPE_CHECKING:
    from torch import Tensor


def isometric(metric: Tensor) -> Tensor:
    r"""Return how far G is from one multiple of the identity everywhere.

    .. math:: L = m^2\, \frac{\mathbb E_i \operatorname{tr} G_i^2}{(\mathbb E_i \operatorname{tr} G_i)^2} - m

    The denominator is the square of the expectation. With the expectation of the square every
    conformal map would have loss 0 whatever its scale, and areas would not be controlled.

    Source: Lee, Yoon, Son & Park, *Regularized Autoencoders for Isometric Representation
    Learning*, ICLR 2022 (IRAE).

    Parameters
    ----------
    metric
        (n, m, m) metric tensors.
    """
    m = metric.shape[-1]
    tiny = torch.finfo(metric.dtype).tiny ** 0.5
    scaled = metric / trace(metric).mean().clamp(min=tiny)
    return m**2 * squared_trace(scaled).mean() - m
