"""All parameters of a module in one vector."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def flatten(module: nn.Module) -> nn.Parameter:
    """Lay the parameters of `module`, and their gradients, into one vector each, and return the first.

    The parameters are views of it from then on, so that an optimiser has one tensor to update instead
    of some ten: a fifth of the time of its step, and on a GPU one kernel.

    Examples
    --------
    >>> import torch
    >>> from scgeoae.nn import Mlp, flatten
    >>> mlp = Mlp(2, 3, hidden=(4,))
    >>> flat = flatten(mlp)
    >>> flat.shape, flat.grad.shape
    (torch.Size([27]), torch.Size([27]))
    >>> _ = flat.data.zero_()
    >>> mlp.weights[0].abs().max().item()
    0.0
    """
    parameters = list(module.parameters())
    flat = nn.Parameter(torch.cat([p.detach().flatten() for p in parameters]))
    flat.grad = torch.zeros_like(flat)
    sizes = [p.numel() for p in parameters]
    for p, values, gradient in zip(parameters, flat.detach().split(sizes), flat.grad.split(sizes), strict=True):
        p.data = values.view(p.shape)
        p.grad = gradient.view(p.shape)
    return flat
