"""Find the largest weights of the regularizers that the reconstruction error allows, while training."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch

from .loop import descend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..nn import Autoencoder
    from .loop import Step
    from .objective import Batch, Objective
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

    Everything stays on the device.

    Parameters
    ----------
    tolerance
        Above 1.
    n_steps
        Length of the run.
    device
        Device of the networks.
    """

    def __init__(self, tolerance: float, *, n_steps: int, device: torch.device) -> None:
        self.excess = tolerance - 1
        self.n_steps = n_steps
        self.branch, self.begin, self.end = (int(share * n_steps) for share in (BRANCH, BEGIN, END))
        self.log_factor, self.slack = (torch.zeros((), dtype=torch.float32, device=device) for _ in range(2))
        self.factor = torch.ones((), dtype=torch.float32, device=device)
        """() what the base weights are multiplied by, between 1/1,000 and 1,000. It changes in place."""
        self.batch: Batch | None = None
        self.vanilla: Iterator[Step] | None = None

    def update(self, step: Step, model: Autoencoder, optimizer: AdamW, objective: Objective) -> None:
        """Train the autoencoder without penalties for a step, and adapt the factor.

        Parameters
        ----------
        step
            The step that the regularized autoencoder has just made.
        model, optimizer, objective
            The regularized autoencoder, its optimizer, whose schedule is followed, and its objective.
        """
        if not self.branch <= step.number <= self.end:
            return
        if self.vanilla is None:
            copy = deepcopy(model)
            unregularized = replace(objective, terms=(), sampler=None)
            self.vanilla = descend(
                copy, self._same_batches(), unregularized, optimizer.continued_on(copy), self.n_steps
            )
            return
        bound = math.log(MAX_FACTOR)
        if step.number == self.end:
            self.vanilla = self.batch = None
            self.slack.zero_()
        else:
            self.batch = step.batch
            error = next(self.vanilla).loss.reconstruction
            if step.number < self.begin:
                return
            allowed = self.excess * error.clamp(min=MIN_ERROR)
            slack = (1 - (step.loss.reconstruction - error) / allowed).clamp(DEEPEST, 1)
            rate = RATE / max(self.n_steps, MIN_STEPS) * (self.end - step.number) / (self.end - self.begin)
            self.slack.lerp_(slack, SMOOTHING)
            self.log_factor.add_(rate * slack).clamp_(-bound, bound)
        self.factor.copy_((self.log_factor + GAIN * self.slack).clamp(-bound, bound).exp())

    def _same_batches(self) -> Iterator[Batch]:
        while True:
            yield cast("Batch", self.batch)
