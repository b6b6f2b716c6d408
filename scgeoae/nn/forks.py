"""Computing in children that are forked."""

from __future__ import annotations

import os
from functools import cache, partial

import torch


@cache
def compute_in_forks() -> None:
    """Let the children that this process forks from now on compute, each on one thread.

    GNU OpenMP, by which PyTorch computes on Linux, keeps its threads for the next product. A child of a fork has the
    record of them, but not the threads, and would wait for them forever.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))
