"""What the bits of a result depend on beside the data and the arguments."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

import torch

PACKAGES = ("scgeoae", "torch", "numpy", "scipy", "scikit-learn", "pynndescent", "scanpy", "anndata")


def environment(device: str | torch.device, *further: str) -> dict[str, Any]:
    """Return the machine, the number of threads, and the versions of Python, our dependencies and `further` ones.

    The ``cpu`` is the instruction set that torch chose its kernels by: another one adds numbers up in another order.

    Examples
    --------
    >>> from scgeoae.training import environment
    >>> sorted(environment("cpu"))
    ['cpu', 'device', 'n_threads', 'platform', 'versions']
    """
    device = torch.device(device)
    versions = {name: version(name) for name in (*PACKAGES, *further)}
    # with its build, 2.13.0+cpu, which the metadata of a package may leave out
    versions["torch"] = str(torch.__version__)
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "n_threads": torch.get_num_threads(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "platform": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version()} | versions,
    }
