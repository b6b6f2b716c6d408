"""Penalties on the derivatives of a map: each is ≥ 0, and 0 exactly where its property holds.

To add one, write a function and add a line to `REGULARIZERS`; this works from outside the package too.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Literal

from ._conformal import conformal
from ._curvature import curvature
from ._gradient_penalty import gradient_penalty
from ._isometric import isometric
from ._neighborhood import neighborhood
from ._topological import topological
from ._unit_isometric import unit_isometric
from ._volume import volume

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


@dataclass(frozen=True)
class Regularizer:
    """A penalty, and what it is a function of."""

    loss: Callable[..., Tensor] | None
    """None if it changes the reconstruction loss itself."""
    strength: float
    """Its default weight, relative to the mean squared error of the standardized representation."""
    of: Literal["metric", "jet", "neighbors", "codes", "noise"] = "metric"
    """
    ``"metric"``: metric tensors of the decoder or the encoder; ``"jet"``: the decoder's derivatives; ``"neighbors"``:
    these and the neighbors of each cell; ``"codes"``: cells and their latent coordinates; ``"noise"``: nothing, but
    noise is added to cells before they are encoded, and the weight is its standard deviation.
    """
    order: int = 1
    """Order of the derivatives of the map that it needs."""
    sides: tuple[str, ...] = ("decoder",)
    """The networks that it can regularize, the default first."""
    sampling: str = "data"
    """The latent points at which its paper evaluates it."""
    without_host: float = 0
    """Dimensions of the map up to which it needs nothing from the host, so that a CUDA graph can replay it."""
    aliases: tuple[str, ...] = ()
    """Its names in papers."""


_EITHER = ("decoder", "encoder", "both")
# At these weights maps of all three reference data sets nearly satisfy the regularizer, with a reconstruction error of
# 1.02 to 1.09 times that of the unregularized autoencoder (docs/defaults.md). The baselines gain nothing from a larger
# weight and have a small one. The weight of denoising is a standard deviation. For more than two dimensions, volume and
# curvature factorize matrices, which is checked on the host.
REGULARIZERS = {
    "volume": Regularizer(volume, 0.5, sides=_EITHER, without_host=2, aliases=("geomae",)),
    "conformal": Regularizer(conformal, 0.5, sides=_EITHER, without_host=inf, aliases=("confae",)),
    "isometric": Regularizer(isometric, 0.2, sides=_EITHER, without_host=inf, aliases=("irae",)),
    "unit_isometric": Regularizer(
        unit_isometric,
        0.1,
        sides=("both", "decoder", "encoder"),
        sampling="gaussian",
        without_host=inf,
        aliases=("iae",),
    ),
    "neighborhood": Regularizer(
        neighborhood, 0.5, of="neighbors", sides=("both",), without_host=inf, aliases=("nrae", "nrae_l")
    ),
    "neighborhood_quadratic": Regularizer(
        neighborhood, 0.5, of="neighbors", order=2, sides=("both",), without_host=inf, aliases=("nrae_q",)
    ),
    "curvature": Regularizer(curvature, 0.03, of="jet", order=2, without_host=2, aliases=("mecae", "mcae")),
    "contractive": Regularizer(gradient_penalty, 0.01, sides=("encoder",), without_host=inf, aliases=("cae",)),
    "gradient_penalty": Regularizer(gradient_penalty, 0.01, without_host=inf, aliases=("rae_gp",)),
    "denoising": Regularizer(None, 0.2, of="noise", sides=("both",), without_host=inf, aliases=("dae",)),
    "topological": Regularizer(topological, 0.5, of="codes", sides=("encoder",), aliases=("topoae",)),
}
"""Regularizers by name; `scgeoae.tl.geoae` accepts every name added here."""


def canonical_name(name: str) -> str:
    """Return the name in `REGULARIZERS` for `name`, which may be an alias from a paper."""
    canonical = {alias: key for key, r in REGULARIZERS.items() for alias in (key, *r.aliases)}
    if not isinstance(name, str) or name not in canonical:
        msg = f"Expected `regularizer` to be None, one of {sorted(canonical)}, or a mapping of these, found {name!r}."
        raise ValueError(msg)
    return canonical[name]


__all__ = [
    "REGULARIZERS",
    "Regularizer",
    "conformal",
    "curvature",
    "gradient_penalty",
    "isometric",
    "neighborhood",
    "topological",
    "unit_isometric",
    "volume",
]
