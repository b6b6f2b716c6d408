"""Smooth activations that know their derivatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def _silu(p: Tensor, order: int) -> tuple[Tensor, ...]:
    s = torch.sigmoid(p)
    value = p * s
    # s + (1 − s)φ; the further derivatives follow by the product rule
    slope = torch.lerp(s, torch.ones_like(s[..., :1]), value)
    if order == 1:
        return value, slope
    bend = torch.addcmul(s + slope, s, slope, value=-2)
    if order == 2:
        return value, slope, bend
    s1 = s * (1 - s)
    return value, slope, bend, bend * (1 - 2 * s) + s1 * (1 - 2 * slope)


def _elu(p: Tensor, order: int) -> tuple[Tensor, ...]:
    positive = p > 0
    exp = p.clamp(max=0).exp()
    bend = torch.where(positive, 0.0, exp)
    return (torch.where(positive, p, exp - 1), exp, bend, bend)[: order + 1]


def _tanh(p: Tensor, order: int) -> tuple[Tensor, ...]:
    t = torch.tanh(p)
    slope = 1 - t * t
    return (t, slope, -2 * t * slope, slope * (6 * t * t - 2))[: order + 1]


def _softplus(p: Tensor, order: int) -> tuple[Tensor, ...]:
    s = torch.sigmoid(p)
    bend = s * (1 - s)
    return (functional.softplus(p), s, bend, bend * (1 - 2 * s))[: order + 1]


DERIVATIVES: dict[str, Callable[[Tensor, int], tuple[Tensor, ...]]] = {
    "silu": _silu,
    "elu": _elu,
    "tanh": _tanh,
    "softplus": _softplus,
}
"""Name to a function of (p, order) that returns φ(p), φ′(p), … up to φ^(order), order 1 to 3."""

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "elu": functional.elu,
    "tanh": torch.tanh,
    "softplus": functional.softplus,
}
"""Name to the function itself."""

IN_PLACE = {"silu", "elu"}
"""Names of the activations that take ``inplace=True``."""


class _Derivatives(torch.autograd.Function):
    # Autograd through the closed forms would cost some ten kernels a layer. The derivative of φ^(k) is φ^(k+1), so the
    # backward pass needs only one more closed form.
    @staticmethod
    def forward(ctx: Any, p: Tensor, name: str, order: int) -> tuple[Tensor, ...]:
        *values, beyond = DERIVATIVES[name](p, order + 1)
        ctx.save_for_backward(*values[1:], beyond)
        return tuple(values)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        slopes = ctx.saved_tensors
        total = grads[0] * slopes[0]
        for grad, slope in zip(grads[1:], slopes[1:], strict=True):
            total = torch.addcmul(total, grad, slope)
        return total, None, None


def derivatives(name: str, p: Tensor, order: int) -> tuple[Tensor, ...]:
    """Return φ(p) and its derivatives up to `order` (1 or 2), which can be differentiated once."""
    if not torch.is_grad_enabled():
        return DERIVATIVES[name](p, order)
    return _Derivatives.apply(p, name, order)  # type: ignore[no-untyped-call]  # torch does not annotate it
