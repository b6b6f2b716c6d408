"""AdamW with a one-cycle schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from ..nn.flatten import flatten, gather_gradients
from .distributed import ALONE

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from .distributed import Processes

DECAY, EPS = 0.999, 1e-8
# The first rate as a share of the peak, the last one as a share of the first, and the range of the momentum.
FIRST, LAST = 1 / 25, 1e-4
LEAST_MOMENTUM, MOST_MOMENTUM = 0.85, 0.95


class AdamW:
    """AdamW (Loshchilov & Hutter 2019) with a one-cycle schedule (Smith & Topin 2019).

    It does what `torch.optim.AdamW` and `torch.optim.lr_scheduler.OneCycleLR` do. The first use of these imports
    torch's compiler, which takes two seconds and 100 MB: a fifth of the time of a whole process on 2,500 cells.

    The schedule and the number of steps made are on the device, so that a CUDA graph can replay a step.

    Parameters
    ----------
    module
        The module whose parameters are changed. They become views of one vector (``scgeoae.nn.flatten``).
    peak
        Peak of the learning rate.
    n_steps
        Length of the cycle.
    climb
        Share of the cycle until the peak.
    weight_decay
        Weight decay of each step, times the learning rate.
    processes
        Those over which gradients are averaged.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        peak: float,
        n_steps: int,
        climb: float = 0.3,
        weight_decay: float = 1e-2,
        processes: Processes = ALONE,
    ) -> None:
        self.parameters = list(module.parameters())
        self.flat = flatten(module)
        self.peak, self.climb, self.weight_decay = peak, climb, weight_decay
        self.n_steps, self.processes = n_steps, processes
        self.mean, self.square = torch.zeros_like(self.flat.data), torch.zeros_like(self.flat.data)
        self.n_done = torch.zeros(1, dtype=torch.int64, device=self.flat.device)
        self.factors = self._factors().to(self.mean)

    def continued_on(self, module: nn.Module) -> AdamW:
        """Return an optimizer in the same state for a module with parameters of the same shapes."""
        other = AdamW(
            module,
            peak=self.peak,
            n_steps=self.n_steps,
            climb=self.climb,
            weight_decay=self.weight_decay,
            processes=self.processes,
        )
        other.n_done.copy_(self.n_done)
        other.mean.copy_(self.mean)
        other.square.copy_(self.square)
        return other

    def step(self) -> None:
        """Change the parameters by their gradients, and forget these."""
        gather_gradients(self.parameters)
        follow, keep, move, eps = self.factors.index_select(0, self.n_done)[0].unbind()
        self.n_done.add_(1)
        # the gradient is not needed again once the means have seen it
        gradient = scratch = self.processes.average(cast("Tensor", self.flat.grad))
        self.mean.lerp_(gradient, follow)
        self.square.mul_(DECAY).addcmul_(gradient, gradient, value=1 - DECAY)
        torch.sqrt(self.square, out=scratch).add_(eps)
        torch.div(self.mean, scratch, out=scratch).mul_(move)
        torch.addcmul(scratch, self.flat.data, keep, out=self.flat.data)

    def _factors(self) -> Tensor:
        r"""Return the numbers of each step, (n_steps, 4): 1 − β₁, the weight decay, the step size, and ε.

        The last two include the bias of the means. With :math:`b = 1 - \beta_2^t`,

        .. math:: \frac{\eta}{1 - \beta_1^t} \frac{m}{\sqrt{v/b} + \varepsilon} =
           \frac{\eta \sqrt b}{1 - \beta_1^t} \frac{m}{\sqrt v + \varepsilon \sqrt b}
        """
        rate, momentum = one_cycle(self.n_steps, self.peak, self.climb)
        t = np.arange(1, len(rate) + 1)
        root = np.sqrt(1 - DECAY**t)
        size = rate * root / (1 - momentum**t)
        return torch.from_numpy(np.stack([1 - momentum, 1 - rate * self.weight_decay, -size, EPS * root], 1))


def one_cycle(n_steps: int, peak: float, climb: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return learning rate and momentum of each step: half a cosine up, half a cosine down."""
    # with fewer steps than 4 the cycle has no room for its two phases
    step = np.arange(max(n_steps, 4))
    # a short cycle may begin at its peak
    top, end = max(climb * len(step) - 1, 0), len(step) - 1
    climbs = (step <= top) & (top > 0)
    angle = np.where(climbs, 1 - step / (top or 1), (step - top) / (end - top))
    share = (1 + np.cos(np.pi * angle)) / 2
    first = peak * FIRST * np.where(climbs, 1, LAST)
    return first + (peak - first) * share, MOST_MOMENTUM + (LEAST_MOMENTUM - MOST_MOMENTUM) * share
