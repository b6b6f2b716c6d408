"""Place further cells on a map, and say what it does to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from .._matrix import blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..nn import Autoencoder

# Cells at a time, whose layers then fit into the cache
BATCH_SIZE = 1024


class Placement(NamedTuple):
    """What a model says of n cells, in units of the representation and of the map."""

    embedding: NDArray[np.float32]
    """(n, d)"""
    metric: NDArray[np.float32]
    """(n, d, d) metric tensors of the decoder there."""
    encoder_metric: NDArray[np.float32]
    """(n, d, d) metric tensors that the encoder pushes forward from the cells."""
    error: NDArray[np.float32]
    """(n,) squared distance between each cell and its reconstruction."""


@torch.no_grad()
def placement(model: Autoencoder, raw: Any, *, positions: NDArray[np.float32] | None = None) -> Placement:
    """Encode the (n, D) cells of a matrix, block by block, and evaluate both networks there.

    With (n, d) `positions` the decoder is evaluated at these.

    In any form that `scgeoae.training.fit` takes.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.training import Settings, fit, placement
    >>> raw = np.random.default_rng(0).normal(size=(100, 5))
    >>> fitted = fit(raw, Settings(n_steps=10, refine=False))
    >>> bool(np.allclose(placement(fitted.model, raw).metric, fitted.metric, rtol=1e-3))
    True
    """
    parts = []
    for start, block in blocks(raw):
        cells = torch.from_numpy(np.ascontiguousarray(block, dtype=np.float32))
        for first in range(0, len(cells), BATCH_SIZE):
            x = cells[first : first + BATCH_SIZE]
            at = start + first
            z = model.encode(x) if positions is None else torch.from_numpy(positions[at : at + len(x)])
            error = (model.decode(z) - x).square().sum(1)
            parts.append((z, model.metric(z), model.encoder_metric(x), error))
    return Placement(*(torch.cat(part).numpy() for part in zip(*parts, strict=True)))
