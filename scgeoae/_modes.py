"""The modes that PyTorch may be in when a function is called."""

from __future__ import annotations

import functools
from contextlib import ExitStack
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import torch

from ._filters import naming_filter

if TYPE_CHECKING:
    from collections.abc import Callable

P, R = ParamSpec("P"), TypeVar("R")


def in_own_modes(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function compute as if PyTorch had just been imported, in whatever modes of its own the caller's code is.

    New tensors are on the CPU with ``torch.set_default_device("cuda")`` too, products have their precision within
    `torch.autocast`, and gradients are there within `torch.inference_mode`. These modes are those of a thread, and are
    what they were afterwards. ``torch.set_default_dtype`` is that of the process, and is left alone: wherever numbers
    are made, their type stands beside.

    Matrices of an AnnData on disk are read inside, and a file that h5py cannot decompress is said to be one.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with ExitStack() as modes:
            # a mode costs some microseconds an operation: none is entered that makes no difference
            if torch.get_default_device().type != "cpu":
                modes.enter_context(torch.device("cpu"))
            for device in ("cpu", "cuda", "mps"):
                if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
                    modes.enter_context(torch.autocast(device, enabled=False))
            if torch.is_inference_mode_enabled():
                modes.enter_context(torch.inference_mode(mode=False))
            if not torch.is_grad_enabled():
                modes.enter_context(torch.enable_grad())
            modes.enter_context(naming_filter())
            return function(*args, **kwargs)

    return call
