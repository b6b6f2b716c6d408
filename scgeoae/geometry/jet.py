"""Values and derivatives of maps, by hand or in forward mode, and of functions along them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from .metric import inverse

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


class Jet(NamedTuple):
    """Values and derivatives of a map from d to D dimensions at n points."""

    values: Tensor
    """(n, D)"""
    first: Tensor
    """(n, D, d): ``first[i, :, a]`` is the derivative along coordinate a."""
    second: Tensor | None = None
    """(n, D, d, d), symmetric in its last two axes."""


def forward_jacobian(function: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor]:
    """Differentiate any function of (n, d) points: return its values, (n, D), and its Jacobian, (n, D, d).

    The function must treat each row independently. One forward pass carries the derivatives in all d directions, so it
    costs as much as d + 1 passes for any D. Autograd can differentiate the result.

    Examples
    --------
    >>> import torch
    >>> from scgeoae.geometry.jet import forward_jacobian
    >>> forward_jacobian(lambda z: z**3, torch.tensor([[1.0, 2.0]]))[1].tolist()
    [[[3.0, 0.0], [0.0, 12.0]]]
    """
    if torch.is_inference_mode_enabled():
        # in inference mode, torch up to 2.8 does not vectorize forward derivatives
        with torch.inference_mode(mode=False), torch.no_grad():
            return forward_jacobian(function, z)

    def along(direction: Tensor) -> tuple[Tensor, Tensor]:
        found = torch.func.jvp(function, (z,), (direction.expand_as(z),))
        return found[0], found[1]

    directions = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    # torch documents None among `out_dims`, but does not annotate it
    values, columns = torch.func.vmap(along, out_dims=(None, 2))(directions)  # type: ignore[arg-type]
    return values, columns


def differentials(jacobian: Tensor, loadings: Tensor) -> Tensor:
    """Return how g linear functions of the representation, such as genes, change along the map, (n, g, d).

    Parameters
    ----------
    jacobian
        (n, D, d) of the decoder.
    loadings
        (D, g) coefficients of the functions.
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
