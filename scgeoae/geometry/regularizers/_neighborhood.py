from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from ..jet import Jet


def neighborhood(jet: Jet, z: Tensor, z_neighbors: Tensor, x_neighbors: Tensor) -> Tensor:
    r"""Penalize the error with which the decoder's local approximation at a cell reconstructs its neighbors.

    .. math:: L = \mathbb E_i\, \mathbb E_{j \in N(i)} \tfrac1D \|x_j - \tilde F_i(z_j)\|^2, \quad
       \tilde F_i(z) = D(z_i) + A_i (z - z_i) \left[ + \tfrac12 S_i (z - z_i, z - z_i) \right]

    With weight λ, and the reconstruction error of the cells themselves, it is the loss of the
    neighborhood-reconstructing autoencoder, whose kernel K is 1 at j = i and λ otherwise. The first order (NRAE-L) is
    zero exactly for flat pieces laid out affinely, the second order (NRAE-Q) also for parabolic ones.

    Source: Lee, Kwon & Park, NeurIPS 2021.

    Parameters
    ----------
    jet
        Values and derivatives of the decoder at the codes of n cells; the second order is used if present.
    z
        (n, m) their codes.
    z_neighbors
        (n, k, m) codes of the k neighbors of each cell.
    x_neighbors
        (n, k, D) these neighbors.
    """
    step = z_neighbors - z[:, None]
    local = jet.values[:, None] + step @ jet.first.mT
    if jet.second is not None:
        local = local + torch.einsum("nxab,nka,nkb->nkx", jet.second, step, step) / 2
    return (x_neighbors - local).square().mean()
