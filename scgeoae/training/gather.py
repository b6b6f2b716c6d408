"""Bring together the results of several processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import distributed

if TYPE_CHECKING:
    from torch import Tensor


def gather(rows: Tensor) -> Tensor:
    """Return the rows of all processes of a distributed training; autograd can differentiate this.

    The gradients of all processes add up on the way back, and are averaged over processes afterwards. So a loss of all
    rows has the gradient that it would have in one process.
    """
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return rows
    from torch.distributed.nn.functional import all_gather

    # the last minibatch may be shorter in one of the processes
    sizes = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(distributed.get_world_size())]
    distributed.all_gather(sizes, torch.tensor([len(rows)], device=rows.device))
    longest = max(int(size) for size in sizes)
    padded = torch.cat([rows, rows.new_zeros(longest - len(rows), *rows.shape[1:])])
    return torch.cat([part[: int(size)] for part, size in zip(all_gather(padded), sizes, strict=True)])
