"""What all decoders of a map have in common: a chart, derivatives, a metric, and a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import nn

from .._runtime import compute_in_forks
from ..geometry.metric import pullback
from .file import write_arrays

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import ArrayLike
    from torch import Tensor

    from ..geometry.ambient import Ambient
    from ..geometry.chart import Chart
    from ..geometry.jet import Jet
    from .genes import Genes


class MapDecoder(nn.Module):
    """A decoder from positions on a map to points of the representation, with its Jacobian and metric.

    A chart, which is a similarity, relates positions on the map to the d latent coordinates that the networks use.
    Methods take tensors or arrays of any real type, and compute in the type and on the device of the weights.

    Subclasses provide `decode`, `jet` (the decoder and its derivatives at positions on the map, in units of the
    representation), and add to `to_arrays`; the Jacobian and the metric follow from the jet.

    `ambient` is the metric of the representation, `None` if it is Euclidean. `genes` describes the genes behind the
    representation, `None` if there are none.

    Parameters
    ----------
    n_components
        Number d of dimensions of the map.
    """

    n_features: int
    unit: Tensor
    origin: Tensor
    rotation: Tensor

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
    def set_chart(self, chart: Chart) -> Self:
        """Set how latent space lies on the map; return self."""
        self.unit.copy_(chart.unit)
        self.origin.copy_(chart.origin)
        self.rotation.copy_(chart.rotation)
        return self

    @property
    def step(self) -> Tensor:
        """The derivative of latent coordinates by positions on the map, (d, d)."""
        return self.rotation / self.unit

    def to_map(self, latent: Tensor) -> Tensor:
        """Place (n, d) latent coordinates on the map."""
        return self.unit * ((latent - self.origin) @ self.rotation)

    def to_latent(self, z: ArrayLike | Tensor) -> Tensor:
        """Return the latent coordinates of (n, d) positions on the map."""
        return (self._points(z, self.n_components, "z") / self.unit) @ self.rotation.T + self.origin

    def _points(self, values: Any, n_columns: int, name: str, *, may_be_one: bool = True) -> Tensor:
        """Return a caller's (n, n_columns) numbers as a tensor in the type of the weights.

        Raises
        ------
        TypeError
            If they are not real numbers.
        ValueError
            If they have another shape.
        """
        if not isinstance(values, torch.Tensor):
            array = np.array(values)
            if array.dtype.kind not in "biuf":
                msg = f"Expected `{name}` to be a tensor or an array of real numbers, found a {type(values).__name__}."
                raise TypeError(msg)
            values = torch.from_numpy(array.astype(np.float64, order="C"))
        # torch.func.vmap passes single points
        if values.ndim not in ((1, 2) if may_be_one else (2,)) or values.shape[-1] != n_columns:
            msg = f"Expected `{name}` to be of shape (n, {n_columns}), found {tuple(values.shape)}."
            raise ValueError(msg)
        return values.to(self.unit)

    def decode(self, z: ArrayLike | Tensor) -> Tensor:
        """Map (n, d) positions to (n, D) points of the representation."""
        raise NotImplementedError

    def jet(self, z: ArrayLike | Tensor, *, order: int = 1) -> Jet:
        """Return `decode` and its derivatives up to `order` (1 or 2) at (n, d) positions."""
        raise NotImplementedError

    def jacobian(self, z: ArrayLike | Tensor) -> Tensor:
        """Return the derivative A of `decode` at (n, d) positions, (n, D, d)."""
        return self.jet(z).first

    def metric(self, z: ArrayLike | Tensor) -> Tensor:
        """Return the metric G = AᵀHA that the decoder pulls back to (n, d) positions, (n, d, d)."""
        jet = self.jet(z)
        return pullback(jet.first, self.ambient, jet.values)

    def encoder_metric(self, x: ArrayLike | Tensor) -> Tensor:
        """Return the metric that the encoder pushes forward from (n, D) cells, (n, d, d)."""
        raise NotImplementedError

    def metric_of(self, side: str, z: ArrayLike | Tensor) -> Tensor:
        """Return the metric of the ``"decoder"`` or the ``"encoder"`` at (n, d) positions, (n, d, d).

        The encoder's metric is pushed forward from the decoded points.
        """
        return self.metric(z) if side == "decoder" else self.encoder_metric(self.jet(z).values)

    def to_arrays(self) -> dict[str, Any]:
        """Take the model apart into plain arrays, which any h5ad, zarr or safetensors file can hold.

        The entries are ``weights`` (parameters, standardization and chart under their names in the torch module), what
        describes the networks, and, if they are not `None`, ``ambient`` and ``genes``.
        """
        weights = {name: tensor.cpu().numpy().copy() for name, tensor in self.state_dict().items()}
        return {"weights": weights} | ({} if self.genes is None else {"genes": self.genes.to_arrays()})

    def save(self, path: str | Path) -> None:
        """Write the model to a safetensors file, whose header describes the networks as JSON.

        The file holds weights, standardization, chart and ambient metric, about 0.2 MB for a default map of 50
        components, and the genes behind the representation, 0.2 MB per thousand genes. It holds no cells.

        Parameters
        ----------
        path
            File to write, for example ``"map.safetensors"``. An existing file is replaced once the new one is complete.

        See Also
        --------
        scgeoae.load : Read it.

        Examples
        --------
        >>> import tempfile, scgeoae as sg
        >>> model = sg.nn.Autoencoder(50, 2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/map.safetensors")
        ...     sg.load(f"{folder}/map.safetensors").n_features
        50
        """
        write_arrays(path, self.to_arrays())
