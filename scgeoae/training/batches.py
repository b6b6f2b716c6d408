"""Shuffled mini-batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .loss import Batch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

# Cells of a step at which metrics are evaluated. A variance of log-determinants over fewer is noise,
# and more cost time and gain nothing: with all 256 cells of a batch CN, VPres and ISO of the reference
# data are the same within the spread of seeds (docs/defaults.md).
GEOMETRY_POINTS = 64
# Of the neighbours of each cell, how many a step sees.
NEIGHBORS_A_STEP = 4


def batches(rows: Tensor, size: int, *, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield batches of exactly ``min(size, len(rows))`` of the `rows`, reshuffled every epoch.

    The stream has no end. The permutation is drawn on the CPU, so that it is the same for every
    device, and travels once an epoch.
    """
    size = min(size, len(rows))
    pinned = rows.device.type == "cuda"
    while True:
        order = torch.randperm(len(rows), generator=generator)
        if pinned:
            order = order.pin_memory()
        shuffled = rows[order.to(rows.device, non_blocking=True)]
        yield from shuffled[: len(rows) // size * size].split(size)


def batches_of_cells(
    x: Tensor,
    train: Tensor,
    *,
    neighbors: Tensor | None,
    partners: Tensor | None,
    noise: float,
    batch_size: int,
    generator: torch.Generator,
    on_device: torch.Generator,
) -> Iterator[Batch]:
    """Yield batches of the cells `train` with all that a loss may need of them, without end.

    Parameters
    ----------
    x, train
        (n, D) cells and the row numbers of those to draw.
    neighbors
        (n, k) row numbers of the cells around each, of which a few go into a step.
    partners
        (n, k) row numbers of the cells to contrast each with, of which one goes into a step.
    noise
        Standard deviation of what is added to the cells before they are encoded; it is drawn
        where they are, by the generator `on_device`.
    """
    stream = batches(train, batch_size, generator=generator)
    geometry = batches(train, GEOMETRY_POINTS, generator=generator) if batch_size < GEOMETRY_POINTS else None
    while True:
        rows = next(stream)
        cells = x[rows]
        yield Batch(
            x=cells,
            rows=rows,
            at=cells[:GEOMETRY_POINTS] if geometry is None else x[next(geometry)],
            neighbors=None if neighbors is None else x[_some(neighbors[rows], NEIGHBORS_A_STEP, generator)],
            partners=None if partners is None else x[_some(partners[rows], 1, generator)[:, 0]],
            noise=noise * torch.randn(cells.shape, generator=on_device, device=x.device) if noise else None,
        )


def _some(table: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draw n of the columns of each row with replacement."""
    columns = torch.randint(table.shape[1], (len(table), n), generator=generator)
    return table.gather(1, columns.to(table.device))
