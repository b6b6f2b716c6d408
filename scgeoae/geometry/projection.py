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


def project(
    vectors: Tensor,
    jacobian: Tensor,
    ambient: Ambient | None = None,
    at: Tensor | None = None,
    *,
    encoder: Tensor | None = None,
    seen: Tensor | None = None,
) -> Projection:
    r"""Project (n, D) vectors v orthogonally onto the planes spanned by the columns of (n, D, d) Jacobians A.

    The step dz on the map is the one whose image A dz is nearest to v, and the share of the squared length that leaves
    the surface follows from Pythagoras' theorem:

    .. math:: dz = G^{+} A^\top H v, \qquad 1 - \frac{dz^\top G\, dz}{v^\top H v}, \qquad G = A^\top H A

    H is the ambient metric at the (n, D) points `at`, by default the identity. The pseudo-inverse :math:`G^{+}` gives
    no step in a direction that the map collapses. A vector of length zero does not leave the surface.

    If only some genes have vectors y, v = Lᵀy is too short, as if all others stood still. With K = LᵀL, `seen`, the
    direction is the same, and the length is the one that fits y best, min ‖y − t L A dz‖. The share is that of the part
    of y that the representation shows:

    .. math:: t = \frac{w^\top v}{w^\top K w}, \qquad 1 - \frac{(w^\top v)^2}{w^\top K w \; v^\top K^{+} v},
       \qquad w = A\, dz

    Parameters
    ----------
    encoder
        (n, d, D) Jacobians B of an encoder. If given, the steps are dz = B v; the share is still the one above.
    seen
        K, (D, D), or its diagonal, (D,), if it has no other entries than 0 and 1 there.

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
    steps = _pseudo_inverse(pullback(jacobian, ambient, at)) @ along
    inside, whole = (steps * along).sum((1, 2)), (v * lowered).sum((1, 2))
    if seen is not None:
        t, inside = _fit(vectors, (jacobian @ steps)[..., 0], seen)
        steps = t[:, None, None] * steps
        whole = (vectors * _times(seen if seen.ndim == 1 else _pseudo_inverse(seen), vectors)).sum(1)
    off_surface = (1 - _ratio(inside, whole)).where(whole > 0, 0).clamp(0, 1)
    if encoder is not None:
        steps = encoder @ v
        if seen is not None:
            steps = _fit(vectors, (jacobian @ steps)[..., 0], seen)[0][:, None, None] * steps
    return Projection(steps[..., 0], off_surface)


def _fit(vectors: Tensor, w: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Return t and (wᵀv)²/(wᵀKw), (n,), for (n, D) vectors v and w."""
    fitted = (w * vectors).sum(1)
    t = _ratio(fitted, (w * _times(seen, w)).sum(1))
    return t, t * fitted


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Return the quotient, 0 where the denominator is."""
    return (numerator / denominator.clamp(min=torch.finfo(denominator.dtype).tiny)).where(denominator > 0, 0)


def _times(matrix: Tensor, vectors: Tensor) -> Tensor:
    """Return the products of a symmetric (D, D) matrix, or of a (D,) diagonal, with (n, D) vectors."""
    return vectors * matrix if matrix.ndim == 1 else vectors @ matrix


def _pseudo_inverse(matrix: Tensor) -> Tensor:
    return torch.linalg.pinv(matrix, rtol=COLLAPSED, hermitian=True)


def lengths(steps: Tensor, metric: Tensor) -> Tensor:
    r"""Return the lengths in the representation of (n, d) steps on the map, :math:`\sqrt{dz^\top G\, dz}`, (n,)."""
    return (steps[:, None] @ metric @ steps[..., None]).clamp(min=0).sqrt()[:, 0, 0]
