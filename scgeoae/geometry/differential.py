"""How functions of the representation change along a map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .metric import inverse

if TYPE_CHECKING:
    from torch import Tensor


def differentials(jacobian: Tensor, loadings: Tensor) -> Tensor:
    """Return the derivatives, (n, g, d), of g linear functions of the representation along the map.

    Parameters
    ----------
    jacobian
        (n, D, d) of the decoder.
    loadings
        (D, g)
    """
    return loadings.T @ jacobian


def steepest(differential: Tensor, metric: Tensor) -> Tensor:
    r"""Return the largest change per unit of travel in any direction, :math:`\sqrt{w^\top G^{-1} w}`, (n, g).

    Parameters
    ----------
    differential
        (n, g, d) derivatives w along the map.
    metric
        (n, d, d) tensors G.
    """
    return ((differential @ inverse(metric)) * differential).sum(2).clamp(min=0).sqrt()


def along(differential: Tensor, metric: Tensor, direction: Tensor) -> Tensor:
    r"""Return the change per unit of travel in one direction, :math:`w^\top v/\sqrt{v^\top G v}`, (n, g).

    Parameters
    ----------
    differential
        (n, g, d) derivatives w along the map.
    metric
        (n, d, d) tensors G.
    direction
        (d,) or (n, d) directions v on the map, of any length but 0.
    """
    v = direction.expand(len(metric), -1)[:, :, None]
    length = (v.mT @ metric @ v)[:, :, 0].clamp(min=torch.finfo(metric.dtype).tiny).sqrt()
    return (differential @ v)[:, :, 0] / length
