"""Find the largest weights of the regularizers that the reconstruction error allows, while training."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch

from .distributed import ALONE

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from ..nn import Autoencoder
    from .distributed import Processes
    from .objective import Batch, Loss, Objective
    from .optimizer import AdamW

# Share of the steps after which the autoencoder without penalties branches off from the one with them. Until then the
# learning rate is so small that the two cannot be told apart: one that branches off here ends within 1% of the error of
# a run of its own, at 0.2 within 5%.
BRANCH = 0.05
# Shares of the steps between which the factor adapts. Before, the two are still too similar for a slack to mean
# anything, and the factor would only run up: from 0.05 on, to 27 where 4 was right. After, the ratio of their errors
# moves by about 1% on the three reference data sets, and a change of the weights would act little.
BEGIN, END = 0.15, 0.6
# How fast log factor moves in the first of these steps if all of the tolerance is left, over as many steps as the whole
# run has; from there the rate falls linearly to 0. The error answers a change only after a tenth of the run, so a
# constant rate overshoots tenfold.
RATE = 30.0
# A slack below −1 counts down to this: the error comes back slowly from a weight that was too large at the peak of the
# learning rate.
DEEPEST = -2.0
# How much log factor follows the current slack, smoothed over some ten steps: this damps the oscillation about the
# constraint (Stooke, Achiam & Abbeel 2020).
GAIN = 0.7
SMOOTHING = 0.1
# As a share of the variance of the data: below this error the data are reconstructed for all purposes, and a ratio to
# it is one of rounding errors.
MIN_ERROR = 1e-4
# The factor stops here where even a huge weight costs nothing, or the smallest too much.
MAX_FACTOR = 1e3
BOUND = math.log(MAX_FACTOR)
# In a run of fewer steps the factor moves no faster, and stays close to 1.
MIN_STEPS = 200


class DualAscent:
    r"""Maximize the Lagrangian of "reconstruct within the tolerance" over the weight of the penalties.

    The constraint is that the reconstruction error :math:`R` is at most `tolerance` τ times the error :math:`R_0` of
    the same autoencoder without penalties, which is trained beside it on the same batches, from a copy of its early
    state. After each step the factor is

    .. math:: \log f = \sum_t \eta_t s_t + \gamma \bar s, \quad
       s = \max\Bigl(\frac{\tau R_0 - R}{(\tau - 1) R_0}, -2\Bigr) \le 1

    with the slack s of the batch, its running mean :math:`\bar s`, and a rate η that falls to 0, after which the factor
    stays. In units of the tolerance, the slack answers to log f about alike for all: the excess of the error at a fixed
    factor goes like f^0.3 to f^0.7 (three data sets, three regularizers). Where the autoencoder without penalties is
    still far from converged at the end, as after 200 steps on some hundred cells, the error can end at 1.15 for a
    tolerance of 1.1.

    Everything stays on the device, and a CUDA graph can replay it.

    Parameters
    ----------
    tolerance
        Above 1.
    n_steps
        Length of the run.
    device
        Device of the networks.
    processes
        Those that train together. The slack is that of the batches of all of them.
    """

    def __init__(self, tolerance: float, *, n_steps: int, device: torch.device, processes: Processes = ALONE) -> None:
        self.excess, self.processes = tolerance - 1, processes
        self.branch = max(int(BRANCH * n_steps), 1)
        self.begin, self.end = max(int(BEGIN * n_steps), self.branch + 1), int(END * n_steps)

        def scalar(value: float) -> Tensor:
            return torch.full((), value, dtype=torch.float32, device=device)

        self.log_factor, self.slack = scalar(0.0), scalar(0.0)
        self.factor = scalar(1.0)
        """() what the base weights are multiplied by, between 1/1,000 and 1,000. It changes in place."""
        first = RATE / max(n_steps, MIN_STEPS)
        self.rate, self.fall = scalar(first), first / max(self.end - self.begin, 1)
        self.vanilla: tuple[Autoencoder, Objective, AdamW] | None = None

    def observers(
        self, step: int, model: Autoencoder, objective: Objective, optimizer: AdamW
    ) -> tuple[Callable[[Batch, Loss], None], ...]:
        """Return what also belongs to the step of this number: to train the other autoencoder, and to adapt the factor.

        Parameters
        ----------
        model, objective, optimizer
            The regularized autoencoder before the step, its objective, and its optimizer, whose schedule is followed.
        """
        if not self.branch < step < self.end:
            if self.vanilla is not None:
                self.vanilla = None
                self.slack.zero_()
                self._set_factor()
            return ()
        if self.vanilla is None:
            copy = deepcopy(model)
            self.vanilla = copy, replace(objective, terms=(), sampler=None), optimizer.continued_on(copy)
        return (self.adapt if step >= self.begin else self.train,)

    def train(self, batch: Batch, _loss: Loss) -> None:
        """Train the autoencoder without penalties on the batch of the step."""
        self._error_of_vanilla(batch)

    def adapt(self, batch: Batch, loss: Loss) -> None:
        """Train it, and adapt the factor to the losses of both."""
        errors = torch.stack([loss.reconstruction, self._error_of_vanilla(batch)])
        regularized, error = self.processes.average(errors).unbind()
        allowed = self.excess * error.clamp(min=MIN_ERROR)
        slack = (1 - (regularized - error) / allowed).clamp(DEEPEST, 1)
        self.slack.lerp_(slack, SMOOTHING)
        self.log_factor.addcmul_(self.rate, slack).clamp_(-BOUND, BOUND)
        self.rate.sub_(self.fall)
        self._set_factor()

    def _error_of_vanilla(self, batch: Batch) -> Tensor:
        model, objective, optimizer = cast("tuple[Autoencoder, Objective, AdamW]", self.vanilla)
        loss = objective(model, batch)
        loss.total.backward()
        optimizer.step()
        return loss.reconstruction.detach()

    def _set_factor(self) -> None:
        self.factor.copy_((self.log_factor + GAIN * self.slack).clamp(-BOUND, BOUND).exp())
