"""The training loop."""

from __future__ import annotations

import warnings
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR
from tqdm.auto import tqdm

from .batches import batches
from .loss import loss
from .sampling import SAMPLINGS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from ..nn import Autoencoder

# A variance of log-determinants over fewer points is noise.
MIN_GEOMETRY_POINTS = 64
N_EVALUATIONS = 20
# In evaluations. The one-cycle schedule gains most while it anneals, so a pause at its peak
# must not end the run.
PATIENCE = 8
# The state kept is the last one whose held-out loss is within this of the least one, not the very
# least: some hundred held-out cells cannot tell the two apart, and a state of the annealed end
# has less distortion and is nearer to that of other seeds (docs/defaults.md).
TOLERANCE = 0.02
WEIGHT_DECAY = 1e-2


def optimize(
    model: Autoencoder,
    x: Tensor,
    *,
    train: Tensor,
    held_out: Tensor,
    weights: Mapping[str, float],
    sampling: str,
    n_steps: int,
    batch_size: int,
    learning_rate: float,
    generator: torch.Generator,
    progress_bar: bool,
) -> tuple[dict[str, list[float]], int]:
    """Train `model` in place and leave it in the last state with about the least held-out loss.

    AdamW with a one-cycle schedule (Smith & Topin 2019). Where a batch or the held-out cells
    are fewer than 64, the regulariser is evaluated at a draw of 64 cells instead.

    Parameters
    ----------
    model, x
        The model and (n, D) standardised cells, on the device to compute on.
    train, held_out
        Row numbers; without held-out rows the training rows choose the state that is kept.
    weights
        Weight of each regulariser.
    sampling
        Where they are evaluated, a name in `SAMPLINGS`.

    Returns
    -------
    The history, and the step of the state that is kept. The history has the step of each
    evaluation and, for the reconstruction error and each regulariser, its mean over the steps
    since the last evaluation and its value for the held-out cells.

    Raises
    ------
    RuntimeError
        If the loss is not finite.
    """
    optimizer = AdamW(model.parameters(), lr=learning_rate, weight_decay=WEIGHT_DECAY, fused=True)
    # with fewer steps than 4 the cycle has no room for its two phases
    schedule = OneCycleLR(optimizer, learning_rate, total_steps=max(n_steps, 4))
    stream = batches(train, batch_size, generator=generator)
    points = None
    if weights and batch_size < MIN_GEOMETRY_POINTS:
        points = batches(train, MIN_GEOMETRY_POINTS, generator=generator)

    sample = None
    if (draw := SAMPLINGS[sampling]) is not None:
        on_device = torch.Generator(device=x.device).manual_seed(generator.initial_seed())
        sample = partial(draw, generator=on_device)

    judge = held_out if len(held_out) else train[:1000]
    judge_at = None
    if len(judge) < MIN_GEOMETRY_POINTS:
        judge_at = x[torch.cat([judge, train])[:MIN_GEOMETRY_POINTS]]
    judge = x[judge]

    def assess() -> list[float]:
        # at the codes, whatever the sampling, so that states are compared at the same points
        with torch.no_grad():
            parts = loss(model, judge, weights=weights, at=judge_at)
        return torch.cat([parts.total[None], parts.reconstruction[None], parts.regularizers]).tolist()

    names = ["reconstruction", *weights]
    history: dict[str, list[float]] = {key: [] for key in ("step", *names, *(f"held_out_{name}" for name in names))}
    best, best_step, best_state = assess()[0], 0, deepcopy(model.state_dict())
    every = -(-n_steps // N_EVALUATIONS)
    running, since, step = torch.zeros(len(names), device=x.device), 0, 0
    bar = tqdm(total=n_steps, desc="geoae", unit="step", delay=1, disable=not progress_bar, leave=False)
    try:
        for step in range(1, n_steps + 1):
            at = None if points is None else x[next(points)]
            parts = loss(model, x[next(stream)], weights=weights, at=at, sample=sample)
            optimizer.zero_grad()
            parts.total.backward()
            optimizer.step()
            schedule.step()
            running += torch.cat([parts.reconstruction[None], parts.regularizers]).detach()
            since += 1
            bar.update()
            if step % every and step < n_steps:
                continue
            total, *judged = assess()
            history["step"].append(step)
            for name, trained, held in zip(names, (running / since).tolist(), judged, strict=True):
                history[name].append(trained)
                history[f"held_out_{name}"].append(held)
            shown = {name: f"{value:.3g}" for name, value in zip(names, judged, strict=True)}
            bar.set_postfix(shown)
            running.zero_()
            since = 0
            if not total < float("inf"):
                msg = (
                    f"The loss became {total} at step {step} of {n_steps} ({shown}). "
                    f"Lower `learning_rate` (now {learning_rate:g}) or `strength`."
                )
                raise RuntimeError(msg)
            best = min(best, total)
            if total <= best * (1 + TOLERANCE):
                best_step, best_state = step, deepcopy(model.state_dict())
            elif step - best_step >= PATIENCE * every:
                break
    except KeyboardInterrupt:
        warnings.warn(
            f"Training was interrupted at step {step} of {n_steps}; the best state so far, "
            f"of step {best_step}, is kept.",
            stacklevel=2,
        )
    finally:
        bar.close()
    model.load_state_dict(best_state)
    return history, best_step
