"""The largest factor of the regularisers' weights that the reconstruction error allows, found while training."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import TYPE_CHECKING

import torch

from ..nn import flatten
from .descent import Descent

if TYPE_CHECKING:
    from torch import Tensor

    from ..nn import Autoencoder
    from .adamw import AdamW
    from .contrast import Contrast
    from .loss import Batch

# Share of the steps at which the autoencoder without penalties leaves that with them. Until there the
# learning rate is so small that the two cannot be told apart: one that leaves here ends within 1%
# of the error of a run of its own, at 0.2 within 5%.
BRANCH = 0.05
# Shares of the steps between which the factor adapts. Before, the two are still too near each
# other for a slack to mean anything, and the factor would only run up: from 0.05 on, to 27 where
# 4 was right. After, the ratio of their errors moves by about 1% on the three reference data sets,
# and a change of the weights would act little.
BEGIN, END = 0.15, 0.6
# How fast log factor moves, in the first of these steps, over as many steps as the whole run has,
# if all of the tolerance is left; from there the rate falls linearly to 0. The error answers a
# change only after a tenth of the run: a constant rate overshoots tenfold.
RATE = 30.0
# A slack of less than −1 counts down to this: the error comes back slowly from a weight that was too
# large at the peak of the learning rate.
DEEPEST = -2.0
# How much log factor follows the slack of the moment, smoothed over some ten steps: this damps
# the oscillation about the constraint (Stooke, Achiam & Abbeel 2020).
GAIN = 0.7
SMOOTHING = 0.1
# Of the variance of the data: below this error the data are reconstructed for all purposes, and
# a ratio to it is one of rounding errors.
MIN_ERROR = 1e-4
# Where even a huge weight costs nothing, or the smallest too much.
MAX_FACTOR = 1e3
# Of the run: in fewer the factor moves no faster, and stays near 1.
MIN_STEPS = 200


class DualAscent:
    r"""Maximise the Lagrangian of "reconstruct within the tolerance" over the weight of the penalties.

    The constraint is that the reconstruction error :math:`R` is at most `tolerance` τ times that,
    :math:`R_0`, of the same autoencoder without penalties, which is trained beside it on the
    same batches from a copy of its early state. After each step the factor is

    .. math:: \log f = \sum_t \eta_t s_t + \gamma \bar s, \quad
       s = \max\Bigl(\frac{\tau R_0 - R}{(\tau - 1) R_0}, -2\Bigr) \le 1

    with the slack s of the batch, its running mean :math:`\bar s`, and a rate η that falls to 0, after which
    the factor stays. In units of the tolerance the slack answers to log f about alike for all:
    the excess of the error at a fixed factor goes like f^0.3 to f^0.7 (three data sets, three
    regularisers). Where the autoencoder without penalties is still far from converged at the end,
    as after 200 steps of some hundred cells, the error can end at 1.15 for a tolerance of 1.1.

    Everything stays on the device.

    Parameters
    ----------
    tolerance
        Above 1.
    n_steps
        Length of the run.
    device
        Where the networks are.
    contrast
        The neighbour term, which both networks have.
    """

    def __init__(
        self, tolerance: float, *, n_steps: int, device: torch.device, contrast: Contrast | None = None
    ) -> None:
        self.excess = tolerance - 1
        self.n_steps = n_steps
        self.contrast = contrast
        self.branch, self.begin, self.end = (int(share * n_steps) for share in (BRANCH, BEGIN, END))
        self.log_factor = torch.zeros((), dtype=torch.float32, device=device)
        self.slack = torch.zeros((), dtype=torch.float32, device=device)
        self.vanilla: Descent | None = None
        self.optimizer: AdamW | None = None

    @property
    def factor(self) -> Tensor:
        """() what the base weights are multiplied by, between 1/1,000 and 1,000."""
        bound = math.log(MAX_FACTOR)
        return (self.log_factor + GAIN * self.slack).clamp(-bound, bound).exp()

    def update(self, step: int, batch: Batch, reconstruction: Tensor, model: Autoencoder, optimizer: AdamW) -> None:
        """Train the autoencoder without penalties for a step, and adapt the factor.

        Parameters
        ----------
        step
            Number of the step that the regularised autoencoder has just made, from 1.
        batch, reconstruction
            What it has seen, and its error.
        model, optimizer
            It and its optimizer, whose schedule is followed.
        """
        if step < self.branch or step > self.end:
            return
        if self.vanilla is None:
            vanilla = deepcopy(model)
            self.optimizer = optimizer.continued_on(flatten(vanilla))
            self.vanilla = Descent(vanilla, terms=[], contrast=self.contrast)
            return
        if step == self.end:
            self.vanilla = self.optimizer = None
            self.slack.zero_()
            return
        error = self.vanilla(batch).reconstruction
        self.optimizer.step()
        if step < self.begin:
            return
        rate = RATE / max(self.n_steps, MIN_STEPS) * (self.end - step) / (self.end - self.begin)
        bound = math.log(MAX_FACTOR)
        with torch.no_grad():
            allowed = self.excess * error.clamp(min=MIN_ERROR)
            slack = (1 - (reconstruction - error) / allowed).clamp(DEEPEST, 1)
            self.slack.lerp_(slack, SMOOTHING)
            self.log_factor.add_(rate * slack).clamp_(-bound, bound)
