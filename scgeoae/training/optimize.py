"""The training loop."""

from __future__ import annotations

import warnings
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from tqdm.auto import tqdm

from ..nn import flatten
from .adamw import AdamW
from .batches import GEOMETRY_POINTS, MAX_CONTRASTED, NEIGHBORS_A_STEP, batches_of_cells
from .descent import Descent
from .dual_ascent import DualAscent
from .loss import Batch, loss
from .sampling import SAMPLINGS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from ..nn import Autoencoder
    from .batches import Cells
    from .contrast import Contrast
    from .loss import Loss, Term

N_EVALUATIONS = 20
# In evaluations after the peak of the schedule, whose first part is the climb. The one-cycle schedule
# gains most while it anneals, so neither a start that is better than what the peak leaves of it nor a
# pause at the peak must end the run.
PATIENCE = 8
CLIMB = 0.3
# The state kept is the last one whose held-out loss is within this of the least one, not the very
# least: some hundred held-out cells cannot tell the two apart, and a state of the annealed end
# reconstructs better, has less distortion and is nearer to that of other seeds (docs/defaults.md).
TOLERANCE = 0.05
# Steps for each one that sees the penalties, whose weight there is as many times as large (lazy regularisation; Karras
# et al. 2020, arXiv 1912.04958, section 3.1), and from how many steps on. A long run is a tenth shorter by it and keeps
# its distortion; one of some hundred steps would reconstruct up to 4% less (docs/defaults.md).
STEPS_A_PENALTY, MIN_LAZY_STEPS = 2, 1000


class Run(NamedTuple):
    """What a run of training says of itself."""

    history: dict[str, list[float]]
    """The step of each evaluation and, for the reconstruction error, the encoding error where codes are given, the
    neighbor term and each regularizer, its mean over the steps since the last evaluation and its value for the
    held-out cells; with a tolerance also the factor."""
    step: int
    """That of the state that is kept."""
    factor: float
    """What the weights of that state were multiplied by, 1 without a tolerance."""
    interrupted_at: str | None
    """The step at which an interrupt ended it, in words."""


def optimize(
    model: Autoencoder,
    cells: Cells,
    *,
    train: Tensor,
    held_out: Tensor,
    terms: Sequence[Term],
    tolerance: float | None,
    sampling: str,
    contrast: Contrast | None,
    noise: float,
    n_steps: int,
    batch_size: int,
    learning_rate: float,
    generator: torch.Generator,
    progress_bar: bool,
    keeps_interrupted: bool = False,
    rows: Sequence[int] | None = None,
) -> Run:
    """Train `model` in place and leave it in the last state with about the least held-out loss.

    AdamW with a one-cycle schedule (Smith & Topin 2019). The regularisers of a step are evaluated
    at 64 cells, of the batch or, where that or the held-out cells are fewer, at a draw.

    With a `tolerance` the weights are adapted. Losses of different weights cannot be compared, so
    that the run then goes to its end and leaves the last state.

    Parameters
    ----------
    model, cells
        The model and the cells, on the device to compute on.
    train, held_out
        Row numbers; without held-out rows the training rows choose the state that is kept.
    terms
        The regularisers.
    tolerance
        What their weights may multiply the reconstruction error by, if they are to be
        adapted to it (see `DualAscent`), else None.
    sampling
        Where those of the decoder are evaluated, a name in `SAMPLINGS`.
    contrast
        The neighbour term, if there is one.
    noise
        Standard deviation of the noise on the cells that are encoded.
    keeps_interrupted
        Whether Ctrl-C ends the training with the best state so far, where an evaluation has found one.
    rows
        Which rows of the matrix these cells are, for a message.

    Raises
    ------
    KeyboardInterrupt
        At Ctrl-C, unless what was reached is kept.
    RuntimeError
        If the loss is not finite.
    """
    x = cells.x
    rows = range(len(x)) if rows is None else rows
    optimizer = AdamW(flatten(model), peak=learning_rate, n_steps=n_steps, climb=CLIMB)
    on_device = torch.Generator(device=x.device).manual_seed(generator.initial_seed())
    draw = SAMPLINGS[sampling]
    sample = None if draw is None else partial(draw, generator=on_device)
    stream = batches_of_cells(
        cells,
        train,
        noise=noise,
        measured=any(term.is_of_rows or term.is_of_decoder for term in terms),
        batch_size=batch_size,
        generator=generator,
        on_device=on_device,
    )
    descend = Descent(model, terms=terms, contrast=contrast, sample=sample)
    judges = held_out if len(held_out) else train[:1000]
    judge = Batch(
        x=x[judges],
        at=x[torch.cat([judges, train])[:GEOMETRY_POINTS]] if len(judges) < GEOMETRY_POINTS else None,
        neighbors=None if cells.neighbors is None else x[cells.neighbors[judges][:, :NEIGHBORS_A_STEP]],
        partners=None if cells.partners is None else x[cells.partners[judges[:MAX_CONTRASTED], 0]],
        codes=None if cells.codes is None else cells.codes[judges],
    )

    ascent = None
    if tolerance is not None:
        ascent = DualAscent(tolerance, n_steps=n_steps, device=x.device, contrast=contrast)
    factor = torch.ones((), dtype=x.dtype, device=x.device)

    kinds = {"reconstruction": True, "encoding": cells.codes is not None, "contrast": contrast is not None}
    kinds = [kind for kind, there in kinds.items() if there]
    names = [*kinds, *(term.label for term in terms)]

    def named(parts: Loss) -> Tensor:
        return torch.cat([torch.stack([getattr(parts, kind) for kind in kinds]), parts.penalties])

    def assess() -> list[float]:
        # at the codes, whatever the sampling, so that states are compared at the same points
        with torch.no_grad():
            parts = loss(model, judge, terms=terms, factor=factor, contrast=contrast)
        return torch.cat([factor[None], parts.total[None], named(parts)]).tolist()

    # one dictionary for each, so that none is half there when an interrupt comes
    evaluations: list[dict[str, float]] = []
    interrupted_at = None
    best, best_step, best_state = assess()[1], 0, deepcopy(model.state_dict())
    every = -(-n_steps // N_EVALUATIONS)
    # autograd's penalties are those of the papers, and the weights that `ascent` adapts would swing with them
    is_lazy = descend.is_by_hand and ascent is None and n_steps >= MIN_LAZY_STEPS
    lazy = STEPS_A_PENALTY if is_lazy else 1
    running, since, n_penalized, step = torch.zeros(len(names), dtype=x.dtype, device=x.device), 0, 0, 0
    bar = tqdm(total=n_steps, desc="training", unit="step", delay=1, disable=not progress_bar, leave=False)
    try:
        for step in range(1, n_steps + 1):
            batch = next(stream)
            if ascent is not None:
                factor = ascent.factor
            penalized = (step - 1) % lazy == 0
            parts = descend(batch, factor * lazy, penalized=penalized)
            optimizer.step()
            if ascent is not None:
                ascent.update(step, batch, parts.reconstruction, model, optimizer)
            seen = named(parts)
            running[: len(seen)] += seen
            since += 1
            n_penalized += penalized
            bar.update()
            if step % every and step < n_steps:
                continue
            weighted_by, total, *judged = assess()
            steps = [since] * len(kinds) + [n_penalized] * len(terms)
            means = [total_of / n_seen for total_of, n_seen in zip(running.tolist(), steps, strict=True)]
            of_judges = [f"held_out_{name}" for name in names]
            found = dict(zip(["step", *names, *of_judges], [step, *means, *judged], strict=True))
            evaluations.append(found if ascent is None else found | {"factor": weighted_by})
            shown = {name: f"{value:.3g}" for name, value in zip(names, judged, strict=True)}
            bar.set_postfix(shown)
            running.zero_()
            since = n_penalized = 0
            if not total < float("inf"):
                far, row = x.square().mean(1).sqrt().max(0)
                msg = (
                    f"The loss became {total} at step {step} of {n_steps} ({shown}). "
                    f"Lower `learning_rate` (now {learning_rate:g}) or `strength`, or drop cells that are far from all "
                    f"others: the farthest is in row {rows[int(row)]}, {far:.3g} times as far from the mean as usual."
                )
                raise RuntimeError(msg)
            best = min(best, total)
            if ascent is not None or total <= best * (1 + TOLERANCE):
                best_step, best_state = step, deepcopy(model.state_dict())
            elif step - max(best_step, CLIMB * n_steps) >= PATIENCE * every:
                break
    except KeyboardInterrupt:
        # the state of step 0 is the start, and no result
        if not keeps_interrupted or best_step == 0:
            raise
        interrupted_at = f"step {step} of {n_steps} of the training"
        warnings.warn(f"Interrupted at {interrupted_at}; the state of step {best_step} is kept.", stacklevel=2)
    finally:
        bar.close()
    model.load_state_dict(best_state)
    for p in model.parameters():
        p.grad = None
    history = {name: [found[name] for found in evaluations] for name in evaluations[0]}
    return Run(history, best_step, history["factor"][-1] if ascent is not None else 1.0, interrupted_at)
