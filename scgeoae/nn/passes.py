"""Forward and backward passes of a network in buffers that are allocated once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .activations import DERIVATIVES

if TYPE_CHECKING:
    from torch import Tensor

    from .residual import ResidualMlp


class Passes:
    r"""The values and derivatives of a `ResidualMlp`, and their gradients written by hand.

    The same as `ResidualMlp.__call__` and `ResidualMlp.jet` followed by autograd, which stay the
    reference, at half the time: every elementwise operation is done in place while its operand is in
    the cache, values and tangents share their matrix products, and nothing is allocated from
    one step to the next.

    With slopes φ′ and bends φ″ of the layer below, the gradients R of its values and
    :math:`R_a` of its tangents :math:`T_a = \varphi' \odot P_a` come from those of the layer above, Q, as

    .. math:: R = \varphi' \odot Q W + \varphi'' \odot \sum_a P_a \odot Q_a W, \quad R_a = \varphi' \odot Q_a W

    A pass backward belongs to the last pass forward, which it uses up, and overwrites the ``grad`` of all parameters.

    Parameters
    ----------
    network
        Its parameters must have a ``grad`` of their own shape to write into; see `flatten`.

    Examples
    --------
    >>> import torch
    >>> from scgeoae.nn import Passes, flatten
    >>> from scgeoae.nn.residual import ResidualMlp
    >>> network = ResidualMlp(2, 50, hidden=(16, 16), activation="silu")
    >>> flat = flatten(network)
    >>> passes = Passes(network)
    >>> values, tangents = passes.forward(torch.zeros(7, 2), n_tangents=3)
    >>> values.shape, tangents.shape
    (torch.Size([7, 50]), torch.Size([2, 3, 50]))
    >>> passes.backward(values, tangents).shape
    torch.Size([7, 2])
    """

    def __init__(self, network: ResidualMlp) -> None:
        self.linear = network.linear
        self.weights = list(network.bend.weights)
        self.biases = list(network.bend.biases)
        self.activation = network.bend.activation
        self._one = torch.ones((), dtype=self.linear.dtype, device=self.linear.device)
        self._buffers: dict[str, Tensor] = {}

    @torch.no_grad()
    def forward(self, x: Tensor, *, n_tangents: int = 0) -> tuple[Tensor, Tensor | None]:
        """Map (n, d) inputs to (n, D) values, and return the derivatives at the first m of them, (d, m, D).

        Both are buffers that the next pass overwrites. Without tangents the second is None.
        """
        (n, d), m = x.shape, n_tangents
        self._x, self._m = x, m
        self._layers: list[tuple[Tensor, ...]] = []
        last = len(self.weights) - 1
        # the rows of a layer: n of values, then m of tangents along each of the d coordinates
        rows, directions = x, None
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            layer = self._buffer(f"rows {i}", x, n + d * m, len(weight))
            values = layer[:n]
            if i == 0 or m == 0:
                torch.addmm(bias, rows, weight.T, out=values)
            else:
                torch.mm(rows, weight.T, out=layer)
                values.add_(bias)
            tangents = layer[n:].view(d, m, len(weight)) if m else None
            if m and i == 0:
                # the same at all points
                directions = weight.T.contiguous()[:, None, :]
            elif m and i < last:
                directions = self._buffer(f"directions {i}", x, d, m, len(weight)).copy_(tangents)
            if i == last:
                break
            slope, bend = self._activate(values, i)
            if m:
                torch.mul(slope[:m], directions, out=tangents)
            self._layers.append((layer, slope, bend, directions))
            rows = layer
        if m and last == 0:
            tangents.copy_(directions.expand_as(tangents))
        values.addmm_(x, self.linear.T)
        if m:
            tangents.add_(self.linear.T[:, None, :])
        return values, tangents

    @torch.no_grad()
    def backward(self, values: Tensor, tangents: Tensor | None = None, *, to_input: bool = True) -> Tensor | None:
        """Set the gradients of all parameters from those of the results; return that of the inputs, (n, d).

        Parameters
        ----------
        values
            (n, D) gradient of the values.
        tangents
            (d, m, D) that of the tangents, if there are any.
        to_input
            Whether that of the inputs is asked for.
        """
        x, m = self._x, self._m
        n, d = x.shape
        torch.mm(values.T, x, out=self.linear.grad)
        rows = values
        if m:
            self.linear.grad.add_(tangents.sum(1).T)
            rows = self._buffer("gradient", x, n + d * m, values.shape[1])
            rows[:n] = values
            rows[n:].view(d, m, -1).copy_(tangents)
        above = values
        for i in range(len(self.weights) - 1, 0, -1):
            weight = self.weights[i]
            layer, slope, bend, directions = self._layers[i - 1]
            torch.mm(rows.T, layer, out=weight.grad)
            torch.sum(above, 0, out=self.biases[i].grad)
            # in the place of the layer, which nobody reads again
            rows = torch.mm(rows, weight, out=layer)
            above = rows[:n]
            if m:
                along = rows[n:].view(d, m, -1)
                bent = (along * directions).sum(0).mul_(bend)
                along.mul_(slope[:m])
            above.mul_(slope)
            if m:
                above[:m].add_(bent)
        weight = self.weights[0]
        torch.mm(above.T, x, out=weight.grad)
        torch.sum(above, 0, out=self.biases[0].grad)
        if m:
            weight.grad.add_(rows[n:].view(d, m, -1).sum(1).T)
        return torch.mm(above, weight).addmm_(values, self.linear) if to_input else None

    def _activate(self, p: Tensor, i: int) -> tuple[Tensor, Tensor | None]:
        """Replace p by φ(p), and return φ′(p) and at the first m rows φ″(p)."""
        m = self._m
        slope = self._buffer(f"slope {i}", p, *p.shape)
        bend = None
        if self.activation == "silu":
            # the closed forms of `scgeoae.nn.activations` with no more room than the result
            torch.sigmoid(p, out=slope)
            sigmoid = self._buffer(f"sigmoid {i}", p, m, p.shape[1]).copy_(slope[:m]) if m else None
            p.mul_(slope)
            slope.lerp_(self._one, p)
            if m:
                bend = torch.add(slope[:m], sigmoid, out=self._buffer(f"bend {i}", p, m, p.shape[1]))
                bend.addcmul_(sigmoid, slope[:m], value=-2)
            return slope, bend
        derivatives = DERIVATIVES[self.activation]
        if m:
            bend = derivatives(p[:m], 2)[2]
        value, first = derivatives(p, 1)
        p.copy_(value)
        return slope.copy_(first), bend

    def _buffer(self, name: str, like: Tensor, *shape: int) -> Tensor:
        buffer = self._buffers.get(name)
        if buffer is None or buffer.shape != shape:
            buffer = self._buffers[name] = torch.empty(shape, dtype=like.dtype, device=like.device)
        return buffer
