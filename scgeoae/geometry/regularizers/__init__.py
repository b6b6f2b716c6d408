"""Losses on the derivatives of a map: each is ≥ 0, and 0 exactly where its property holds.

To add one: a function in a file of its own, and a line in `REGULARIZERS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ._conformal import conformal
from ._curvature import curvature
from ._gradient_penalty import gradient_penalty
from ._isometric import isometric, isometric_and_gradient
from ._neighborhood import neighborhood
from ._topological import topological
from ._unit_isometric import unit_isometric
from ._volume import volume

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


@dataclass(frozen=True)
class Regularizer:
    """A loss, and what it is a function of."""

    loss: Callable[..., Tensor] | None
    """None for what changes the reconstruction loss itself."""
    of: Literal["metric", "jet", "neighbors", "codes", "noise"] = "metric"
    """
    ``"metric"``: metric tensors of the decoder or the encoder; ``"jet"``: the decoder's derivatives;
    ``"neighbors"``: these and the cells around each; ``"codes"``: cells and their codes; ``"noise"``:
    nothing, cells are corrupted before they are encoded and the weight is the standard deviation.
    """
    order: int = 1
    """How many derivatives of the map it needs."""
    sides: tuple[str, ...] = ("decoder",)
    """The networks that it can hold, its default first."""
    sampling: str = "data"
    """Where its source evaluates it."""
    aliases: tuple[str, ...] = ()
    """What its papers call it."""
    and_gradient: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None
    """Of ``"metric"``: the loss and its gradient, where that is faster by hand than by autograd."""


_EITHER = ("decoder", "encoder", "both")
REGULARIZERS = {
    "volume": Regularizer(volume, sides=_EITHER, aliases=("geomae",)),
    "conformal": Regularizer(conformal, sides=_EITHER, aliases=("confae",)),
    "isometric": Regularizer(isometric, sides=_EITHER, aliases=("irae",), and_gradient=isometric_and_gradient),
    "unit_isometric": Regularizer(
        unit_isometric, sides=("both", "decoder", "encoder"), sampling="gaussian", aliases=("iae",)
    ),
    "neighborhood": Regularizer(neighborhood, of="neighbors", sides=("both",), aliases=("nrae", "nrae_l")),
    "neighborhood_quadratic": Regularizer(neighborhood, of="neighbors", order=2, sides=("both",), aliases=("nrae_q",)),
    "curvature": Regularizer(curvature, of="jet", order=2, aliases=("mecae", "mcae")),
    "contractive": Regularizer(gradient_penalty, sides=("encoder",), aliases=("cae",)),
    "gradient_penalty": Regularizer(gradient_penalty, aliases=("rae_gp",)),
    "denoising": Regularizer(None, of="noise", sides=("both",), aliases=("dae",)),
    "topological": Regularizer(topological, of="codes", sides=("encoder",), aliases=("topoae",)),
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
    "neighborhood",
    "topological",
    "unit_isometric",
    "volume",
]
