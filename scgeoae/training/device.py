"""Where to compute, and what the bits of a result depend on."""

from __future__ import annotations

import platform
import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

PACKAGES = ("scgeoae", "torch", "numpy", "scipy", "scikit-learn", "pynndescent", "scanpy", "anndata")


def choose_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device that is named, or for ``"auto"`` the best of CUDA, MPS and CPU that is there."""
    if isinstance(device, str) and device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(device)
    except (RuntimeError, TypeError, ValueError):
        msg = f"Expected `device` to be 'auto' or a torch device such as 'cpu' or 'cuda:0', found {device!r}."
        raise ValueError(msg) from None
    missing = {"cuda": not torch.cuda.is_available(), "mps": not torch.backends.mps.is_available()}
    if missing.get(device.type, False):
        msg = f"The device {str(device)!r} is not available to torch {torch.__version__} here; use device='auto'."
        raise ValueError(msg)
    return device


def native(x: Tensor) -> NDArray[Any] | Tensor:
    """Return a tensor on CUDA as it is, and any other as an array, which on the CPU is a view.

    Given arrays, the functions of refinement use compiled loops, SciPy and scikit-learn; given tensors, PyTorch alone.
    """
    return x if x.device.type == "cuda" else x.cpu().numpy()


def out_of_memory(error: torch.cuda.OutOfMemoryError, device: str | torch.device, chosen: torch.device) -> None:
    """Warn that the CPU computes instead of the device that ``"auto"`` has chosen.

    Raises
    ------
    RuntimeError
        If this device was asked for.
    """
    said = str(error).splitlines()[0]
    if device != "auto":
        msg = f"The device {str(chosen)!r} has too little memory ({said}); give device='cpu' or a lower `batch_size`."
        raise RuntimeError(msg) from error
    warnings.warn(f"{chosen} has too little memory ({said}): computing on the CPU instead.", stacklevel=3)


def environment(device: str | torch.device, *further: str) -> dict[str, Any]:
    """Return the machine, the number of threads, and the versions of Python, our dependencies and `further` packages.

    ``cpu`` is the instruction set that torch chose its kernels by: another one adds numbers up in another order.

    Examples
    --------
    >>> from scgeoae.training.device import environment
    >>> sorted(environment("cpu"))
    ['cpu', 'device', 'n_threads', 'platform', 'versions']
    """
    device = torch.device(device)
    versions = {name: version(name) for name in (*PACKAGES, *further)}
    # with its build, such as 2.13.0+cpu, which the metadata of a package may leave out
    versions["torch"] = str(torch.__version__)
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "n_threads": torch.get_num_threads(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "platform": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version()} | versions,
    }
