"""The neighbour term: cells that are near in the data stay near on the map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

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
        """Return the loss of the first n' of (n, m) codes, before it is weighted; it can be differentiated once.

        Parameters
        ----------
        z
            (n, m) codes of a batch.
        z_neighbors
            (n', m) codes of one neighbour of each of the first of them.
        """
        return _Contrast.apply(z, z_neighbors, self.scale)


class _Contrast(torch.autograd.Function):
    # The n' × (n + n') matrix of kernels is what costs: autograd would pass over it a dozen times and keep
    # half of these, where seven passes in one place do.
    @staticmethod
    def forward(ctx: Any, z: Tensor, z_neighbors: Tensor, scale: float) -> Tensor:
        n = len(z_neighbors)
        # the mean of all codes is where products of codes lose the fewest digits
        z_all = (torch.cat([z, z_neighbors]) - z.mean(0)).div_(scale)
        step = z_all[:n] - z_all[len(z) :]
        attraction = step.square().sum(1).add_(1)
        # 1 + ‖a − b‖² as one matrix product: a fifth of the time of differences, and exact to 1e-5
        square = z_all.square().sum(1, keepdim=True)
        one = torch.ones_like(square)
        right = torch.cat([z_all, square, one], 1)
        left = torch.cat([-2 * z_all[:n], one[:n], 1 + square[:n]], 1)
        kernel = torch.mm(left, right.T).clamp_(min=1)
        # so far from itself that it does not count
        kernel.diagonal().fill_(ITSELF)
        total = kernel.reciprocal_().sum(1)
        ctx.save_for_backward(right, step, attraction, kernel, total)
        ctx.scale, ctx.n_codes = scale, len(z)
        return (attraction * total).log_().mean()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        right, step, attraction, kernel, total = ctx.saved_tensors
        n, m = step.shape
        z_all = right[:, :m]
        # ∂q/∂‖·‖² = −q²; what each of a pair is pushed with is a sum over the differences, z Σ q² − Σ q² z'
        pushes = kernel.square()
        share = total.reciprocal()[:, None]
        from_right = (pushes @ right).mul_(share)
        from_left = torch.cat([z_all[:n] * share, share], 1).T @ pushes
        gradient = from_left[:m].T - z_all * from_left[m, :, None]
        gradient[:n] += from_right[:, :m] - z_all[:n] * from_right[:, -1:]
        pull = step / attraction[:, None]
        gradient[:n] += pull
        gradient[ctx.n_codes :] -= pull
        gradient *= grad * (2 / (n * ctx.scale))
        return gradient[: ctx.n_codes], gradient[ctx.n_codes :], None
