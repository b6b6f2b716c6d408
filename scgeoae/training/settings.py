"""What a run of training is told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from ..geometry.regularizers import canonical_name
from ..nn import ACTIVATIONS
from .sampling import SAMPLINGS

# The largest weights at which the reconstruction error stays within 6% of that of the vanilla
# autoencoder on all three reference data sets (docs/defaults.md); gradient_penalty, a baseline
# that gains nothing by a larger one, has a small weight.
STRENGTHS = {"isometric": 0.2, "volume": 0.5, "conformal": 0.5, "curvature": 0.03, "gradient_penalty": 0.01}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The arguments of `fit`, checked. `scgeoae.tl.geoae` describes each."""

    n_components: int = 2
    regularizer: str | Mapping[str, float] | None = "isometric"
    """After construction canonical, whatever alias was given."""
    strength: float | None = None
    """After construction a number: the default of the regulariser, or 0 without one; None of several."""
    sampling: str = "data"
    hidden: tuple[int, ...] = (128, 128)
    activation: str = "silu"
    n_steps: int | None = None
    batch_size: int = 128
    learning_rate: float = 5e-3
    seed: int = 0

    def __post_init__(self) -> None:
        def settle(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        for name, least in {"n_components": 1, "batch_size": 2}.items():
            settle(name, _integer(name, getattr(self, name), least))
        if self.n_steps is not None:
            settle("n_steps", _integer("n_steps", self.n_steps, 1))
        hidden = (self.hidden,) if isinstance(self.hidden, Integral) else self.hidden
        settle("hidden", tuple(_integer("hidden", width, 1) for width in hidden))
        if self.activation not in ACTIVATIONS:
            msg = f"Expected `activation` to be one of {sorted(ACTIVATIONS)}, found {self.activation!r}."
            raise ValueError(msg)
        learning_rate = _number("learning_rate", self.learning_rate)
        if learning_rate == 0:
            msg = "Expected `learning_rate` to be a finite number > 0, found 0."
            raise ValueError(msg)
        settle("learning_rate", learning_rate)

        if self.sampling not in SAMPLINGS:
            msg = f"Expected `sampling` to be one of {sorted(SAMPLINGS)}, found {self.sampling!r}."
            raise ValueError(msg)
        if isinstance(self.regularizer, Mapping):
            if self.strength is not None:
                msg = f"A mapping of regularizers has its weights in itself; leave out strength={self.strength!r}."
                raise ValueError(msg)
            weights = {canonical_name(k): _number(f"regularizer[{k!r}]", v) for k, v in self.regularizer.items()}
            if len(weights) < len(self.regularizer):
                msg = f"Two of the regularizers {list(self.regularizer)} are the same."
                raise ValueError(msg)
            settle("regularizer", weights)
            return
        if self.regularizer is not None:
            settle("regularizer", canonical_name(self.regularizer))
        if self.strength is None:
            settle("strength", 0.0 if self.regularizer is None else STRENGTHS[self.regularizer])
        settle("strength", _number("strength", self.strength))
        if self.regularizer is None and self.strength > 0:
            msg = f"strength={self.strength:g} without a regularizer has no effect; name one with `regularizer`."
            raise ValueError(msg)

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each regulariser that has one above 0."""
        given = self.regularizer if isinstance(self.regularizer, Mapping) else {self.regularizer: self.strength}
        return {name: weight for name, weight in given.items() if weight > 0}


def _integer(name: str, value: Any, least: int) -> int:
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        msg = f"Expected `{name}` to be an integer >= {least}, found {value!r}."
        raise ValueError(msg)
    return int(value)


def _number(name: str, value: Any) -> float:
    if not isinstance(value, Real) or not math.isfinite(value) or value < 0:
        msg = f"Expected `{name}` to be a finite number >= 0, found {value!r}."
        raise ValueError(msg)
    return float(value)
