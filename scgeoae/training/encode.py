"""Place cells on a map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .._matrix import blocks
from ..nn.activations import ACTIVATIONS, IN_PLACE

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from ..nn import Autoencoder

# Cells at a time, whose layers then stay in the cache: twice as fast as a block at once.
BATCH_SIZE = 4096


@torch.no_grad()
def encode(model: Autoencoder, raw: Any) -> NDArray[np.float32]:
    """Return the positions on the map, (n, d), of the cells of an (n, D) matrix in units of the representation.

    In any form that `scgeoae.training.fit` takes, block by block.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.training import Settings, encode, fit
    >>> raw = np.random.default_rng(0).normal(size=(100, 5))
    >>> fitted = fit(raw, Settings(n_steps=10, refine=False))
    >>> bool(np.allclose(encode(fitted.model, raw), fitted.embedding, atol=1e-4))
    True
    """
    z = np.empty((raw.shape[0], model.n_components), dtype=np.float32)
    device = model.center.device
    place = _placer(model)
    for start, block in blocks(raw):
        cells = torch.from_numpy(np.ascontiguousarray(block, dtype=np.float32))
        if device.type == "cuda":
            cells = cells.pin_memory()
        placed = torch.empty(len(block), model.n_components, dtype=torch.float32, device=device)
        parts = zip(cells.to(device, non_blocking=True).split(BATCH_SIZE), placed.split(BATCH_SIZE), strict=True)
        for part, out in parts:
            place(part, out)
        z[start : start + len(block)] = placed.cpu()
    return z


def _placer(model: Autoencoder) -> Callable[[Tensor, Tensor], None]:
    """Return a function that does what `Autoencoder.encode` does, into a given tensor.

    Scale and frame are folded into the weights, and layers have their room once: what is beside the matrix products
    would else take as long as these. The centre is not folded: a small variation on a large offset would drown.
    """
    network, activation = model.encoder.bend, model.activation
    to_map = model.rotation * model.unit
    # from here on rows are inputs
    weights, biases = [weight.T for weight in network.weights], list(network.biases)
    weights[0] = weights[0] / model.scale
    weights[-1], biases[-1] = weights[-1] @ to_map, (biases[-1] - model.origin) @ to_map
    linear = model.encoder.linear.T @ to_map / model.scale
    rooms = [model.center.new_empty(BATCH_SIZE, len(weight)) for weight in weights]
    in_place = {"inplace": True} if activation in IN_PLACE else {}

    def place(x: Tensor, out: Tensor) -> None:
        n = len(x)
        x = h = torch.sub(x, model.center, out=rooms[0][:n])
        for weight, bias, room in zip(weights[:-1], biases[:-1], rooms[1:], strict=True):
            h = ACTIVATIONS[activation](torch.mm(h, weight, out=room[:n]).add_(bias), **in_place)
        torch.mm(h, weights[-1], out=out).addmm_(x, linear).add_(biases[-1])

    return place
