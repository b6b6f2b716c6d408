"""A linear map plus a network that starts at zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import linear

from ..geometry.jet import Jet
from .mlp import Mlp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


class ResidualMlp(nn.Module):
    """The map x ↦ W x + f(x), with f an `Mlp` whose last layer starts at zero.

    It starts exactly at its linear part, which contributes a constant to every Jacobian and
    nothing to second derivatives.

    Parameters
    ----------
    n_in, n_out
        Number of input and of output features.
    hidden, activation, generator
        As in `Mlp`.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        hidden: Sequence[int],
        activation: str,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.linear = nn.Parameter(torch.zeros(n_out, n_in))
        self.bend = Mlp(n_in, n_out, hidden=hidden, activation=activation, zero_last=True, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, n_in) inputs to (n, n_out) values."""
        return linear(x, self.linear) + self.bend(x)

    def jet(self, x: Tensor, *, order: int = 1) -> Jet:
        """Return values and derivatives up to `order` (1 or 2) at (n, n_in) inputs."""
        bend = self.bend.jet(x, order=order)
        return Jet(linear(x, self.linear) + bend.values, bend.first + self.linear, bend.second)

    def rows(self, x: Tensor) -> Jet:
        """Return values and first derivatives at (n, n_in) inputs, one pass back for each output."""
        bend = self.bend.rows(x)
        return Jet(linear(x, self.linear) + bend.values, bend.first + self.linear)
