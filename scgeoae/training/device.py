"""Where to compute."""

from __future__ import annotations

import torch


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device named, or for ``"auto"`` the best of CUDA, MPS and CPU that is there."""
    if isinstance(device, torch.device):
        return device
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        return torch.device(device)
    except RuntimeError:
        msg = f"Expected `device` to be 'auto' or a torch device such as 'cpu' or 'cuda:0', found {device!r}."
        raise ValueError(msg) from None
