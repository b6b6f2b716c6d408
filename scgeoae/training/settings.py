"""What a run of training is told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from ..geometry.regularizers import canonical_name
from ..nn import ACTIVATIONS

# The largest weights at which the reconstruction error stays within 6% of that of the vanilla
# autoencoder on all three reference data sets (docs/defaults.md).
STRENGTHS = {"isometric": 0.2, "volume": 0.5, "conformal": 0.5}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The arguments of `fit`, checked. `scgeoae.tl.geoae` describes each."""

    n_components: int = 2
    regularizer: str | None = "isometric"
    """Canonical, whatever alias was given."""
    strength: float | None = None
    """After construction a number: the default of the regulariser, or 0 without one."""
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

        if self.regularizer is not None:
            settle("regularizer", canonical_name(self.regularizer))
        if self.strength is None:
            settle("strength", 0.0 if self.regularizer is None else STRENGTHS[self.regularizer])
        settle("strength", _number("strength", self.strength))
        if self.regularizer is None and self.strength > 0:
            msg = f"strength={self.strength:g} without a regularizer has no effect; name one with `regularizer`."
            raise ValueError(msg)


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
