"""Train the networks of a map: the loop, with assessments and early stopping around it."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch

from .batches import METRIC_CELLS, batches
from .distributed import processes
from .dual_ascent import DualAscent
from .loop import Watch, descend
from .optimizer import AdamW

if TYPE_CHECKING:
    from torch import Tensor

    from ..nn import Autoencoder
    from .batches import Cells
    from .distributed import Processes
    from .loop import Observer
    from .objective import Batch, Loss, Objective
    from .settings import Settings
    from .setup import Setup

N_EVALUATIONS = 20
# Number of evaluations without a better state that end the run, counted after the peak of the schedule, whose first
# part is the climb. The one-cycle schedule gains most while it anneals, so neither a start that is better than what the
# peak leaves of it nor a pause at the peak must end the run.
PATIENCE = 8
CLIMB = 0.3
# The state kept is the last one whose validation loss is within this of the smallest, not the one with the smallest:
# some hundred validation cells cannot tell the two apart, and a state from the annealed end reconstructs better, has
# less distortion and is closer to that of other seeds (docs/defaults.md).
TOLERANCE = 0.05
# Training rows that choose the state where there are no validation cells.
MAX_JUDGES = 1000


class Run(NamedTuple):
    """The record of a run of training."""

    history: dict[str, list[float]]
    """The step of each evaluation. For the reconstruction error, the encoding error where codes are given, the
    contrastive loss and each regularizer, the mean over the steps since the last evaluation, and the value for the
    validation cells. With ``strength="auto"`` also the factor."""
    step: int
    """Step whose state is kept."""
    factor: float
    """What the weights of that state were multiplied by, 1 unless ``strength="auto"``."""
    interrupted_at: str | None
    """The step at which an interrupt ended the run, in words."""


class Assessments:
    """The losses of the steps and of the validation cells, and the best state so far.

    Losses of different weights cannot be compared. Where the factor of the weights is adapted, the run therefore goes
    to its end, and the last state counts as the best. Several processes get the mean of their losses, and the losses of
    the validation cells in the first of them.
    """

    def __init__(
        self,
        model: Autoencoder,
        objective: Objective,
        judges: Batch,
        *,
        n_steps: int,
        adapts: bool,
        group: Processes,
    ) -> None:
        # at the codes, whatever the sampling, so that states are compared at the same points
        self.model, self.objective, self.judges = model, replace(objective, sampler=None), judges
        self.n_steps, self.every, self.adapts = n_steps, -(-n_steps // N_EVALUATIONS), adapts
        self.group = group
        kinds = {
            "reconstruction": True,
            "encoding": judges.codes is not None,
            "contrast": objective.contrastive is not None,
        }
        self.kinds = [kind for kind, there in kinds.items() if there]
        self.names = [*self.kinds, *(term.label for term in objective.terms)]
        # one dictionary for each, so that none is incomplete when an interrupt comes
        self.evaluations: list[dict[str, float]] = []
        # of the losses of the steps, and their number; penalties are not part of every step
        self.sums = torch.zeros(2, len(self.names), dtype=judges.x.dtype, device=judges.x.device)
        self.best, self.best_step, self.best_state = self._judge()[1], 0, deepcopy(model.state_dict())

    def see(self, _batch: Batch, loss: Loss) -> None:
        """Add up the losses of a step, on the device."""
        parts = self._named(loss)
        sums, counts = self.sums[:, : len(parts)]
        sums.add_(parts)
        counts.add_(1)

    def is_due(self, step: int) -> bool:
        """Return whether the model is to be assessed after this step."""
        return step % self.every == 0 or step == self.n_steps

    def assess(self, step: int) -> tuple[float, dict[str, float]]:
        """Assess the model, and return the loss of the validation cells, and its parts by name."""
        factor, total, *judged = self._judge()
        means = [of_steps / n for of_steps, n in zip(*self.group.average(self.sums).tolist(), strict=True)]
        names = ["step", *self.names, *(f"held_out_{name}" for name in self.names)]
        found = dict(zip(names, [step, *means, *judged], strict=True))
        self.evaluations.append(found | {"factor": factor} if self.adapts else found)
        self.sums.zero_()
        if total < float("inf"):
            self.best = min(self.best, total)
            if self.adapts or total <= self.best * (1 + TOLERANCE):
                self.best_step, self.best_state = step, deepcopy(self.model.state_dict())
        return total, dict(zip(self.names, judged, strict=True))

    def is_over(self, step: int) -> bool:
        """Return whether the validation loss has stopped falling."""
        return step - max(self.best_step, CLIMB * self.n_steps) >= PATIENCE * self.every

    @torch.no_grad()
    def _judge(self) -> list[float]:
        parts = self.objective(self.model, self.judges)
        factor = torch.as_tensor(self.objective.factor).to(parts.total)
        found = torch.cat([torch.stack([factor, parts.total]), self._named(parts)])
        return self.group.of_first(found).tolist()

    def _named(self, parts: Loss) -> Tensor:
        return torch.cat([torch.stack([getattr(parts, kind) for kind in self.kinds]), parts.penalties])


def train(
    setup: Setup,
    cells: Cells,
    objective: Objective,
    settings: Settings,
    *,
    noise: float,
    n_steps: int,
    progress_bar: bool,
) -> Run:
    """Train the model of a setup in place, and leave it in the last state with about the smallest validation loss.

    AdamW with a one-cycle schedule (Smith & Topin 2019). With ``strength="auto"`` the factor of the weights is adapted
    along the way (see `DualAscent`), and the last state is left. Without validation cells the training cells choose the
    state that is kept.

    The processes of a group of `torch.distributed` train together (`Processes`), and all end with the same model.
    Ctrl-C in one of them ends the training in all, after the next evaluation.

    Raises
    ------
    KeyboardInterrupt
        At Ctrl-C, unless `on_interrupt` says to keep what was reached and an evaluation has found a state.
    RuntimeError
        If the loss is not finite.
    ValueError
        If the processes have different cells or settings.
    """
    model, x, group = setup.model, setup.x, processes()
    group.check_same(setup.standardization.digest, settings, n_steps, device=x.device)
    group.share(model)
    group.own_streams(settings.seed, setup.generator, setup.on_device)
    ascent = None
    if settings.is_auto and objective.terms:
        ascent = DualAscent(settings.tolerance, n_steps=n_steps, device=x.device, processes=group)
        objective = replace(objective, factor=ascent.factor)
    judges = setup.validation if len(setup.validation) else setup.train[:MAX_JUDGES]
    few = len(judges) < METRIC_CELLS
    judges_x = x[torch.cat([judges, setup.train])[:METRIC_CELLS]] if few else None
    assessments = Assessments(
        model,
        objective,
        cells.all_at(judges, metric_x=judges_x),
        n_steps=n_steps,
        adapts=ascent is not None,
        group=group,
    )
    optimizer = AdamW(model, peak=settings.learning_rate, n_steps=n_steps, climb=CLIMB, processes=group)
    stream = batches(
        cells,
        setup.train,
        objective,
        noise=noise,
        batch_size=settings.batch_size,
        n_steps=n_steps,
        generator=setup.generator,
        on_device=setup.on_device,
    )

    def observers(step: int) -> tuple[Observer, ...]:
        return (assessments.see, *(ascent.observers(step, model, objective, optimizer) if ascent is not None else ()))

    with (
        group.noted_interrupts() as noted,
        Watch("training", "training", n_steps, progress_bar=progress_bar) as watch,
    ):
        for number in descend(model, stream, objective, optimizer, generator=setup.on_device, observers=observers):
            watch.update()
            if assessments.is_due(number):
                total, parts = assessments.assess(number)
                shown = {name: f"{value:.3g}" for name, value in parts.items()}
                watch.bar.set_postfix(shown)
                if not total < float("inf"):
                    raise RuntimeError(_diverged(setup, settings, number, n_steps, total, shown))
                if settings.keeps_interrupted and assessments.best_step:
                    watch.kept = f"the state of step {assessments.best_step} is"
                if group.any_noted(noted, x.device):
                    raise KeyboardInterrupt
                if assessments.is_over(number):
                    break
    model.load_state_dict(assessments.best_state)
    group.share(model)
    evaluations = assessments.evaluations
    history = {name: [found[name] for found in evaluations] for name in evaluations[0]}
    factor = history["factor"][-1] if ascent is not None else 1.0
    return Run(history, assessments.best_step, factor, watch.interrupted_at)


def _diverged(setup: Setup, settings: Settings, step: int, n_steps: int, total: float, shown: dict[str, str]) -> str:
    far, row = setup.x.square().mean(1).sqrt().max(0)
    return (
        f"The loss became {total} at step {step} of {n_steps} ({shown}). "
        f"Lower `learning_rate` (now {settings.learning_rate:g}) or `strength`, or drop cells that are far from all "
        f"others: the farthest is in row {setup.rows[int(row)]}, {far:.3g} times as far from the mean as usual."
    )
