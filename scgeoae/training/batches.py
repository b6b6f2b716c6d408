"""Shuffled mini-batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

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


class Cells(NamedTuple):
    """All cells, and what is known of each."""

    x: Tensor
    """(n, D) standardised."""
    neighbors: Tensor | None = None
    """(n, k) row numbers of the training cells around each, for regularisers that ask for them."""
    partners: Tensor | None = None
    """(n, k) row numbers of the training cells that the neighbour term pulls each to."""
    pulled: Tensor | None = None
    """Row numbers of the cells that it pulls, if not all."""
    codes: Tensor | None = None
    """(n, d) where they lie in latent space, if that is given: decoder and encoder are fitted to it."""


def batches_of_cells(
    cells: Cells,
    train: Tensor,
    *,
    noise: float,
    batch_size: int,
    generator: torch.Generator,
    on_device: torch.Generator,
) -> Iterator[Batch]:
    """Yield batches of the cells `train` with all that a loss may need of them, without end.

    Parameters
    ----------
    cells, train
        The cells, and the row numbers of those to draw.
    noise
        Standard deviation of what is added to the cells before they are encoded; it is drawn
        where they are, by the generator `on_device`.
    """
    # where the neighbours of only some cells are known, half of each batch is of these
    known = 0 if cells.pulled is None else min(batch_size // 2, len(cells.pulled))
    stream = batches(train, batch_size - known, generator=generator)
    pulled = batches(cells.pulled, known, generator=generator) if known else None
    geometry = batches(train, GEOMETRY_POINTS, generator=generator) if batch_size < GEOMETRY_POINTS else None

    def some_of(table: Tensor | None, rows: Tensor, n: int) -> Tensor | None:
        if table is None:
            return None
        columns = torch.randint(table.shape[1], (len(rows), n), generator=generator)
        return cells.x[table[rows].gather(1, columns.to(table.device))]

    while True:
        rows = next(stream)
        if pulled is not None:
            rows = torch.cat([next(pulled), rows])
        x = cells.x[rows]
        yield Batch(
            x=x,
            rows=rows,
            n_at=GEOMETRY_POINTS,
            at=None if geometry is None else cells.x[next(geometry)],
            neighbors=some_of(cells.neighbors, rows, NEIGHBORS_A_STEP),
            partners=None if cells.partners is None else some_of(cells.partners, rows[: known or None], 1)[:, 0],
            codes=None if cells.codes is None else cells.codes[rows],
            noise=noise * torch.randn(x.shape, generator=on_device, device=x.device) if noise else None,
        )
