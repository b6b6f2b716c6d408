"""The geometric autoencoder: PCA, bent by two networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from ..geometry.metric import cometric, inverse, pullback
from .mlp import Jet
from .residual import ResidualMlp

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from ..geometry.ambient import Ambient
    from ..geometry.frame import Frame


class Autoencoder(nn.Module):
    r"""An autoencoder that starts at PCA and speaks in the units of its data.

    Encoder and decoder are :math:`E(x) = W^\top x + e(x)` and :math:`D(z) = W z + f(z)` on the
    standardised representation, W the first principal axes and e, f networks whose last layer
    starts at zero. Training therefore starts at an isometry whose encoder is its
    pseudo-inverse, and bends from there.

    `encode`, `decode`, `jet`, `jacobian`, `metric` and their namesakes of the encoder take and give
    the units of the representation and of the map. The networks `encoder` and `decoder`
    themselves work between the standardised representation and latent space, as training does.

    `ambient` is the metric of the representation by which lengths are measured, `None` for the
    Euclidean one.

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

    def __init__(
        self,
        n_features: int,
        n_components: int = 2,
        *,
        hidden: Sequence[int] = (128, 128),
        activation: str = "silu",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.n_features = n_features
        self.n_components = n_components
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
        self.register_buffer("unit", torch.ones(()))
        self.register_buffer("origin", torch.zeros(n_components))
        self.register_buffer("rotation", torch.eye(n_components))
        self.ambient: Ambient | None = None
        self.float()  # whatever torch's default type is

    @torch.no_grad()
    def start_at(self, *, center: Tensor, scale: Tensor, axes: Tensor) -> Autoencoder:
        """Set the standardisation (x − center)/scale and the (d, D) principal axes; return self.

        The map is then the projection on the axes, in units of the representation.
        """
        self.center.copy_(center)
        self.scale.copy_(scale)
        self.unit.copy_(scale)
        self.encoder.linear.copy_(axes)
        self.decoder.linear.copy_(axes.T)
        return self

    @torch.no_grad()
    def set_frame(self, frame: Frame) -> Autoencoder:
        """Set how latent space lies on the map; return self."""
        self.unit.copy_(frame.unit)
        self.origin.copy_(frame.origin)
        self.rotation.copy_(frame.rotation)
        return self

    def to_map(self, latent: Tensor) -> Tensor:
        """Place (n, d) latent coordinates on the map."""
        return self.unit * ((latent - self.origin) @ self.rotation)

    def to_latent(self, z: Tensor) -> Tensor:
        """Return the latent coordinates of (n, d) positions on the map."""
        return (z / self.unit) @ self.rotation.T + self.origin

    def standardize(self, x: Tensor) -> Tensor:
        """Bring (n, D) points of the representation to the units in which the networks work."""
        return (x - self.center) / self.scale

    def restore(self, x: Tensor) -> Tensor:
        """Bring (n, D) standardised points back to the units of the representation."""
        return x * self.scale + self.center

    def encode(self, x: Tensor) -> Tensor:
        """Map (n, D) cells to their (n, d) positions on the map."""
        return self.to_map(self.encoder(self.standardize(x)))

    def decode(self, z: Tensor) -> Tensor:
        """Map (n, d) positions to (n, D) points of the representation."""
        return self.restore(self.decoder(self.to_latent(z)))

    def jet(self, z: Tensor, *, order: int = 1) -> Jet:
        """Return `decode` and its derivatives up to `order` (1 or 2) at (n, d) positions."""
        latent = self.decoder.jet(self.to_latent(z), order=order)
        # one step on the map is this step in latent space
        step = self.rotation / self.unit
        second = latent.second
        if second is not None:
            second = self.scale * (step.T @ second @ step)
        return Jet(self.restore(latent.values), self.scale * (latent.first @ step), second)

    def jacobian(self, z: Tensor) -> Tensor:
        """Return the derivative A of `decode` at (n, d) positions, (n, D, d)."""
        return self.jet(z).first

    def metric(self, z: Tensor) -> Tensor:
        """Return the metric G = AᵀHA that the decoder pulls back to (n, d) positions, (n, d, d)."""
        jet = self.jet(z)
        return pullback(jet.first, self.ambient, jet.values)

    def metric_of(self, side: str, z: Tensor) -> Tensor:
        """Return the metric of the ``"decoder"`` or the ``"encoder"`` at (n, d) positions, (n, d, d).

        That of the encoder is pushed forward from the decoded points.
        """
        return self.metric(z) if side == "decoder" else self.encoder_metric(self.decode(z))

    def encoder_jacobian(self, x: Tensor) -> Tensor:
        """Return the derivative B of `encode` at (n, D) cells, (n, d, D)."""
        return self.unit / self.scale * (self.rotation.T @ self.encoder.rows(self.standardize(x)).first)

    def encoder_metric(self, x: Tensor) -> Tensor:
        """Return the metric P = (BH⁻¹Bᵀ)⁻¹ that the encoder pushes forward from (n, D) cells, (n, d, d).

        A cell off the manifold of the decoder has its own, that of the projection through it.
        """
        return inverse(cometric(self.encoder_jacobian(x), self.ambient, x))

    def pullback(self, jet: Jet) -> Tensor:
        """Return the metric, (n, d, d), of a `jet` of the network `decoder`, in its own units."""
        return pullback(jet.first, self.ambient, self.restore(jet.values))

    def save(self, path: str | Path) -> None:
        """Write the model to a safetensors file; see `scgeoae.nn.save`."""
        from .file import save

        save(self, path)
