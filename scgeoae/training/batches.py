"""Shuffled mini-batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from .objective import Batch

if TYPE_CHECKING:
    from collections.abc import Iterator

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
# Steps whose random numbers are drawn at once.
N_DRAWS = 64


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
    generator: torch.Generator,
    on_device: torch.Generator,
) -> Iterator[Batch]:
    """Yield batches of the cells `train`, without end, with all that an objective may need.

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
    """
    # where the neighbors of only some cells are known, half of each batch is of these
    n_anchors, anchors = 0, None
    if cells.anchors is not None:
        n_anchors = min(batch_size // 2, len(cells.anchors), MAX_ANCHORS)
        anchors = shuffled(cells.anchors, n_anchors, generator=generator)
    stream = shuffled(train, batch_size - n_anchors, generator=generator)
    metric_rows = shuffled(train, METRIC_CELLS, generator=generator) if batch_size < METRIC_CELLS else None

    size = min(batch_size - n_anchors, len(train)) + n_anchors
    around = positive = None
    if cells.neighbors is not None:
        around = _columns(cells.neighbors, size, NEIGHBORS_PER_STEP, generator=generator)
    if cells.positives is not None:
        positive = _columns(cells.positives, n_anchors or min(size, MAX_ANCHORS), 1, generator=generator)
    noiseless = METRIC_CELLS if objective.has_metrics and metric_rows is None and cells.codes is None else 0

    while True:
        rows = next(stream)
        if anchors is not None:
            rows = torch.cat([next(anchors), rows])
        x, neighbors, positives, added = cells.x.index_select(0, rows), None, None, None
        if around is not None and cells.neighbors is not None:
            neighbors = cells.x[cells.neighbors[rows].gather(1, next(around))]
        if positive is not None and cells.positives is not None:
            columns = next(positive)
            of_anchors = cells.positives.index_select(0, rows[: len(columns)]).gather(1, columns)
            positives = cells.x.index_select(0, of_anchors[:, 0])
        if noise:
            added = torch.randn(x.shape, generator=on_device, dtype=x.dtype, device=x.device).mul_(noise)
            added[:noiseless] = 0
        yield Batch(
            x=x,
            noise=added,
            n_metric=METRIC_CELLS,
            metric_x=None if metric_rows is None else cells.x[next(metric_rows)],
            positives=positives,
            neighbors=neighbors,
            codes=None if cells.codes is None else cells.codes[rows],
            layout=None if cells.layout is None else cells.layout[rows],
        )


def shuffled(rows: Tensor, size: int, *, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield exactly ``min(size, len(rows))`` of the `rows` at a time, reshuffled every epoch, without end.

    The permutation is drawn on the CPU, so that it is the same for every device, and is copied once an epoch.
    """
    size = min(size, len(rows))
    while True:
        order = rows[_moved(torch.randperm(len(rows), generator=generator), rows.device)]
        yield from order[: len(rows) // size * size].split(size)


def _columns(table: Tensor, n_rows: int, n_columns: int, *, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield random column numbers of a table, (n_rows, n_columns); those of many steps are copied at once."""
    while True:
        draws = torch.randint(table.shape[1], (N_DRAWS, n_rows, n_columns), generator=generator)
        yield from _moved(draws, table.device)


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
