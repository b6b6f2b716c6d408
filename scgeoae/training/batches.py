"""Shuffled mini-batches."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, islice, repeat
from typing import TYPE_CHECKING

import torch

from .objective import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from .objective import Objective

# Cells of a step at which metrics are evaluated. A variance of log-determinants over fewer is noise. More cost time and
# gain nothing: with all 256 cells of a batch, CN, VPres and ISO of the reference data stay within the spread of seeds
# (docs/defaults.md).
METRIC_CELLS = 64
# Neighbors of each cell that a step sees.
NEIGHBORS_PER_STEP = 4
# Anchors of a step at most: the kernels of the contrastive loss grow with the square of the batch.
MAX_ANCHORS = 256
# Random numbers on the device at a time, 16 MB: those of 4,096 default steps.
MAX_NUMBERS = 2**21


@dataclass(frozen=True)
class Cells:
    """All cells of a run of training, and what is known about each."""

    x: Tensor
    """(n, D) standardized."""
    neighbors: Tensor | None = None
    """(n, k) row numbers of the training cells around each, for regularizers that are functions of these."""
    positives: Tensor | None = None
    """(n, k) row numbers of the training cells to which the contrastive loss pulls each."""
    anchors: Tensor | None = None
    """Row numbers of the cells that it pulls; all if None."""
    codes: Tensor | None = None
    """(n, d) where they lie in latent space, if that is given."""
    layout: Tensor | None = None
    """(n, d) codes to which the networks are drawn during the warm-up."""

    def all_at(self, rows: Tensor, *, metric_x: Tensor | None = None) -> Batch:
        """Return a batch of all these rows, without noise and without chance."""
        x = self.x
        return Batch(
            x=x[rows],
            metric_x=metric_x,
            positives=None if self.positives is None else x[self.positives[rows[:MAX_ANCHORS], 0]],
            neighbors=None if self.neighbors is None else x[self.neighbors[rows][:, :NEIGHBORS_PER_STEP]],
            codes=None if self.codes is None else self.codes[rows],
        )


def batches(
    cells: Cells,
    train: Tensor,
    objective: Objective,
    *,
    noise: float,
    batch_size: int,
    n_steps: int,
    generator: torch.Generator,
    on_device: torch.Generator,
) -> Iterator[Callable[[], Batch]]:
    """Yield for each step a function that draws its batch of the cells `train`, with all that an objective may need.

    It is the same function each time. Call it once before you ask for the next: it needs nothing from the host, so a
    CUDA graph can replay it, while the iterator brings random numbers to the device from time to time.

    Parameters
    ----------
    cells, train
        The cells, and the row numbers of those to draw.
    objective
        What they are for. If it has metrics, the cells at which these are evaluated have no noise, because a map is
        read at the codes of the cells as they are.
    noise
        Standard deviation of the noise that is added to the cells before they are encoded. The generator `on_device`
        draws it on the device of the cells.
    generator
        Draws row numbers, on the CPU.
    """
    train = train.cpu()
    n_anchors = 0 if cells.anchors is None else min(batch_size // 2, len(cells.anchors), MAX_ANCHORS)
    size = n_anchors + min(batch_size - n_anchors, len(train))
    rows = shuffled(train, size - n_anchors, generator=generator)
    if cells.anchors is not None:
        # where the neighbors of only some cells are known, half of each batch is of these
        rows = map(torch.cat, zip(shuffled(cells.anchors.cpu(), n_anchors, generator=generator), rows, strict=True))
    streams = {"rows": rows}
    if batch_size < METRIC_CELLS:
        streams["metric"] = shuffled(train, METRIC_CELLS, generator=generator)
    if cells.neighbors is not None:
        streams["neighbors"] = _columns(cells.neighbors, size * NEIGHBORS_PER_STEP, generator=generator)
    if cells.positives is not None:
        streams["positives"] = _columns(cells.positives, n_anchors or min(size, MAX_ANCHORS), generator=generator)
    numbers = _Numbers(streams, n_steps, cells.x.device)
    noiseless = METRIC_CELLS if objective.has_metrics and "metric" not in streams and cells.codes is None else 0

    def draw() -> Batch:
        drawn = numbers.of_next_step()
        rows = drawn["rows"]
        x, neighbors, positives, added = cells.x.index_select(0, rows), None, None, None
        if cells.neighbors is not None:
            columns = drawn["neighbors"].view(-1, NEIGHBORS_PER_STEP)
            neighbors = cells.x[cells.neighbors.index_select(0, rows).gather(1, columns)]
        if cells.positives is not None:
            columns = drawn["positives"][:, None]
            of_anchors = cells.positives.index_select(0, rows[: len(columns)]).gather(1, columns)
            positives = cells.x.index_select(0, of_anchors[:, 0])
        if noise:
            added = torch.randn(x.shape, generator=on_device, dtype=x.dtype, device=x.device).mul_(noise)
            added[:noiseless].zero_()
        return Batch(
            x=x,
            noise=added,
            n_metric=METRIC_CELLS,
            metric_x=cells.x.index_select(0, drawn["metric"]) if "metric" in drawn else None,
            positives=positives,
            neighbors=neighbors,
            codes=None if cells.codes is None else cells.codes.index_select(0, rows),
            layout=None if cells.layout is None else cells.layout.index_select(0, rows),
        )

    for _ in numbers.steps():
        yield draw


class _Numbers:
    """The random numbers of the steps of a run, drawn on the CPU, so that they are the same for every device.

    Those of many steps are copied at once. A step finds its own by a counter on the device.

    Parameters
    ----------
    streams
        Integers by name: for each step, as many as for the others.
    """

    def __init__(self, streams: dict[str, Iterator[Tensor]], n_steps: int, device: torch.device) -> None:
        drawn = zip(*streams.values(), strict=True)
        first = next(drawn)
        self.drawn = map(torch.cat, chain([first], drawn))
        self.names, self.sizes = list(streams), [len(part) for part in first]
        self.n_steps = n_steps
        n_rows = max(min(n_steps, MAX_NUMBERS // sum(self.sizes)), 1)
        self.table = torch.empty(n_rows, sum(self.sizes), dtype=torch.int64, device=device)
        self.at = torch.zeros(1, dtype=torch.int64, device=device)

    def steps(self) -> Iterator[None]:
        """Before each step, see to it that its numbers are on the device."""
        n_rows = len(self.table)
        for start in range(0, self.n_steps, n_rows):
            rows = torch.stack(list(islice(self.drawn, min(n_rows, self.n_steps - start))))
            if self.table.is_cuda:
                rows = rows.pin_memory()
            self.table[: len(rows)].copy_(rows, non_blocking=True)
            self.at.zero_()
            yield from repeat(None, len(rows))

    def of_next_step(self) -> dict[str, Tensor]:
        """Return the numbers of the next step by name, on the device."""
        row = self.table.index_select(0, self.at)[0]
        self.at.add_(1)
        return dict(zip(self.names, row.split(self.sizes), strict=True))


def shuffled(rows: Tensor, size: int, *, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield exactly ``min(size, len(rows))`` of the `rows` at a time, reshuffled every epoch, without end."""
    size = min(size, len(rows))
    while True:
        order = rows[torch.randperm(len(rows), generator=generator)]
        yield from order[: len(rows) // size * size].split(size)


def _columns(table: Tensor, n: int, *, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield n random column numbers of a table at a time, without end."""
    while True:
        yield torch.randint(table.shape[1], (n,), generator=generator)
