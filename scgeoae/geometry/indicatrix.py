"""Tissot's indicatrix: the image of a small circle of the data on the map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def indicatrix_axes(metric: Tensor) -> Tensor:
    r"""Return the semi-axes of the ellipses :math:`\{v : v^\top G v = 1\}`, (n, d, d).

    ``axes[i, :, a]`` is the a-th semi-axis at point i, a vector of length σ_a^{-1/2} along the
    a-th eigenvector of G, longest first. A collapsed direction (σ = 0) gives an axis that is
    10⁶ times as long as the shortest one instead of an infinite one.
    """
    sigma, vectors = torch.linalg.eigh(metric)
    largest = sigma[..., -1:].clamp(min=torch.finfo(metric.dtype).tiny)
    return vectors * torch.maximum(sigma, largest * 1e-12).rsqrt()[..., None, :]
