"""Curvature of the surface that a decoder spans, from its first and second derivatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch

from .metric import inverse, pullback

if TYPE_CHECKING:
    from torch import Tensor

    from .jet import Jet


def gaussian_curvature(jet: Jet) -> Tensor:
    r"""Return the Gaussian curvature of a surface, (n,), in 1/unit².

    .. math:: K = \frac{\langle \mathrm{II}_{11}, \mathrm{II}_{22} \rangle - \|\mathrm{II}_{12}\|^2}{\det G}

    It is intrinsic: 0 wherever the surface can be unrolled without stretching, positive on a dome, negative on a saddle
    (Gauss 1828, for any number of ambient dimensions).

    Raises
    ------
    ValueError
        If the map is not two-dimensional.
    """
    if jet.first.shape[-1] != 2:
        msg = f"Gaussian curvature needs a surface; the map has {jet.first.shape[-1]} dimensions, not 2."
        raise ValueError(msg)
    metric = pullback(jet.first)
    form = _normal_part(jet, inverse(metric))
    products = torch.einsum("nx,nx->n", form[..., 0, 0], form[..., 1, 1]) - form[..., 0, 1].square().sum(1)
    det = metric[:, 0, 0] * metric[:, 1, 1] - metric[:, 0, 1].square()
    return products / det.clamp(min=torch.finfo(det.dtype).tiny)


def mean_curvature(jet: Jet) -> Tensor:
    r"""Return the length of the mean curvature vector :math:`G^{ab}\,\mathrm{II}_{ab}/m`, (n,), in 1/unit."""
    inverted = inverse(pullback(jet.first))
    vector = torch.einsum("nab,nxab->nx", inverted, _normal_part(jet, inverted))
    return vector.norm(dim=1) / jet.first.shape[-1]


def extrinsic_curvature(jet: Jet) -> Tensor:
    r"""Return how fast the tangent planes turn, (n,), in 1/unit².

    .. math:: \sum_a \|\partial_{e_a} T\|_F^2 = 2 \sum_{ab} \|\mathrm{II}(e_a, e_b)\|^2

    for any G-orthonormal frame e (Lee & Park 2023, arXiv 2309.10237; the right side needs no stochastic trace).
    """
    inverted = inverse(pullback(jet.first))
    form = _normal_part(jet, inverted)
    raised = torch.einsum("nac,nxcd,ndb->nxab", inverted, form, inverted)
    return 2 * (raised * form).sum((1, 2, 3))


def _normal_part(jet: Jet, inverted: Tensor) -> Tensor:
    """Return the second fundamental form II = (I − T) S with T = A G⁻¹ Aᵀ: second derivatives normal to the surface."""
    second = cast("Tensor", jet.second)
    along = torch.einsum("nxa,nxbc->nabc", jet.first, second)
    christoffel = torch.einsum("nab,nbcd->nacd", inverted, along)
    return second - torch.einsum("nxa,nabc->nxbc", jet.first, christoffel)
