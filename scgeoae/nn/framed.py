"""A decoder whose latent space lies on a map: what is common to those of ours and of others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from .._runtime import compute_in_forks
from ..geometry.metric import pullback

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from ..geometry.ambient import Ambient
    from ..geometry.frame import Frame
    from ..geometry.jet import Jet
    from .genes import Genes


class Framed(nn.Module):
    """A module that knows how its latent space of d dimensions lies on the map: by a similarity.

    Its methods take tensors or arrays, of any type of real numbers, and compute in the type of the weights, on their
    device.

    Who derives from it gives `jet`, the decoder and its derivatives at positions on the map, in units of the
    representation; the Jacobian and the metric are made of that.

    `ambient` is the metric of the representation by which lengths are measured, `None` for the Euclidean one, and
    `genes` what is known of the genes behind it, `None` if there are none.

    Parameters
    ----------
    n_components
        Number d of dimensions of the map.
    """

    def __init__(self, n_components: int) -> None:
        super().__init__()
        compute_in_forks()
        self.n_components = n_components
        self.register_buffer("unit", torch.ones(()))
        self.register_buffer("origin", torch.zeros(n_components))
        self.register_buffer("rotation", torch.eye(n_components))
        self.ambient: Ambient | None = None
        self.genes: Genes | None = None

    @torch.no_grad()
    def set_frame(self, frame: Frame) -> Framed:
        """Set how latent space lies on the map; return self."""
        self.unit.copy_(frame.unit)
        self.origin.copy_(frame.origin)
        self.rotation.copy_(frame.rotation)
        return self

    @property
    def step(self) -> Tensor:
        """What one step on the map is in latent space, (d, d)."""
        return self.rotation / self.unit

    def to_map(self, latent: Tensor) -> Tensor:
        """Place (n, d) latent coordinates on the map."""
        return self.unit * ((latent - self.origin) @ self.rotation)

    def to_latent(self, z: Tensor) -> Tensor:
        """Return the latent coordinates of (n, d) positions on the map."""
        return (self._points(z, self.n_components, "z") / self.unit) @ self.rotation.T + self.origin

    def _points(self, values: Any, n_columns: int, name: str, *, may_be_one: bool = True) -> Tensor:
        """Return what a caller gave for (n, n_columns) numbers as a tensor of the type of the weights.

        Raises
        ------
        TypeError
            If these are no real numbers.
        ValueError
            If they are of another shape.
        """
        if not isinstance(values, torch.Tensor):
            array = np.array(values)
            if array.dtype.kind not in "biuf":
                msg = f"Expected `{name}` to be a tensor or an array of real numbers, found a {type(values).__name__}."
                raise TypeError(msg)
            values = torch.from_numpy(array.astype(np.float64, order="C"))
        # one point alone is what torch.func.vmap passes
        if values.ndim not in ((1, 2) if may_be_one else (2,)) or values.shape[-1] != n_columns:
            msg = f"Expected `{name}` to be of shape (n, {n_columns}), found {tuple(values.shape)}."
            raise ValueError(msg)
        return values.to(self.unit)

    def jet(self, z: Tensor, *, order: int = 1) -> Jet:
        """Return the decoder and its derivatives up to `order` (1 or 2) at (n, d) positions."""
        raise NotImplementedError

    def jacobian(self, z: Tensor) -> Tensor:
        """Return the derivative A of `decode` at (n, d) positions, (n, D, d)."""
        return self.jet(z).first

    def metric(self, z: Tensor) -> Tensor:
        """Return the metric G = AᵀHA that the decoder pulls back to (n, d) positions, (n, d, d)."""
        jet = self.jet(z)
        return pullback(jet.first, self.ambient, jet.values)

    def encoder_metric(self, x: Tensor) -> Tensor:
        """Return the metric that the encoder pushes forward from (n, D) cells, (n, d, d)."""
        raise NotImplementedError

    def metric_of(self, side: str, z: Tensor) -> Tensor:
        """Return the metric of the ``"decoder"`` or the ``"encoder"`` at (n, d) positions, (n, d, d).

        That of the encoder is pushed forward from the decoded points.
        """
        return self.metric(z) if side == "decoder" else self.encoder_metric(self.jet(z).values)

    def save(self, path: str | Path) -> None:
        """Write the model to a safetensors file; see `scgeoae.nn.save`."""
        from .file import save

        save(self, path)
