"""Shuffled mini-batches of row numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


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
