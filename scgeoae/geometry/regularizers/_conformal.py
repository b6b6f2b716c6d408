from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..metric import squared_trace, trace

if TYPE_CHECKING:
    from torch import Tensor


def conformal(metric: Tensor) -> Tensor:
    r"""Penalize anisotropy: zero exactly where the map keeps angles and small shapes.

    .. math:: L = m^2\, \mathbb E_i \frac{\operatorname{tr} G_i^2}{(\operatorname{tr} G_i)^2} - m

    It is computed exactly, because the published estimate with one Gaussian probe has no finite mean for m = 2.

    Source: Nazari, *Geometric Encoder Regularization*, Eq. 7.

    Parameters
    ----------
    metric
        (n, m, m) metric tensors.
    """
    m = metric.shape[-1]
    tiny = torch.finfo(metric.dtype).tiny ** 0.5
    # dividing first keeps the squares inside the range of float32
    shape = metric / trace(metric).clamp(min=tiny)[..., None, None]
    return m**2 * squared_trace(shape).mean() - m
