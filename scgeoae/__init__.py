"""Maps of single cells whose distortion is small, measured, and shown."""

from __future__ import annotations

import gc
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
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    # Imports make many objects, over which the garbage collector would pass again and again: a third of the import of
    # torch. Each call restores what it found, so the collector is also enabled after imports in several threads.
    was_enabled = gc.isenabled()
    try:
        gc.disable()
        return import_module(".nn.arrays", __name__).load if name == "load" else import_module(f".{name}", __name__)
    finally:
        if was_enabled:
            if not gc.get_freeze_count():
                # this moves them to the oldest generation; as young ones they would all be searched at once
                gc.freeze()
                gc.unfreeze()
            gc.enable()


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
