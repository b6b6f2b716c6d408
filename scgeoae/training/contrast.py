"""The neighbour term: cells that are near in the data stay near on the map."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from torch import Tensor


ITSELF = 1e30


class Contrast(NamedTuple):
    r"""Pull the codes of neighbours together, and those of random cells apart.

    .. math:: L = \mathbb E_{(i, j)} \Bigl[ -\log q(z_i, z_j) + \log \sum_{k \ne i} q(z_i, z_k) \Bigr], \quad
       q(z, z') = \frac{1}{1 + \|z - z'\|^2/\tau^2}

    over edges (i, j) of the neighbour graph, k over all other codes of the batch. The same kernel
    as t-SNE's and UMAP's, in the form of a contrastive loss (InfoNCE; van den Oord, Li & Vinyals
    2018, arXiv 1807.03748). Because the decoder is held to its metric at the same time, distances
    keep their meaning.
    """

    weight: float
    """Against the mean squared error of the standardised representation."""
    scale: float
    """τ, in units of the standardised representation."""

    def of(self, z: Tensor, z_neighbors: Tensor) -> Tensor:
        """Return the loss of (n, m) codes and (n, m) codes of one neighbour of each, before it is weighted."""
        # the mean of all codes is where products of codes lose the fewest digits
        center = z.detach().mean(0)
        z, others = (z - center) / self.scale, (torch.cat([z, z_neighbors]) - center) / self.scale
        attraction = torch.log1p((z - others[len(z) :]).square().sum(1))
        # ‖a − b‖² as a matrix product: a fifth of the time of differences, and exact to 1e-5 τ²
        squared = torch.addmm(z.square().sum(1)[:, None] + others.square().sum(1), z, others.T, alpha=-2)
        squared = squared.clamp(min=0)
        # so far from itself that it does not count
        squared.diagonal().add_(ITSELF)
        return (attraction + (1 + squared).reciprocal().sum(1).log()).mean()
