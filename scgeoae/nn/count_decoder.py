"""The decoder of a count model as a chain of layers, independent of scvi-tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch
from torch import nn

from ..geometry.ambient import Ambient, fisher_metric
from ..geometry.jet import Jet, forward_jacobian
from .map_decoder import MapDecoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike
    from torch import Tensor


class LayerNorm(nn.Module):
    """Layer normalization without weights, written out.

    After a forward derivative torch's own layer normalization gives wrong second derivatives, and a wrong gradient of
    the Jacobian.
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
"""Layers without a size, by name."""


class CountDecoder(MapDecoder):
    r"""Decode positions to log1p of normalized mean expression, :math:`\log(1 + s \rho(z))`.

    It holds one set of covariates. There is no `encode`: the encoder takes counts, and stays with its model.

    Parameters
    ----------
    layers
        Kinds of the layers from latent space to ρ, such as ``("linear", "relu", "linear", "softmax")``.
    sizes
        (inputs, outputs) of each linear layer in turn.
    library_size
        Total counts s that expression is normalized to.
    fisher
        Measure lengths by the Fisher metric of counts, with the dispersions in the buffer `dispersion`, instead of the
        Euclidean metric.

    Examples
    --------
    >>> import torch
    >>> from scgeoae.nn import CountDecoder
    >>> decoder = CountDecoder(("linear", "relu", "linear", "softmax"), [(2, 8), (8, 100)], library_size=1e4)
    >>> decoder.jacobian(torch.zeros(1, 2)).shape
    torch.Size([1, 100, 2])
    """

    dispersion: Tensor

    def __init__(
        self, layers: Sequence[str], sizes: Sequence[tuple[int, int]], *, library_size: float, fisher: bool = False
    ) -> None:
        super().__init__(sizes[0][0])
        self.kinds = tuple(layers)
        self.sizes = list(sizes)
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

    def decode(self, z: ArrayLike | Tensor) -> Tensor:
        """Map (n, d) positions to (n, D) points of the representation."""
        return (self.library_size * self.network(self.to_latent(z))).log1p()

    def jet(self, z: ArrayLike | Tensor, *, order: int = 1) -> Jet:
        """Return `decode` and its derivatives up to `order` (1 or 2) at (n, d) positions."""
        z = self._points(z, self.n_components, "z", may_be_one=False)
        values, first = forward_jacobian(self.decode, z)
        if order == 1:
            return Jet(values, first)
        _, second = forward_jacobian(lambda at: forward_jacobian(self.decode, at)[1].flatten(1), z)
        return Jet(values, first, second.unflatten(1, first.shape[1:]))

    def encoder_metric(self, x: ArrayLike | Tensor) -> NoReturn:
        """Raise, because the encoder is not here."""
        del x
        msg = "A map of counts has the metric of its decoder only, side='decoder': its encoder stays with its model."
        raise ValueError(msg)

    def to_arrays(self) -> dict[str, Any]:
        """Take the model apart into plain arrays, which any h5ad, zarr or safetensors file can hold."""
        return super().to_arrays() | {
            "format": 2,
            "layers": " ".join(self.kinds),
            "sizes": np.array(self.sizes, dtype=np.int64),
            "library_size": float(self.library_size),
            "fisher": self.fisher,
        }
