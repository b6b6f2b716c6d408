"""The geometric autoencoder: PCA, bent by two networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..geometry.jet import Jet
from ..geometry.metric import cometric, inverse, pullback
from .framed import Framed
from .residual import ResidualMlp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


class Autoencoder(Framed):
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

    def standardize(self, x: Tensor) -> Tensor:
        """Bring (n, D) points of the representation to the units in which the networks work."""
        return (self._points(x, self.n_features, "x") - self.center) / self.scale

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
        z = self._points(z, self.n_components, "z", may_be_one=False)
        latent = self.decoder.jet(self.to_latent(z), order=order)
        second = latent.second
        if second is not None:
            second = self.scale * (self.step.T @ second @ self.step)
        return Jet(self.restore(latent.values), self.scale * (latent.first @ self.step), second)

    def encoder_jacobian(self, x: Tensor) -> Tensor:
        """Return the derivative B of `encode` at (n, D) cells, (n, d, D)."""
        x = self._points(x, self.n_features, "x", may_be_one=False)
        return self.unit / self.scale * (self.rotation.T @ self.encoder.rows(self.standardize(x)).first)

    def encoder_metric(self, x: Tensor) -> Tensor:
        """Return the metric P = (BH⁻¹Bᵀ)⁻¹ that the encoder pushes forward from (n, D) cells, (n, d, d).

        A cell off the manifold of the decoder has its own, that of the projection through it.
        """
        return inverse(cometric(self.encoder_jacobian(x), self.ambient, x))

    def pullback(self, jet: Jet) -> Tensor:
        """Return the metric, (n, d, d), of a `jet` of the network `decoder`, in its own units."""
        return pullback(jet.first, self.ambient, self.restore(jet.values))
