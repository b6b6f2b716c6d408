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
# Cells of a step that are contrasted with the others of it: their kernels would grow with the square of the batch.
MAX_CONTRASTED = 256
# Steps whose random numbers are drawn at once.
N_DRAWS = 64


def batches(rows: Tensor, size: int, *, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield batches of exactly ``min(size, len(rows))`` of the `rows`, reshuffled every epoch.

    The stream has no end. The permutation is drawn on the CPU, so that it is the same for every
    device, and travels once an epoch.
    """
    size = min(size, len(rows))
    while True:
        shuffled = rows[_moved(torch.randperm(len(rows), generator=generator), rows.device)]
        yield from shuffled[: len(rows) // size * size].split(size)


def _columns(n_columns: int, shape: tuple[int, int], *, like: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield random column numbers of this shape; some hundred draws travel at once."""
    while True:
        draws = torch.randint(n_columns, (N_DRAWS, *shape), generator=generator)
        yield from _moved(draws, like.device)


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


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
    measured: bool,
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
    measured
        Whether a loss has metrics. The cells at which it takes them, the first 64, then have no noise: a map is
        read at the codes of the cells as they are.
    """
    # where the neighbours of only some cells are known, half of each batch is of these
    known = 0 if cells.pulled is None else min(batch_size // 2, len(cells.pulled), MAX_CONTRASTED)
    stream = batches(train, batch_size - known, generator=generator)
    pulled = batches(cells.pulled, known, generator=generator) if known else None
    geometry = batches(train, GEOMETRY_POINTS, generator=generator) if batch_size < GEOMETRY_POINTS else None

    size = min(batch_size - known, len(train)) + known
    around = partner = None
    if cells.neighbors is not None:
        shape = (size, NEIGHBORS_A_STEP)
        around = _columns(cells.neighbors.shape[1], shape, like=cells.x, generator=generator)
    if cells.partners is not None:
        shape = (known or min(size, MAX_CONTRASTED), 1)
        partner = _columns(cells.partners.shape[1], shape, like=cells.x, generator=generator)

    while True:
        rows = next(stream)
        if pulled is not None:
            rows = torch.cat([next(pulled), rows])
        x, neighbors, partners = cells.x.index_select(0, rows), None, None
        if around is not None:
            neighbors = cells.x[cells.neighbors[rows].gather(1, next(around))]
        if partner is not None:
            columns = next(partner)
            partners = cells.partners.index_select(0, rows[: len(columns)]).gather(1, columns)
            partners = cells.x.index_select(0, partners[:, 0])
        added = None
        if noise:
            added = torch.randn(x.shape, generator=on_device, dtype=x.dtype, device=x.device).mul_(noise)
            if measured and geometry is None:
                added[:GEOMETRY_POINTS] = 0
        yield Batch(
            x=x,
            rows=rows,
            n_at=GEOMETRY_POINTS,
            at=None if geometry is None else cells.x[next(geometry)],
            neighbors=neighbors,
            partners=partners,
            codes=None if cells.codes is None else cells.codes[rows],
            noise=added,
        )
