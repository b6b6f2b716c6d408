"""Values and tangents of a residual network in one pass, with a backward pass in closed form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from .activations import DERIVATIVES
from .flatten import gradient_room
from .products import product

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor
    from torch.nn import Parameter


class HiddenLayer(NamedTuple):
    """What a backward pass needs to know about a hidden layer of a pass with n values and m tangents.

    The rows of `rows` are n values, and then m tangents along each of the d coordinates.
    """

    rows: Tensor
    """(n + dm, width)"""
    values: Tensor
    """(n, width) view of the rows."""
    tangents: Tensor
    """(d, m, width) view of the rows."""
    values_m: Tensor
    """(m, width) view of the first values."""
    slope: Tensor
    """(n, width) first derivatives of the activation."""
    slope_m: Tensor
    """(m, width) view of the first slopes."""
    sigmoid: Tensor
    """(m, width) for SiLU."""
    second: Tensor
    """(m, width) second derivatives of the activation."""
    directions: Tensor
    """(d, m, width) tangents before the activation."""


class Workspace:
    """The intermediate results of one pass, and the gradient of its results."""

    def __init__(self, x: Tensor, m: int, widths: Sequence[int]) -> None:
        (n, d), (*hidden, n_out) = x.shape, widths
        self.layers = []
        for width in hidden:
            rows, slope = x.new_empty(n + d * m, width), x.new_empty(n, width)
            second, sigmoid, directions = (x.new_empty(*shape, width) for shape in ((m,), (m,), (d, m)))
            values, tangents = rows[:n], rows[n:].view(d, m, width)
            self.layers.append(
                HiddenLayer(rows, values, tangents, values[:m], slope, slope[:m], sigmoid, second, directions)
            )
        self.gradient = x.new_empty(n + d * m if m else 0, n_out)
        self.gradient_of_values, self.gradient_of_tangents = self.gradient[:n], self.gradient[n:].view(d, -1, n_out)
        self.one = x.new_ones(())


class Workspaces:
    """The workspaces of a network that no pass uses at the moment, by the shape of the pass.

    A forward pass takes one, and its backward pass gives it back. So any number of forward passes can be outstanding,
    and no memory is allocated from one step to the next. A copied or pickled network starts without any.
    """

    def __init__(self) -> None:
        self._free: dict[tuple[Any, ...], list[Workspace]] = {}

    def take(self, x: Tensor, m: int, layers: Sequence[tuple[Parameter, Parameter]]) -> Workspace:
        """Return a workspace for (n, d) inputs and tangents at m of them."""
        free = self._free.get((x.shape, m, x.dtype, x.device))
        return free.pop() if free else Workspace(x, m, [len(bias) for _, bias in layers])

    def give_back(self, x: Tensor, m: int, workspace: Workspace) -> None:
        """Let a later pass overwrite this one."""
        self._free.setdefault((x.shape, m, x.dtype, x.device), []).append(workspace)

    def clear(self) -> None:
        """Free the memory of all workspaces that no pass uses."""
        self._free.clear()

    def __reduce__(self) -> tuple[type[Workspaces], tuple[()]]:
        return Workspaces, ()


class Network(NamedTuple):
    """A map x ↦ W x + f(x), with a multilayer perceptron f."""

    linear: Parameter
    """W"""
    layers: Sequence[tuple[Parameter, Parameter]]
    """Weight and bias of each layer of f."""
    activation: str
    workspaces: Workspaces


def fused_pass(network: Network, x: Tensor, m: int) -> tuple[Tensor, Tensor]:
    r"""Map (n, d) inputs to (n, D) values, and return the (d, m, D) derivatives at the first m of them.

    `ResidualMlp.jet`, followed by autograd, is the reference. This takes half the time: every elementwise operation
    works in place while its operand is in the cache, values and tangents share their matrix products, and no
    intermediate result is allocated anew.

    ``backward()`` adds the gradients of the parameters to their ``grad`` directly. As inputs of the function, each of
    them would cost a node of the graph, and all of them a tenth of the time of a step. `torch.autograd.grad` therefore
    finds no gradients for them. The pass can be differentiated once.

    The gradients R of a layer's values and :math:`R_a` of its tangents :math:`T_a = \varphi' \odot P_a` follow from
    those of the layer above, Q, with the slopes φ′ and the second derivatives φ″ of the activation:

    .. math:: R = \varphi' \odot Q W + \varphi'' \odot \sum_a P_a \odot Q_a W, \quad R_a = \varphi' \odot Q_a W
    """
    # the weight makes the results part of the graph, whether or not the inputs are
    return _FusedPass.apply(x, network.linear, m, network)  # type: ignore[no-untyped-call]  # torch does not annotate it


class _FusedPass(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        _linear: Tensor,
        m: int,
        network: Network,
    ) -> tuple[Tensor, Tensor]:
        linear, layers, activation, workspaces = network
        n, d = x.shape
        workspace = workspaces.take(x, m, layers)
        rows = x
        for i, (hidden, (weight, bias)) in enumerate(zip(workspace.layers, layers, strict=False)):
            # the tangents of the inputs are the same at all points
            product(rows, weight.T, out=hidden.values if i == 0 else hidden.rows)
            hidden.values.add_(bias)
            if m and i:
                hidden.directions.copy_(hidden.tangents)
            elif m:
                hidden.directions[:] = weight.T[:, None]
            _activate(hidden, activation, workspace.one, has_tangents=m > 0)
            if m:
                torch.mul(hidden.slope_m, hidden.directions, out=hidden.tangents)
            rows = hidden.rows
        # the caller may keep the result for as long as it likes
        weight, bias = layers[-1]
        result = product(rows, weight.T)
        values = result[:n]
        if m and workspace.layers:
            tangents = result[n:].view(d, m, -1).add_(linear.T[:, None])
        else:
            # without hidden layers the tangents are the same at all points
            tangents = x.new_empty(d, m, len(linear))
            if m:
                tangents[:] = (weight + linear).T[:, None]
        values.add_(bias).addmm_(x, linear.T)
        ctx.save_for_backward(x)
        ctx.m, ctx.network, ctx.workspace = m, network, workspace
        ctx.set_materialize_grads(False)
        return values, tangents

    @staticmethod
    def backward(ctx: Any, to_values: Tensor | None, to_tangents: Tensor | None) -> tuple[Tensor | None, ...]:
        workspace, ctx.workspace = ctx.workspace, None
        if workspace is None or torch.is_grad_enabled():
            msg = "A fused pass can be differentiated once, and not twice; use `jet`, or call the network itself."
            raise RuntimeError(msg)
        (x,), m = ctx.saved_tensors, ctx.m
        linear, layers, _, workspaces = ctx.network
        n, d = x.shape
        if to_values is None:
            to_values = x.new_zeros(n, len(linear))
        if to_tangents is None:
            to_tangents = x.new_zeros(d, m, len(linear))
        _add_product(linear, to_values.T, x)
        above, along = to_values, to_tangents
        rows = to_values
        if m:
            _add(linear, to_tangents.sum(1).T)
            rows = workspace.gradient
            workspace.gradient_of_values.copy_(to_values)
            workspace.gradient_of_tangents.copy_(to_tangents)
        for hidden, (weight, bias) in zip(reversed(workspace.layers), reversed(layers), strict=False):
            _add_product(weight, rows.T, hidden.rows)
            _add_sum(bias, above)
            # in place of the layer, which is not read again
            rows, above, along = product(rows, weight, out=hidden.rows), hidden.values, hidden.tangents
            if m:
                bent = hidden.directions.mul_(along).sum(0).mul_(hidden.second)
                along.mul_(hidden.slope_m)
            above.mul_(hidden.slope)
            if m:
                hidden.values_m.add_(bent)
        weight, bias = layers[0]
        _add_product(weight, above.T, x)
        _add_sum(bias, above)
        if m:
            _add(weight, along.sum(1).T)
        to_x = product(above, weight).addmm_(to_values, linear) if ctx.needs_input_grad[0] else None
        workspaces.give_back(x, m, workspace)
        return to_x, None, None, None


def _add_product(p: Parameter, a: Tensor, b: Tensor) -> None:
    """Add a matrix product to the gradient of a parameter."""
    if p.grad is None:
        # in the order of the parameter in memory, which autograd expects of a gradient
        room = gradient_room(p)
        p.grad = product(a, b, out=torch.empty_like(p) if room is None else room)
    else:
        p.grad.addmm_(a, b)


def _add(p: Parameter, gradient: Tensor) -> None:
    """Add to the gradient of a parameter, which has one already."""
    if p.grad is not None:
        p.grad.add_(gradient)


def _add_sum(p: Parameter, rows: Tensor) -> None:
    """Add a sum of rows to the gradient of a parameter."""
    if p.grad is None:
        p.grad = torch.sum(rows, 0, out=gradient_room(p))
    else:
        p.grad.add_(rows.sum(0))


def _activate(layer: HiddenLayer, activation: str, one: Tensor, *, has_tangents: bool) -> None:
    """Replace the values p of a layer by φ(p), and set its slopes φ′(p) and second derivatives φ″(p)."""
    p, slope, second = layer.values, layer.slope, layer.second
    if activation == "silu":
        # the closed forms of `scgeoae.nn.activations` in no more memory than the result
        torch.sigmoid(p, out=slope)
        if has_tangents:
            layer.sigmoid.copy_(layer.slope_m)
        p.mul_(slope)
        slope.lerp_(one, p)
        if has_tangents:
            torch.add(layer.slope_m, layer.sigmoid, out=second).addcmul_(layer.sigmoid, layer.slope_m, value=-2)
        return
    if has_tangents:
        second.copy_(DERIVATIVES[activation](layer.values_m, 2)[2])
    value, first = DERIVATIVES[activation](p, 1)
    slope.copy_(first)
    p.copy_(value)
