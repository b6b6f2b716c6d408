"""All parameters of a module in one vector."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

# Attribute of a parameter: the part of the flat gradient that belongs to it.
ROOM = "_gradient_room"


@torch.no_grad()
def flatten(module: nn.Module) -> nn.Parameter:
    """Lay the parameters of `module` into one vector, with a ``grad`` of its own, and return it.

    The parameters are views of it from then on. An optimizer then updates one tensor instead of some ten, which takes
    a fifth off the time of its step, and on a GPU is one kernel. `gather_gradients` brings the gradients there.

    Examples
    --------
    >>> import torch
    >>> from scgeoae.nn import Mlp
    >>> from scgeoae.nn.flatten import flatten
    >>> mlp = Mlp(2, 3, hidden=(4,))
    >>> flat = flatten(mlp)
    >>> flat.shape
    torch.Size([27])
    >>> _ = flat.data.zero_()
    >>> mlp.weights[0].abs().max().item()
    0.0
    """
    parameters = list(module.parameters())
    flat = nn.Parameter(torch.cat([p.flatten() for p in parameters]))
    flat.grad = torch.zeros_like(flat)
    sizes = [p.numel() for p in parameters]
    for p, values, gradient in zip(parameters, flat.detach().split(sizes), flat.grad.split(sizes), strict=True):
        p.data = values.view(p.shape)
        p.grad = None
        setattr(p, ROOM, gradient.view(p.shape))
    return flat


def gradient_room(p: nn.Parameter) -> Tensor | None:
    """Return the part of a flat gradient that belongs to a parameter, if there is one."""
    return getattr(p, ROOM, None)


def gather_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Bring the gradients of flattened parameters to the flat vector, where they are not there yet, and forget them."""
    for p in parameters:
        room, found = getattr(p, ROOM), p.grad
        if found is None:
            room.zero_()
        elif found is not room:
            room.copy_(found)
        p.grad = None


def release(parameters: Iterable[nn.Parameter]) -> None:
    """Forget the gradients of flattened parameters, and the flat gradient."""
    for p in parameters:
        p.grad = None
        p.__dict__.pop(ROOM, None)
