"""Vectors at points of a surface, such as velocities, seen on its map."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from .metric import pullback

if TYPE_CHECKING:
    from torch import Tensor

    from .ambient import Ambient

# Directions that a map collapses: those whose eigenvalue of G is smaller than this share of the largest.
COLLAPSED = 1e-6


class Projection(NamedTuple):
    """Vectors in the tangent planes of a surface."""

    steps: Tensor
    """(n, d) on the map."""
    off_surface: Tensor
    """(n,) share of the squared length that leaves the surface, from 0 to 1."""


def project(vectors: Tensor, jacobian: Tensor, ambient: Ambient | None = None, at: Tensor | None = None) -> Projection:
    r"""Project (n, D) vectors v orthogonally onto the planes spanned by the columns of (n, D, d) Jacobians A.

    The step dz on the map is the one whose image A dz is nearest to v, and the share of the squared length that leaves
    the surface follows from Pythagoras' theorem:

    .. math:: dz = G^{+} A^\top H v, \qquad 1 - \frac{dz^\top G\, dz}{v^\top H v}, \qquad G = A^\top H A

    H is the ambient metric at the (n, D) points `at`, by default the identity. The pseudo-inverse :math:`G^{+}` gives
    no step in a direction that the map collapses. A vector of length zero does not leave the surface.

    Examples
    --------
    >>> import torch
    >>> from scgeoae.geometry.projection import project
    >>> plane = torch.tensor([[[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]]])
    >>> steps, off_surface = project(torch.tensor([[2.0, 3.0, 13.0**0.5]]), plane)
    >>> steps.tolist(), off_surface.tolist()
    ([[1.0, 3.0]], [0.5])
    """
    v = vectors[..., None]
    lowered = v if ambient is None or at is None else ambient.lower(v, at)
    along = jacobian.mT @ lowered
    steps = torch.linalg.pinv(pullback(jacobian, ambient, at), rtol=COLLAPSED, hermitian=True) @ along
    inside, whole = (steps * along).sum((1, 2)), (v * lowered).sum((1, 2))
    smallest = torch.finfo(whole.dtype).tiny
    return Projection(
        steps[..., 0], torch.where(whole > smallest, 1 - inside / whole.clamp(min=smallest), 0).clamp(0, 1)
    )


def lengths(steps: Tensor, metric: Tensor) -> Tensor:
    r"""Return the lengths in the representation of (n, d) steps on the map, :math:`\sqrt{dz^\top G\, dz}`, (n,)."""
    return (steps[:, None] @ metric @ steps[..., None]).clamp(min=0).sqrt()[:, 0, 0]
