"""Place cells on a map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .blocks import blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..nn import Autoencoder

# Cells at a time, whose layers then stay in the cache: twice as fast as a block at once.
BATCH_SIZE = 2048


@torch.no_grad()
def encode(model: Autoencoder, raw: Any) -> NDArray[np.float32]:
    """Return the positions on the map, (n, d), of the cells of an (n, D) matrix in units of the representation.

    In any form that `scgeoae.training.fit` takes, block by block.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.training import Settings, encode, fit
    >>> raw = np.random.default_rng(0).normal(size=(100, 5))
    >>> fitted = fit(raw, Settings(n_steps=10))
    >>> bool(np.allclose(encode(fitted.model, raw), fitted.embedding, atol=1e-4))
    True
    """
    z = np.empty((raw.shape[0], model.n_components), dtype=np.float32)
    device = model.center.device
    for start, block in blocks(raw):
        cells = torch.from_numpy(np.ascontiguousarray(block, dtype=np.float32))
        if device.type == "cuda":
            cells = cells.pin_memory()
        parts = [model.encode(part) for part in cells.to(device, non_blocking=True).split(BATCH_SIZE)]
        z[start : start + len(block)] = torch.cat(parts).cpu()
    return z
