"""A linear map plus a network that starts at zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import linear

from ..geometry.jet import Jet
from .mlp import Mlp
from .passes import Network, Workspaces, fused_pass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


class ResidualMlp(nn.Module):
    """The map x ↦ W x + f(x), with an `Mlp` f whose last layer starts at zero.

    It starts at exactly its linear part, which adds a constant to every Jacobian and nothing to second derivatives.

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
        # to iterate over the lists of a module would take a twentieth of a step
        layers = list(zip(self.bend.weights, self.bend.biases, strict=True))
        self._network = Network(self.linear, layers, activation, Workspaces())

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, n_in) inputs to (n, n_out) values."""
        return linear(x, self.linear) + self.bend(x)

    def jet(self, x: Tensor, *, order: int = 1) -> Jet:
        """Return values and derivatives up to `order` (1 or 2) at (n, n_in) inputs."""
        bend = self.bend.jet(x, order=order)
        return Jet(linear(x, self.linear) + bend.values, bend.first + self.linear, bend.second)

    def rows(self, x: Tensor) -> Jet:
        """Return values and first derivatives at (n, n_in) inputs, with one backward pass for each output."""
        bend = self.bend.rows(x)
        return Jet(linear(x, self.linear) + bend.values, bend.first + self.linear)

    def fused(self, x: Tensor, *, n_tangents: int = 0) -> tuple[Tensor, Tensor]:
        """Return values at (n, n_in) inputs, and the (m, n_out, n_in) derivatives at the first m of them, for training.

        These are the results of calling the network and of `jet`, in half the time. They can be differentiated once,
        with ``backward()``; see `scgeoae.nn.passes.fused_pass`.
        """
        if not torch.is_grad_enabled():
            return self(x), self.jet(x[:n_tangents]).first
        values, tangents = fused_pass(self._network, x, n_tangents)
        return values, tangents.permute(1, 2, 0)

    def free_workspaces(self) -> None:
        """Free the memory that `fused` holds for further calls."""
        self._network.workspaces.clear()
