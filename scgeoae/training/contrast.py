"""The neighbour term: cells that are near in the data stay near on the map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    from torch import Tensor

ITSELF = 1e30
# Cells whose kernels with all others are held at a time.
BLOCK = 128


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
        return _Contrast.apply(z, z_neighbors, self)

    @torch.no_grad()
    def value_and_gradient(self, z: Tensor, z_neighbors: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and its gradient with respect to the codes and then those of the neighbours, (n + n', m)."""
        (n, m), n_contrasted = z.shape, len(z_neighbors)
        # the mean of all codes is where products of codes lose the fewest digits
        codes = (torch.cat([z, z_neighbors]) - z.mean(0)).div_(self.scale)
        square = torch.linalg.vecdot(codes, codes)[:, None]
        one = torch.ones_like(square)
        # 1 + ‖a − b‖² as one matrix product: a fifth of the time of differences, and exact to 1e-5
        right = torch.cat([codes, one, square], 1)
        left = torch.cat([-2 * codes[:n_contrasted], 1 + square[:n_contrasted], one[:n_contrasted]], 1)
        total = codes.new_empty(n_contrasted, 1)
        # ∂q/∂‖·‖² = −q², and what a code is pushed with is a sum over differences: Σ q² z_i − Σ q² z_k
        of_left, of_right = torch.empty_like(left), codes.new_zeros(m + 1, len(codes))
        # The n' × (n + n') kernels are what costs. Autograd would pass over all of them a dozen times and keep half
        # of these; here a block of them stays in the cache until its share of the gradient is known.
        for start in range(0, n_contrasted, BLOCK):
            rows = slice(start, min(start + BLOCK, n_contrasted))
            kernel = torch.mm(left[rows], right.T).clamp_(min=1)
            # so far from itself that it does not count
            kernel[:, rows].fill_diagonal_(ITSELF)
            torch.sum(kernel.reciprocal_(), 1, keepdim=True, out=total[rows])
            torch.mm(kernel.square_(), right, out=of_left[rows])
            of_right.addmm_((right[rows, : m + 1] / total[rows]).T, kernel)
        of_left /= total
        gradient = of_right[:m].T - codes * of_right[m, :, None]
        step = codes[:n_contrasted] - codes[n:]
        attraction = torch.linalg.vecdot(step, step).add_(1)
        step /= attraction[:, None]
        gradient[n:] -= step
        step += of_left[:, :m]
        gradient[:n_contrasted] += step.addcmul_(codes[:n_contrasted], of_left[:, m, None], value=-1)
        value = attraction.mul_(total[:, 0]).log_().mean()
        return value, gradient.mul_(2 / (n_contrasted * self.scale))


class _Contrast(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, z_neighbors: Tensor, contrast: Contrast) -> Tensor:
        value, gradient = contrast.value_and_gradient(z, z_neighbors)
        ctx.save_for_backward(gradient)
        ctx.n_codes = len(z)
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        gradient = ctx.saved_tensors[0] * grad
        return gradient[: ctx.n_codes], gradient[ctx.n_codes :], None
