"""The geometric autoencoder: PCA plus two residual networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from ..geometry.jet import Jet
from ..geometry.metric import cometric, inverse, pullback
from .map_decoder import MapDecoder
from .mlp import ResidualMlp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike
    from torch import Tensor


class Autoencoder(MapDecoder):
    r"""Map cells to a low-dimensional embedding and back; before training, this is PCA.

    Encoder and decoder are :math:`E(x) = W^\top x + e(x)` and :math:`D(z) = W z + f(z)` on the standardized
    representation, with W the first principal axes and e, f networks whose last layer starts at zero. Training
    therefore starts at an isometry whose encoder is its pseudo-inverse.

    All methods take and give the units of the representation and of the map. The networks `encoder` and `decoder`
    themselves map between the standardized representation and latent space, as training does.

    Parameters
    ----------
    n_features
        Number D of features of the representation.
    n_components
        Number d of dimensions of the map.
    hidden
        Widths of the hidden layers of the encoder; the decoder has them in reverse order.
    activation
        One of ``"silu"``, ``"elu"``, ``"tanh"``, ``"softplus"``.
    generator
        Source of the initial weights.

    Examples
    --------
    >>> import torch
    >>> from scgeoae.nn import Autoencoder
    >>> model = Autoencoder(50, 2).start_at(center=torch.zeros(50), scale=torch.tensor(3.0), axes=torch.eye(50)[:2])
    >>> model.metric(torch.zeros(1, 2)).tolist()
    [[[1.0, 0.0], [0.0, 1.0]]]
    """

    center: Tensor
    scale: Tensor

    def __init__(
        self,
        n_features: int,
        n_components: int = 2,
        *,
        hidden: Sequence[int] = (128, 128),
        activation: str = "silu",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(n_components)
        self.n_features = n_features
        self.hidden = tuple(hidden)
        self.activation = activation
        self.encoder = ResidualMlp(
            n_features, n_components, hidden=self.hidden, activation=activation, generator=generator
        )
        self.decoder = ResidualMlp(
            n_components, n_features, hidden=self.hidden[::-1], activation=activation, generator=generator
        )
        self.register_buffer("center", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(()))
        self.float()  # whatever torch's default type is

    @torch.no_grad()
    def start_at(self, *, center: Tensor, scale: Tensor, axes: Tensor) -> Self:
        """Set the standardization (x − center)/scale and the (d, D) principal axes; return self.

        The map is then the projection on the axes, in units of the representation.
        """
        self.center.copy_(center)
        self.scale.copy_(scale)
        self.unit.copy_(scale)
        self.encoder.linear.copy_(axes)
        self.decoder.linear.copy_(axes.T)
        return self

    def standardize(self, x: ArrayLike | Tensor) -> Tensor:
        """Standardize (n, D) points of the representation, as the networks take them."""
        return (self._points(x, self.n_features, "x") - self.center) / self.scale

    def restore(self, x: Tensor) -> Tensor:
        """Bring (n, D) standardized points back to the units of the representation."""
        return x * self.scale + self.center

    def encode(self, x: ArrayLike | Tensor) -> Tensor:
        """Map (n, D) cells to their (n, d) positions on the map."""
        return self.to_map(self.encoder(self.standardize(x)))

    def decode(self, z: ArrayLike | Tensor) -> Tensor:
        """Map (n, d) positions to (n, D) points of the representation."""
        return self.restore(self.decoder(self.to_latent(z)))

    def jet(self, z: ArrayLike | Tensor, *, order: int = 1) -> Jet:
        """Return `decode` and its derivatives up to `order` (1 or 2) at (n, d) positions."""
        z = self._points(z, self.n_components, "z", may_be_one=False)
        latent = self.decoder.jet(self.to_latent(z), order=order)
        second = latent.second
        if second is not None:
            second = self.scale * (self.step.T @ second @ self.step)
        return Jet(self.restore(latent.values), self.scale * (latent.first @ self.step), second)

    def encoder_jacobian(self, x: ArrayLike | Tensor) -> Tensor:
        """Return the derivative B of `encode` at (n, D) cells, (n, d, D)."""
        x = self._points(x, self.n_features, "x", may_be_one=False)
        return self.unit / self.scale * (self.rotation.T @ self.encoder.rows(self.standardize(x)).first)

    def encoder_metric(self, x: ArrayLike | Tensor) -> Tensor:
        """Return the metric P = (BH⁻¹Bᵀ)⁻¹ that the encoder pushes forward from (n, D) cells, (n, d, d).

        For a cell off the decoder's manifold it is the metric of the projection at that cell.
        """
        x = self._points(x, self.n_features, "x", may_be_one=False)
        return inverse(cometric(self.encoder_jacobian(x), self.ambient, x))

    def pullback(self, jet: Jet) -> Tensor:
        """Return the metric, (n, d, d), of a `jet` of the network `decoder`, in latent units."""
        return pullback(jet.first, self.ambient, self.restore(jet.values))

    def to_arrays(self) -> dict[str, Any]:
        """Take the model apart into plain arrays, which any h5ad, zarr or safetensors file can hold."""
        arrays = super().to_arrays() | {
            "format": 1,
            "n_features": self.n_features,
            "n_components": self.n_components,
            "hidden": np.array(self.hidden, dtype=np.int64),
            "activation": self.activation,
        }
        if self.ambient is not None:
            # a function is stored by its name
            tensor = self.ambient.tensor
            arrays["ambient"] = tensor.cpu().numpy().copy() if isinstance(tensor, torch.Tensor) else self.ambient.name
        return arrays
