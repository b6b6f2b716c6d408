"""Where to compute."""

from __future__ import annotations

import torch


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device named, or for ``"auto"`` the best of CUDA, MPS and CPU that is there."""
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(device)
    except (RuntimeError, TypeError):
        msg = f"Expected `device` to be 'auto' or a torch device such as 'cpu' or 'cuda:0', found {device!r}."
        raise ValueError(msg) from None
    available = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if not available.get(device.type, lambda: True)():
        msg = f"The device {str(device)!r} is not available to torch {torch.__version__} here; use device='auto'."
        raise ValueError(msg)
    return device
