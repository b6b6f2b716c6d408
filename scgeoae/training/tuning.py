"""What a device does best with steps of this size."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

# Measured on two cores with the default networks, milliseconds a step of 128 cells, medians: one
# thread 5.9, two threads 6.3 on an idle machine; 7.5 and 25.6 beside one other busy process,
# because each of some hundred small products then waits for the slower thread.
MAX_SINGLE_THREADED_BATCH = 512


@contextmanager
def tuned_for(batch_size: int, device: torch.device) -> Iterator[None]:
    """Compute small steps on one thread of a CPU, and products on CUDA in TF32; give both back afterwards."""
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    if device.type == "cpu" and batch_size <= MAX_SINGLE_THREADED_BATCH:
        torch.set_num_threads(1)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
