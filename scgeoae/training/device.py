"""Where to compute, and what the bits of a result depend on."""

from __future__ import annotations

import platform
import re
import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch

from .distributed import processes

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

# What is raised when a device fails, and a word that the message then has. Before torch 2.8, most of these errors have
# no class of their own. A tensor on the wrong device is a mistake of ours; its message says cuda:0, in lower case.
DEVICE_ERRORS = (RuntimeError, torch.cuda.DeferredCudaCallError)
OF_DEVICE = re.compile(r"CUDA|CUBLAS|cuBLAS|CUDNN|cuDNN|CUSOLVER|cuSOLVER|NVIDIA|\bMPS\b")
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


def falls_back(error: Exception, device: str | torch.device, chosen: torch.device) -> bool:
    """Return whether the device that ``"auto"`` chose has failed, and warn that the CPU computes instead.

    Raises
    ------
    RuntimeError
        If the device that failed was asked for.
    """
    lacks_memory = isinstance(error, torch.cuda.OutOfMemoryError)
    if not lacks_memory and (chosen.type == "cpu" or not OF_DEVICE.search(str(error))):
        return False
    failed = f"{'has too little memory' if lacks_memory else 'failed'} ({str(error).splitlines()[0]})"
    # where several processes train together, one alone cannot begin again
    is_one_of_several = processes().n > 1
    if device != "auto" or is_one_of_several:
        remedy = "device='cpu' or a lower `batch_size`" if lacks_memory else "device='cpu' or device='auto'"
        if is_one_of_several:
            remedy = "device='cpu' in each process"
        msg = f"The device {str(chosen)!r} {failed}; give {remedy}."
        raise RuntimeError(msg) from error
    warnings.warn(f"{chosen} {failed}: computing on the CPU instead.", stacklevel=3)
    return True


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
    n_processes = processes().n
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "n_threads": torch.get_num_threads(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "platform": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version()} | versions,
        **({"n_processes": n_processes} if n_processes > 1 else {}),
    }
