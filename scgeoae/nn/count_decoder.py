"""The decoder of a model of counts, taken out of it: a chain of layers that needs no scvi-tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import nn

from ..geometry.ambient import Ambient
from ..geometry.fisher import fisher_metric
from ..geometry.forward import forward_jacobian
from ..geometry.jet import Jet
from .framed import Framed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


class LayerNorm(nn.Module):
    """Layer normalisation without weights, written out.

    That of torch loses what follows a forward derivative: neither its second derivatives nor the gradient of its
    Jacobian are right.
    """

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Return each row with mean 0 and variance 1."""
        centered = x - x.mean(-1, keepdim=True)
        return centered / (centered.square().mean(-1, keepdim=True) + self.eps).sqrt()


LAYERS: dict[str, Any] = {
    "layer_norm": LayerNorm,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
    "softmax": lambda: nn.Softmax(dim=-1),
}
"""What may stand beside ``"linear"``, which has a size."""


class CountDecoder(Framed):
    r"""Decode positions to log1p of normalised mean expression, :math:`\log(1 + s \rho(z))`.

    At one set of covariates, those that it was taken out at. `decode`, `jet`, `jacobian` and `metric` take and give
    units of the map and of the representation, as those of `Autoencoder`. There is no `encode`: the encoder takes
    counts, and stays with its model.

    Parameters
    ----------
    layers
        Kinds of the layers from latent space to ρ, such as ``("linear", "relu", "linear", "softmax")``.
    sizes
        (inputs, outputs) of each linear layer in turn.
    library_size
        Counts s that expression is normalised to.
    fisher
        Measure lengths by the Fisher metric of counts of the buffer `dispersion`, instead of by the Euclidean one.

    Examples
    --------
    >>> import torch
    >>> from scgeoae.nn import CountDecoder
    >>> decoder = CountDecoder(("linear", "relu", "linear", "softmax"), [(2, 8), (8, 100)], library_size=1e4)
    >>> decoder.jacobian(torch.zeros(1, 2)).shape
    torch.Size([1, 100, 2])
    """

    def __init__(
        self, layers: Sequence[str], sizes: Sequence[tuple[int, int]], *, library_size: float, fisher: bool = False
    ) -> None:
        super().__init__(sizes[0][0])
        self.kinds = tuple(layers)
        self.sizes = [tuple(size) for size in sizes]
        self.n_features = self.sizes[-1][1]
        self.library_size = library_size
        self.fisher = fisher
        self.register_buffer("dispersion", torch.zeros(self.n_features))
        if fisher:
            self.ambient = Ambient(lambda x: fisher_metric(x, self.dispersion))
        remaining = iter(self.sizes)
        self.network = nn.Sequential(
            *(nn.Linear(*next(remaining)) if kind == "linear" else LAYERS[kind]() for kind in self.kinds)
        )
        self.float()

    def decode(self, z: Tensor) -> Tensor:
        """Map (n, d) positions to (n, D) points of the representation."""
        return (self.library_size * self.network(self.to_latent(z))).log1p()

    def jet(self, z: Tensor, *, order: int = 1) -> Jet:
        """Return `decode` and its derivatives up to `order` (1 or 2) at (n, d) positions."""
        z = self._points(z, self.n_components, "z", may_be_one=False)
        values, first = forward_jacobian(self.decode, z)
        if order == 1:
            return Jet(values, first)
        _, second = forward_jacobian(lambda at: forward_jacobian(self.decode, at)[1].flatten(1), z)
        return Jet(values, first, second.unflatten(1, first.shape[1:]))

    def encoder_metric(self, x: Tensor) -> NoReturn:
        """Say that there is none."""
        del x
        msg = "A map of counts has the metric of its decoder only, side='decoder': its encoder stays with its model."
        raise ValueError(msg)
