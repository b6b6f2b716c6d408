"""Where to compute."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conclude import Fit


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device named, or for ``"auto"`` the best of CUDA, MPS and CPU that is there."""
    if isinstance(device, str) and device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(device)
    except (RuntimeError, TypeError, ValueError):
        msg = f"Expected `device` to be 'auto' or a torch device such as 'cpu' or 'cuda:0', found {device!r}."
        raise ValueError(msg) from None
    available = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if not available.get(device.type, lambda: True)():
        msg = f"The device {str(device)!r} is not available to torch {torch.__version__} here; use device='auto'."
        raise ValueError(msg)
    return device


def compute_on(device: str | torch.device, compute: Callable[[torch.device], Fit]) -> Fit:
    """Compute on a device, and for ``"auto"`` on the CPU if the one chosen has too little memory.

    Raises
    ------
    RuntimeError
        If a device that was asked for has too little.
    """
    chosen = choose_device(device)
    try:
        return compute(chosen)
    except torch.cuda.OutOfMemoryError as error:
        said = str(error).splitlines()[0]
        if device != "auto":
            msg = (
                f"The device {str(chosen)!r} has too little memory ({said}); give device='cpu' or a lower `batch_size`."
            )
            raise RuntimeError(msg) from error
    warnings.warn(f"{chosen} has too little memory ({said}): computing on the CPU instead.", stacklevel=2)
    return compute(torch.device("cpu"))
