"""The contrastive loss: neighbors in the data stay neighbors on the map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

# A kernel of 1 over this is zero for all purposes.
INFINITELY_FAR = 1e30
# Anchors whose kernels with all other codes are held at a time.
BLOCK = 128


@dataclass(frozen=True)
class ContrastiveLoss:
    r"""Pull the codes of neighbors together, and those of random cells apart (InfoNCE).

    .. math:: L = \mathbb E_{(i, j)} \Bigl[ -\log q(z_i, z_j) + \log \sum_{k \ne i} q(z_i, z_k) \Bigr], \quad
       q(z, z') = \frac{1}{1 + \|z - z'\|^2/\tau^2}

    over edges (i, j) of the neighbor graph, from an anchor i to its positive j; k runs over all other codes of the
    batch. The kernel is that of t-SNE and UMAP, and the form that of van den Oord, Li & Vinyals 2018, arXiv 1807.03748.
    The decoder is regularized at the same time, so distances keep their meaning.
    """

    weight: float
    """Weight against the mean squared error of the standardized representation."""
    scale: float
    """Length scale τ, in units of the standardized representation."""

    def __call__(self, z: Tensor, z_positives: Tensor) -> Tensor:
        """Return the loss before it is weighted; it can be differentiated once.

        Parameters
        ----------
        z
            (n, d) codes of a batch, of which the first n' are the anchors.
        z_positives
            (n', d) codes of one neighbor of each anchor.
        """
        return _Contrastive.apply(z, z_positives, self.scale)  # type: ignore[no-untyped-call]  # torch does not annotate it


def value_and_gradient(z: Tensor, z_positives: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Return the loss, and its gradient with respect to the codes and then to the positives, (n + n', d)."""
    (n, d), n_anchors = z.shape, z_positives.shape[0]
    # Products of codes lose the fewest digits about the mean. Cells are columns here: products with so few columns as
    # there are coordinates would take five times as long as with so few rows.
    codes = torch.cat([z.T, z_positives.T], 1).sub_(z.mean(0)[:, None]).div_(scale)
    # 1 + ‖a − b‖² as one matrix product: a fifth of the time of differences, and exact to 1e-5
    right = codes.new_ones(d + 2, codes.shape[1])
    right[:d] = codes
    torch.linalg.vecdot(codes, codes, dim=0, out=right[d + 1])
    left = codes.new_ones(d + 2, n_anchors)
    torch.mul(codes[:, :n_anchors], -2, out=left[:d])
    left[d] += right[d + 1, :n_anchors]
    # ∂q/∂‖·‖² = −q², so a code is pushed by a sum over differences: Σ q² z_i − Σ q² z_k
    summed, total = right[: d + 1], codes.new_empty(n_anchors)
    of_left, of_right = codes.new_empty(d + 1, n_anchors), torch.zeros_like(summed)
    # The n' × (n + n') kernels are what costs. Autograd would pass over all of them a dozen times and keep half of the
    # passes; here a block of kernels stays in the cache until its share of the gradient is known.
    for start in range(0, n_anchors, BLOCK):
        block = slice(start, min(start + BLOCK, n_anchors))
        kernel = torch.mm(left[:, block].T, right).clamp_(min=1)
        kernel[:, block].fill_diagonal_(INFINITELY_FAR)
        torch.sum(kernel.reciprocal_(), 1, out=total[block])
        of_left[:, block] = torch.mm(summed, kernel.square_().T)
        of_right.addmm_(summed[:, block] / total[block], kernel)
    of_left /= total
    gradient = of_right[:d].addcmul_(codes, of_right[d], value=-1)
    anchors = codes[:, :n_anchors]
    step = anchors - codes[:, n:]
    attraction = torch.linalg.vecdot(step, step, dim=0).add_(1)
    step /= attraction
    gradient[:, n:] -= step
    step += of_left[:d]
    gradient[:, :n_anchors] += step.addcmul_(anchors, of_left[d], value=-1)
    value = attraction.mul_(total).log_().mean()
    return value, gradient.mul_(2 / (n_anchors * scale)).T


class _Contrastive(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, z_positives: Tensor, scale: float) -> Tensor:
        value, gradient = value_and_gradient(z, z_positives, scale)
        ctx.save_for_backward(gradient)
        ctx.n_codes = z.shape[0]
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        gradient = ctx.saved_tensors[0] * grad
        return gradient[: ctx.n_codes], gradient[ctx.n_codes :], None
