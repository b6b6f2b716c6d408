"""Maps of single cells whose distortion is small, measured, and shown."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import datasets, geometry, get, graphs, model, nn, pl, quality, tl, training
    from .nn.arrays import load

__all__ = ["datasets", "geometry", "get", "graphs", "load", "model", "nn", "pl", "quality", "tl", "training"]
__version__ = version("scgeoae")


def __getattr__(name: str) -> Any:
    # torch and scanpy take seconds to import, so each subpackage is imported when it is first used
    if name == "load":
        return import_module(".nn.arrays", __name__).load
    if name in __all__:
        return import_module(f".{name}", __name__)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
