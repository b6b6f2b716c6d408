"""One pass over all cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from .._matrix import blocks
from ..geometry.metric import cometric, inverse

if TYPE_CHECKING:
    from torch import Tensor

    from .prepare import Prepared

# Cells at a time, whose layers then fit into the cache
BATCH_SIZE = 1024


class Evaluation(NamedTuple):
    """What a model says of n cells, in latent space and standardised units, on the CPU."""

    latent: Tensor
    """(n, d) codes."""
    metric: Tensor
    """(n, d, d) metric tensors of the decoder at the codes, or at the given ones."""
    encoder_metric: Tensor
    """(n, d, d) metric tensors that the encoder pushes forward."""
    error: Tensor
    """(n,) mean squared error over the features."""
    principal: Tensor
    """(n, d) first principal components."""


@torch.no_grad()
def evaluate(prepared: Prepared, raw: Any, *, codes: Tensor | None = None) -> Evaluation:
    """Encode all cells of the (n, D) matrix `raw`, block by block, and evaluate both networks there.

    The decoder starts at the (n, d) `codes` if they are given, else at those of the encoder.
    """
    model, device = prepared.model, prepared.x.device
    n, d = raw.shape[0], model.n_components
    shapes = {"latent": (n, d), "metric": (n, d, d), "encoder_metric": (n, d, d), "error": (n,), "principal": (n, d)}
    found = Evaluation(**{name: torch.empty(shape, dtype=torch.float32) for name, shape in shapes.items()})
    for start, block in blocks(raw):
        cells = torch.from_numpy(prepared.standardization.standardize(block))
        if device.type == "cuda":
            cells = cells.pin_memory()
        cells = cells.to(device, non_blocking=True)
        parts = []
        for first in range(0, len(cells), BATCH_SIZE):
            x = cells[first : first + BATCH_SIZE]
            rows = model.encoder.rows(x)
            at = start + first
            jet = model.decoder.jet(rows.values if codes is None else codes[at : at + len(x)].to(device))
            pushed = inverse(cometric(rows.first, model.ambient, model.restore(x)))
            error = (jet.values - x).square().mean(1)
            parts.append((rows.values, model.pullback(jet), pushed, error, x @ prepared.axes.T))
        for whole, part in zip(found, zip(*parts, strict=True), strict=True):
            whole[start : start + len(cells)] = torch.cat(part).cpu()
    return found
