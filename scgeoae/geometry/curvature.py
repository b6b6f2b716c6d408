"""Curvature of the surface that a decoder spans, from its first and second derivatives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .metric import inverse, pullback

if TYPE_CHECKING:
    from torch import Tensor

    from ..nn import Jet


def second_fundamental_form(jet: Jet) -> Tensor:
    r"""Return the part of the second derivatives that is normal to the surface, (n, D, m, m).

    :math:`\mathrm{II}_{ab} = (I - T)\, S_{ab}` with the tangent projection
    :math:`T = A G^{-1} A^\top`.
    """
    a, s = jet.first, jet.second
    along = torch.einsum("nxa,nxbc->nabc", a, s)
    christoffel = torch.einsum("nab,nbcd->nacd", inverse(pullback(a)), along)
    return s - torch.einsum("nxa,nabc->nxbc", a, christoffel)


def gaussian_curvature(jet: Jet) -> Tensor:
    r"""Return the Gaussian curvature of a surface, (n,), in 1/unit².

    .. math:: K = \frac{\langle \mathrm{II}_{11}, \mathrm{II}_{22} \rangle - \|\mathrm{II}_{12}\|^2}{\det G}

    It is intrinsic: 0 wherever the surface can be unrolled without stretching, positive on a
    dome, negative on a saddle (Gauss 1828, for any number of ambient dimensions).

    Raises
    ------
    ValueError
        If the map is not two-dimensional.
    """
    if jet.first.shape[-1] != 2:
        msg = f"Gaussian curvature is that of a surface; the map has {jet.first.shape[-1]} dimensions, not 2."
        raise ValueError(msg)
    form = second_fundamental_form(jet)
    products = torch.einsum("nx,nx->n", form[..., 0, 0], form[..., 1, 1]) - form[..., 0, 1].square().sum(1)
    metric = pullback(jet.first)
    det = metric[:, 0, 0] * metric[:, 1, 1] - metric[:, 0, 1].square()
    return products / det.clamp(min=torch.finfo(det.dtype).tiny)


def mean_curvature(jet: Jet) -> Tensor:
    r"""Return the length of the mean curvature vector :math:`G^{ab}\,\mathrm{II}_{ab}/m`, (n,), in 1/unit."""
    vector = torch.einsum("nab,nxab->nx", inverse(pullback(jet.first)), second_fundamental_form(jet))
    return vector.norm(dim=1) / jet.first.shape[-1]


def extrinsic_curvature(jet: Jet) -> Tensor:
    r"""Return how fast the tangent planes turn, (n,), in 1/unit².

    .. math:: \sum_a \|\partial_{e_a} T\|_F^2 = 2 \sum_{ab} \|\mathrm{II}(e_a, e_b)\|^2

    for any G-orthonormal frame e (Lee & Park 2023, arXiv 2309.10237; the right side needs no
    stochastic trace).
    """
    form, inverted = second_fundamental_form(jet), inverse(pullback(jet.first))
    raised = torch.einsum("nac,nxcd,ndb->nxab", inverted, form, inverted)
    return 2 * (raised * form).sum((1, 2, 3))
