"""A multilayer perceptron with its derivatives in closed form, and the residual network made of it."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import linear

from ..geometry.jet import Jet
from .activations import ACTIVATIONS, IN_PLACE, derivatives
from .passes import Network, Workspaces, fused_pass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


class Mlp(nn.Module):
    r"""A multilayer perceptron with derivatives in closed form.

    With layers :math:`h \leftarrow \varphi(p),\ p = W h + b`, tangents obey
    :math:`T \leftarrow \varphi'(p) \odot W T` and second derivatives
    :math:`S_{ab} \leftarrow \varphi'(p) \odot W S_{ab} + \varphi''(p) \odot W T_a \odot W T_b`
    from the first layer to the last, and cotangents :math:`R \leftarrow (R \odot \varphi'(p))\, W` from the last to the
    first. Every step is a large matrix product, and can be differentiated again, so a loss may contain the derivatives.

    Parameters
    ----------
    n_in, n_out
        Number of input and of output features.
    hidden
        Widths of the hidden layers; empty for an affine map.
    activation
        One of ``"silu"``, ``"elu"``, ``"tanh"``, ``"softplus"``. SiLU is smooth, which second derivatives need, and 20
        times faster than ELU on a CPU.
    zero_last
        Start with zeros in the last layer: the network is then the zero map.
    generator
        Source of the initial weights; torch's global generator is never touched.

    Examples
    --------
    >>> import torch
    >>> from scgeoae.nn import Mlp
    >>> mlp = Mlp(2, 50, hidden=(16, 16), generator=torch.Generator().manual_seed(0))
    >>> mlp.jet(torch.zeros(7, 2), order=2).second.shape
    torch.Size([7, 50, 2, 2])
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        hidden: Sequence[int] = (128, 128),
        activation: str = "silu",
        zero_last: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            msg = f"Expected `activation` to be one of {sorted(ACTIVATIONS)}, found {activation!r}."
            raise ValueError(msg)
        self.activation = activation
        widths = [n_in, *hidden, n_out]
        generator = generator or torch.Generator().manual_seed(0)
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for fan_in, fan_out in pairwise(widths):
            bound = 1 / math.sqrt(fan_in)
            for drawn, shape in ((self.weights, (fan_out, fan_in)), (self.biases, (fan_out,))):
                empty = torch.empty(shape, dtype=torch.float32)
                drawn.append(empty.uniform_(-bound, bound, generator=generator))
        if zero_last:
            with torch.no_grad():
                self.weights[-1].zero_()
                self.biases[-1].zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, d) inputs to (n, D) values."""
        phi = ACTIVATIONS[self.activation]
        # in place where no backward pass needs the values: half the memory, and in the cache
        in_place = {} if torch.is_grad_enabled() or self.activation not in IN_PLACE else {"inplace": True}
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = linear(x, weight, bias)
            if i < last:
                x = phi(x, **in_place)
        return x

    def jet(self, x: Tensor, *, order: int = 1) -> Jet:
        """Return values and derivatives up to `order` (1 or 2) at (n, d) inputs."""
        if order not in (1, 2):
            msg = f"Expected `order` to be 1 or 2, found {order!r}."
            raise ValueError(msg)
        n, d = x.shape
        rows, columns = torch.triu_indices(d, d, device=x.device)
        last = len(self.weights) - 1
        # Tangents are (d, n, width) and pairs (d(d+1)/2, n, width), so each product below is one matrix product. They
        # start as the identity and as zero: their first products are the weight itself, the same at all points, and
        # nothing.
        values, tangents, pairs = x, self.weights[0].T[:, None, :], None
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            values = linear(values, weight, bias)
            tangents = tangents if i == 0 else linear(tangents, weight)
            pairs = None if pairs is None else linear(pairs, weight)
            if i == last:
                break
            values, slope, *bend = derivatives(self.activation, values, order)
            if order == 2:
                curved = bend[0] * tangents[rows] * tangents[columns]
                pairs = curved if pairs is None else torch.addcmul(curved, slope, pairs)
            tangents = slope * tangents
        first = tangents.expand(-1, n, -1).permute(1, 2, 0)
        if order == 1:
            return Jet(values, first)
        if pairs is None:
            return Jet(values, first, x.new_zeros(n, values.shape[1], d, d))
        position = torch.empty(d, d, dtype=torch.long, device=x.device)
        position[rows, columns] = position[columns, rows] = torch.arange(len(rows), device=x.device)
        return Jet(values, first, pairs[position].permute(2, 3, 0, 1))

    def rows(self, x: Tensor) -> Jet:
        """Return values and first derivatives at (n, d) inputs, with one backward pass for each output.

        The result is that of ``jet(x)``. For a map to few dimensions this is the cheaper way.
        """
        n = len(x)
        slopes = []
        values = x
        *inner, last = zip(self.weights, self.biases, strict=True)
        for weight, bias in inner:
            values, slope = derivatives(self.activation, linear(values, weight, bias), 1)
            slopes.append(slope)
        values = linear(values, *last)
        # (D, n, width), as the tangents of `jet`
        cotangents = last[0][:, None, :]
        for (weight, _), slope in zip(reversed(inner), reversed(slopes), strict=True):
            cotangents = (cotangents * slope) @ weight
        return Jet(values, cotangents.expand(-1, n, -1).transpose(0, 1))


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
