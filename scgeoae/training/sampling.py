"""Where in latent space the decoder's regularizers are evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

# How far a mixture of two codes may reach beyond them, η of Lee et al. 2022.
REACH = 0.2


def mixup(z: Tensor, generator: torch.Generator | None) -> Tensor:
    r"""Return points on and beyond the lines between pairs of codes.

    These are :math:`\alpha z_i + (1 - \alpha) z_j` with :math:`\alpha \sim U(-\eta, 1 + \eta)`, η = 0.2. They reach
    the gaps between the data (Lee, Yoon, Son & Park, ICLR 2022).
    """
    # a sort is sure to be possible within a CUDA graph, which `torch.randperm` is not
    order, alpha = torch.rand(2, len(z), 1, generator=generator, dtype=z.dtype, device=z.device)
    partner, alpha = z[order[:, 0].argsort()], alpha * (1 + 2 * REACH) - REACH
    return partner + alpha * (z - partner)


def gaussian(z: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return as many draws from the Gaussian that has the mean and covariance of the codes."""
    z = z.detach()
    centered = z - z.mean(0)
    # a random mixture of the centered codes has their covariance, which needs no factorization
    mixture = torch.randn(len(z), len(z), generator=generator, dtype=z.dtype, device=z.device) / len(z) ** 0.5
    return z.mean(0) + mixture @ centered


def uniform(z: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return as many draws from the box that holds the codes."""
    low, high = z.detach().aminmax(dim=0)
    return low + (high - low) * torch.rand(z.shape, generator=generator, dtype=z.dtype, device=z.device)


SAMPLINGS: dict[str, Callable[[Tensor, torch.Generator | None], Tensor] | None] = {
    "data": None,
    "mixup": mixup,
    "gaussian": gaussian,
    "uniform": uniform,
}
