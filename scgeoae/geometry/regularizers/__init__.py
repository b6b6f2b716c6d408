"""Losses on a decoder's derivatives: each is ≥ 0, and 0 exactly where its property holds.

To add one: a function in a file of its own, and a line in `REGULARIZERS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..metric import pullback
from ._conformal import conformal
from ._curvature import curvature
from ._gradient_penalty import gradient_penalty
from ._isometric import isometric
from ._volume import volume

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from ...nn import Jet


@dataclass(frozen=True)
class Regularizer:
    """A loss on the jet of a map."""

    loss: Callable[[Tensor], Tensor] | Callable[[Jet], Tensor]
    """Of the metric tensors, or with order 2 of the jet itself."""
    order: int = 1
    """How many derivatives of the map it needs."""
    aliases: tuple[str, ...] = ()
    """What its papers call it."""

    def __call__(self, jet: Jet) -> Tensor:
        """Return the loss, a scalar."""
        return self.loss(jet) if self.order == 2 else self.loss(pullback(jet.first))


REGULARIZERS = {
    "volume": Regularizer(volume, aliases=("geomae",)),
    "conformal": Regularizer(conformal, aliases=("confae",)),
    "isometric": Regularizer(isometric, aliases=("irae",)),
    "curvature": Regularizer(curvature, order=2, aliases=("mecae", "mcae")),
    "gradient_penalty": Regularizer(gradient_penalty, aliases=("rae_gp",)),
}
_CANONICAL = {alias: name for name, r in REGULARIZERS.items() for alias in (name, *r.aliases)}


def canonical_name(name: str) -> str:
    """Return the name in `REGULARIZERS` that `name`, or a paper's name of it, stands for."""
    if name not in _CANONICAL:
        msg = f"Expected `regularizer` to be None, one of {sorted(_CANONICAL)}, or a mapping of such, found {name!r}."
        raise ValueError(msg)
    return _CANONICAL[name]


__all__ = [
    "REGULARIZERS",
    "Regularizer",
    "canonical_name",
    "conformal",
    "curvature",
    "gradient_penalty",
    "isometric",
    "volume",
]
