"""The Jacobian of any function, for those whose derivatives nobody wrote down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def forward_jacobian(function: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values, (n, D), and the Jacobian, (n, D, d), of a function of (n, d) points.

    The function treats each row by itself. One forward pass carries the derivatives in all d directions along, so the
    cost is that of d + 1 passes whatever D is; autograd goes backwards through it.

    Examples
    --------
    >>> import torch
    >>> from scgeoae.geometry import forward_jacobian
    >>> forward_jacobian(lambda z: z**3, torch.tensor([[1.0, 2.0]]))[1].tolist()
    [[[3.0, 0.0], [0.0, 12.0]]]
    """
    if torch.is_inference_mode_enabled():
        # in which torch 2.8 and before do not vectorise forward derivatives
        with torch.inference_mode(mode=False), torch.no_grad():
            return forward_jacobian(function, z)

    def along(direction: Tensor) -> tuple[Tensor, Tensor]:
        return torch.func.jvp(function, (z,), (direction.expand_as(z),))

    directions = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    values, columns = torch.func.vmap(along, out_dims=(None, 2))(directions)
    return values, columns
