"""What comes before training: standardise, start at PCA, hold cells out, move to the device."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from sklearn.decomposition import PCA

from ..nn import Autoencoder
from .device import choose_device
from .standardize import standardize

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from .settings import Settings


class Prepared(NamedTuple):
    """A model at PCA and the cells, on the device to compute on."""

    model: Autoencoder
    x: Tensor
    """(n, D) standardised."""
    scale: float
    """Units of the representation in one of `x`."""
    principal: Tensor
    """(n, d) first principal components of `x`."""
    train: Tensor
    """Row numbers."""
    held_out: Tensor
    """Row numbers, none below 20 cells."""
    generator: torch.Generator
    """For the batches."""


def prepare(raw: NDArray, settings: Settings, device: str | torch.device) -> Prepared:
    """Prepare the fit to an (n, D) matrix of finite numbers.

    Raises
    ------
    ValueError
        If there are more components than features, or fewer cells than components + 2.
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
    device = choose_device(device)
    x, center, scale = standardize(raw)
    # sklearn fixes the signs of the axes; its own seed is fixed, so that every seed of ours
    # starts at the same map
    axes = PCA(d, random_state=0).fit(x).components_
    model = Autoencoder(n_features, d, hidden=settings.hidden, activation=settings.activation, generator=generator)
    model.start_at(center=torch.as_tensor(center), scale=torch.as_tensor(scale), axes=torch.as_tensor(axes))

    order = torch.randperm(n, generator=generator)
    n_held_out = min(n // 20, 1000)
    held_out, train = order[:n_held_out], order[n_held_out:]
    x = torch.from_numpy(x)
    if device.type == "cuda":
        x = x.pin_memory()
    x = x.to(device, non_blocking=True)
    model.to(device)
    principal = x @ model.encoder.linear.detach().T
    return Prepared(model, x, scale, principal, train.to(device), held_out.to(device), generator)
