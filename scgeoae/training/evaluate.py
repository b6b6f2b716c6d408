"""One pass over all cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from ..geometry.metric import cometric, inverse

if TYPE_CHECKING:
    from torch import Tensor

    from ..nn import Autoencoder


class Evaluation(NamedTuple):
    """What a model says of n cells, in latent space and standardised units."""

    latent: Tensor
    """(n, d) codes."""
    metric: Tensor
    """(n, d, d) metric tensors of the decoder at the codes, or at the given ones."""
    encoder_metric: Tensor
    """(n, d, d) metric tensors that the encoder pushes forward."""
    error: Tensor
    """(n,) mean squared error over the features."""


@torch.no_grad()
def evaluate(model: Autoencoder, x: Tensor, *, codes: Tensor | None = None, batch_size: int = 4096) -> Evaluation:
    """Encode the (n, D) standardised cells `x` and evaluate both networks there.

    The decoder starts at the (n, d) `codes` if they are given, else at those of the encoder.
    """
    parts = []
    for start in range(0, len(x), batch_size):
        chunk = x[start : start + batch_size]
        rows = model.encoder.rows(chunk)
        jet = model.decoder.jet(rows.values if codes is None else codes[start : start + batch_size])
        pushed = inverse(cometric(rows.first, model.ambient, model.restore(chunk)))
        parts.append((rows.values, model.pullback(jet), pushed, (jet.values - chunk).square().mean(1)))
    return Evaluation(*(torch.cat(part) for part in zip(*parts, strict=True)))
