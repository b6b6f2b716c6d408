"""What training minimises."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..geometry.metric import pullback

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from ..nn import Autoencoder


class Loss(NamedTuple):
    """The loss and its parts, each a scalar tensor."""

    total: Tensor
    reconstruction: Tensor
    """Mean squared error of the standardised representation."""
    regularizer: Tensor
    """The regulariser before it is weighted."""


def loss(
    model: Autoencoder,
    x: Tensor,
    *,
    regularizer: Callable[[Tensor], Tensor] | None,
    strength: float,
    at: Tensor | None = None,
) -> Loss:
    """Return the loss on the (n, D) standardised cells `x`.

    The regulariser is evaluated at the codes of the cells `at`, by default of `x`.
    """
    z = model.encoder(x)
    if regularizer is None:
        error = (model.decoder(z) - x).square().mean()
        return Loss(error, error, error.new_zeros(()))
    if at is None:
        values, jacobian, _ = model.decoder.jet(z)
    else:
        values, jacobian = model.decoder(z), model.decoder.jet(model.encoder(at)).first
    error = (values - x).square().mean()
    penalty = regularizer(pullback(jacobian))
    return Loss(error + strength * penalty, error, penalty)
