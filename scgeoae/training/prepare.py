"""What comes before training: standardise, draw the cells to train on, start at PCA, move to the device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from sklearn.decomposition import PCA

from ..nn import Autoencoder
from .survey import survey

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from .settings import Settings
    from .survey import Survey

# Cells that training draws its batches from, besides those held out. A default run looks at some 300,000 cells, of
# fewer several times: with more of them it learns no better, and needs more memory (docs/speed.md).
MAX_SAMPLED = 100_000


class Prepared(NamedTuple):
    """A model at PCA and cells to train it on, on the device to compute on."""

    model: Autoencoder
    standardization: Survey
    rows: NDArray[np.integer]
    """(m,) which cells these are, in ascending order."""
    x: Tensor
    """(m, D) standardised."""
    axes: Tensor
    """(d, D) first principal axes of `x`."""
    train: Tensor
    """Rows of `x`."""
    held_out: Tensor
    """Rows of `x`, none below 20 cells."""
    generator: torch.Generator
    """For the batches."""

    @property
    def principal(self) -> Tensor:
        """(m, d) first principal components of `x`."""
        return self.x @ self.axes.T


def prepare(raw: Any, settings: Settings, device: torch.device, *, name: str = "the matrix") -> Prepared:
    """Prepare the fit to an (n, D) matrix, of which there are `blocks`; `name` is what a message calls it.

    Raises
    ------
    ValueError
        If there are more components than features, fewer cells than components + 2, NaN or infinite values, or
        if all cells are equal.
    """
    d = settings.n_components
    n, n_features = raw.shape
    if d > n_features:
        msg = f"Expected `n_components` to be at most {n_features}, the number of features, found {d}."
        raise ValueError(msg)
    if n < d + 2:
        msg = f"A map of {d} dimensions needs at least {d + 2} cells, found {n}."
        raise ValueError(msg)
    generator = torch.Generator().manual_seed(settings.seed)
    order = torch.randperm(n, generator=generator)
    n_held_out = min(n // 20, 1000)
    drawn = order[: n_held_out + MAX_SAMPLED]
    rows, where = drawn.sort()
    held_out, train = where.argsort().split([n_held_out, len(drawn) - n_held_out])
    found = survey(raw, rows.numpy(), name=name)

    # sklearn fixes the signs of the axes; its own seed is fixed, so that every seed of ours
    # starts at the same map
    axes = torch.as_tensor(PCA(d, random_state=0).fit(found.x).components_)
    model = Autoencoder(n_features, d, hidden=settings.hidden, activation=settings.activation, generator=generator)
    model.start_at(center=torch.as_tensor(found.center), scale=torch.as_tensor(found.scale), axes=axes)
    x = torch.from_numpy(found.x)
    if device.type == "cuda":
        x = x.pin_memory()
    x = x.to(device, non_blocking=True)
    model.to(device)
    return Prepared(model, found, rows.numpy(), x, axes.to(x), train.to(device), held_out.to(device), generator)
