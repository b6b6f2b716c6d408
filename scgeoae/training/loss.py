"""What training minimises."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from ..geometry.regularizers import REGULARIZERS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from ..nn import Autoencoder


class Loss(NamedTuple):
    """The loss and its parts."""

    total: Tensor
    """()"""
    reconstruction: Tensor
    """() mean squared error of the standardised representation."""
    regularizers: Tensor
    """(k,) each before it is weighted, in the order of the weights."""


def loss(
    model: Autoencoder,
    x: Tensor,
    *,
    weights: Mapping[str, float],
    at: Tensor | None = None,
    sample: Callable[[Tensor], Tensor] | None = None,
) -> Loss:
    """Return the loss on the (n, D) standardised cells `x`.

    Parameters
    ----------
    model, x
        The model and its cells.
    weights
        Weight of each regulariser.
    at
        Cells at whose codes the regularisers are evaluated, by default `x`.
    sample
        Turns these codes into the latent points that are used instead of them.
    """
    z = model.encoder(x)
    if not weights:
        error = (model.decoder(z) - x).square().mean()
        return Loss(error, error, error.new_zeros(0))
    terms = [REGULARIZERS[name] for name in weights]
    order = max(term.order for term in terms)
    if at is None and sample is None:
        jet = model.decoder.jet(z, order=order)
        values = jet.values
    else:
        values = model.decoder(z)
        points = z if at is None else model.encoder(at)
        jet = model.decoder.jet(points if sample is None else sample(points), order=order)
    error = (values - x).square().mean()
    penalties = [term(jet) for term in terms]
    total = error + sum(weight * penalty for weight, penalty in zip(weights.values(), penalties, strict=True))
    return Loss(total, error, torch.stack(penalties))
