"""Shuffled mini-batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .loss import Batch, penalties_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from .loss import Term

# A variance of log-determinants over fewer points is noise.
MIN_GEOMETRY_POINTS = 64
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
    terms: Sequence[Term],
    neighbors: Tensor | None,
    batch_size: int,
    generator: torch.Generator,
    on_device: torch.Generator,
    codes: Tensor | None = None,
) -> Iterator[Batch]:
    """Yield batches of the cells `train` with all that `terms` need of them, without end.

    Noise is drawn where the cells are, by the generator `on_device`. `codes` are those of all cells, if they are given.
    """
    stream = batches(train, batch_size, generator=generator)
    noise = sum(term.weight for term in terms if term.regularizer.of == "noise")
    points = None
    if penalties_of(terms) and batch_size < MIN_GEOMETRY_POINTS:
        points = batches(train, MIN_GEOMETRY_POINTS, generator=generator)
    while True:
        rows = next(stream)
        cells = x[rows]
        near = None
        if neighbors is not None:
            some = torch.randperm(neighbors.shape[1], generator=generator)[:NEIGHBORS_A_STEP]
            near = x[neighbors[rows][:, some.to(x.device)]]
        yield Batch(
            x=cells,
            rows=rows,
            at=None if points is None else x[next(points)],
            neighbors=near,
            codes=None if codes is None else codes[rows],
            noise=noise * torch.randn(cells.shape, generator=on_device, device=x.device) if noise else None,
        )
