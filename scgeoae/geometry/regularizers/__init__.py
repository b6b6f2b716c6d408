"""Losses on a batch of metric tensors: each is ≥ 0, and 0 exactly where its property holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._conformal import conformal
from ._isometric import isometric
from ._volume import volume

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

REGULARIZERS: dict[str, Callable[[Tensor], Tensor]] = {
    "volume": volume,
    "conformal": conformal,
    "isometric": isometric,
}
ALIASES = {"geomae": "volume", "confae": "conformal", "irae": "isometric"}


def canonical_name(name: str) -> str:
    """Return the name in `REGULARIZERS` that `name`, or the paper's name of it, stands for."""
    canonical = ALIASES.get(name, name)
    if canonical not in REGULARIZERS:
        msg = f"Expected `regularizer` to be None or one of {sorted([*REGULARIZERS, *ALIASES])}, found {name!r}."
        raise ValueError(msg)
    return canonical


__all__ = ["ALIASES", "REGULARIZERS", "canonical_name", "conformal", "isometric", "volume"]
