"""The training loop, its progress bar, and interrupts."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Self

from tqdm.auto import tqdm

from ..nn.flatten import release
from .cuda_graph import Replayed, capture_on
from .objective import Loss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType

    import torch

    from ..nn import Autoencoder
    from .objective import Batch, Objective
    from .optimizer import AdamW

    Observer = Callable[[Batch, Loss], None]


def descend(
    model: Autoencoder,
    stream: Iterable[Callable[[], Batch]],
    objective: Objective,
    optimizer: AdamW,
    *,
    generator: torch.Generator | None = None,
    observers: Callable[[int], tuple[Observer, ...]] = lambda _number: (),
) -> Iterator[int]:
    """Train a model on a stream of batches, and yield the number of each step, from 1, after it is made.

    On CUDA the steps become graphs, which the device replays, unless the objective or other processes need the host.

    Parameters
    ----------
    stream
        For each step, what draws its batch (``batches.batches``).
    generator
        The generator on the device of the model from which batches or objective draw.
    observers
        Functions that see the batch of a step of this number, and its loss before the step, detached. They are part of
        the step: they must not need the host, and a later step may overwrite the tensors.
    """

    def make(draw: Callable[[], Batch], objective: Objective, seen_by: tuple[Observer, ...]) -> None:
        batch = draw()
        loss = objective(model, batch)
        loss.total.backward()
        optimizer.step()
        loss = Loss(*(part.detach() for part in loss))
        for observer in seen_by:
            observer(batch, loss)

    device = optimizer.flat.device
    needs_host = objective.needs_host(model) or not optimizer.processes.can_capture(device)
    capture = None if needs_host else capture_on(device, generator)
    replayed = None if capture is None else Replayed(make, capture)
    step = replayed or make
    try:
        for number, draw in enumerate(stream, start=1):
            step(draw, objective.at_step(number), observers(number))
            yield number
    finally:
        if replayed is not None:
            replayed.close()
        release(optimizer.parameters)
        model.encoder.free_workspaces()
        model.decoder.free_workspaces()


class Watch:
    """Show the progress of a run, and let Ctrl-C end it with what was reached.

    Parameters
    ----------
    title, stage
        What the progress bar and the message of an interrupt call the run.
    n_steps
        Number of steps.
    progress_bar
        Whether to show the bar, from the first second on.
    """

    def __init__(self, title: str, stage: str, n_steps: int, *, progress_bar: bool) -> None:
        self.stage, self.n_steps, self.n_done = stage, n_steps, 0
        self.kept: str | None = None
        """What an interrupt leaves, in words; without it, the interrupt is raised."""
        self.interrupted_at: str | None = None
        """The step at which an interrupt ended the run, in words."""
        self.bar = tqdm(total=n_steps, desc=title, unit="step", delay=1, disable=not progress_bar, leave=False)

    def update(self) -> None:
        """Count a step."""
        self.n_done += 1
        self.bar.update()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> bool:
        self.bar.close()
        if kind is None or not issubclass(kind, KeyboardInterrupt) or self.kept is None:
            return False
        self.interrupted_at = f"step {self.n_done} of {self.n_steps} of the {self.stage}"
        warnings.warn(f"Interrupted at {self.interrupted_at}; {self.kept} kept.", stacklevel=3)
        return True
