"""A trained model as plain arrays, which any h5ad, zarr or safetensors file can hold, and back."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import numpy as np
import torch

from ..geometry.ambient import Ambient
from .autoencoder import Autoencoder

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

FORMAT = 1


class ModelArrays(TypedDict):
    """What rebuilds an `Autoencoder`."""

    format: int
    n_features: int
    n_components: int
    hidden: NDArray[np.int64]
    activation: str
    weights: dict[str, NDArray[np.float32]]
    """Parameters, standardisation and frame under their names in the torch module."""
    ambient: NotRequired[NDArray[np.float32] | str]
    """Metric of the representation, or the name of a function that gives it; absent when Euclidean."""


def to_arrays(model: Autoencoder) -> ModelArrays:
    """Take a model apart."""
    arrays: ModelArrays = {
        "format": FORMAT,
        "n_features": model.n_features,
        "n_components": model.n_components,
        "hidden": np.array(model.hidden, dtype=np.int64),
        "activation": model.activation,
        "weights": {name: tensor.cpu().numpy().copy() for name, tensor in model.state_dict().items()},
    }
    if model.ambient is not None:
        arrays["ambient"] = model.ambient.name or model.ambient.tensor.cpu().numpy().copy()
    return arrays


def from_arrays(arrays: Any) -> Autoencoder:
    """Rebuild a model.

    Raises
    ------
    ValueError
        If a part is missing, misshapen or not finite; the message says which.
    """
    try:
        if int(arrays["format"]) > FORMAT:
            msg = f"format {int(arrays['format'])} was written by a newer version of scgeoae"
            raise ValueError(msg)
        widths = [int(width) for width in np.atleast_1d(arrays["hidden"])]
        n_features, d = int(arrays["n_features"]), int(arrays["n_components"])
        # before room is made for them
        if sum(a * b for a, b in pairwise([n_features, *widths, d])) > sum(
            np.size(a) for a in arrays["weights"].values()
        ):
            msg = f"the weights are fewer than layers of {widths} have"
            raise ValueError(msg)
        model = Autoencoder(n_features, d, hidden=widths, activation=str(arrays["activation"]))
        weights = {name: torch.from_numpy(np.array(a, dtype=np.float32)) for name, a in arrays["weights"].items()}
        expected = model.state_dict()
        if problems := sorted(weights.keys() ^ expected.keys()):
            msg = f"missing or unknown weights {', '.join(problems)}"
            raise ValueError(msg)
        for name, tensor in weights.items():
            if tensor.shape != expected[name].shape:
                msg = f"{name} has shape {tuple(tensor.shape)}, not {tuple(expected[name].shape)}"
                raise ValueError(msg)
            if not tensor.isfinite().all():
                msg = f"{name} has values that are not finite"
                raise ValueError(msg)
        model.ambient = _ambient(arrays["ambient"], model.n_features) if "ambient" in arrays else None
    except KeyError as error:
        msg = f"the entry {error} is missing"
        raise ValueError(msg) from None
    except (TypeError, AttributeError, IndexError, RuntimeError, OverflowError, MemoryError) as error:
        raise ValueError(str(error)) from None
    model.load_state_dict(weights)
    return model.eval().requires_grad_(requires_grad=False)


def _ambient(stored: Any, n_features: int) -> Ambient:
    if isinstance(stored, str):
        return Ambient(_Forgotten(stored))
    tensor = torch.from_numpy(np.array(stored, dtype=np.float32))
    if tuple(tensor.shape) not in ((n_features,), (n_features, n_features)) or not tensor.isfinite().all():
        msg = f"the ambient metric is no metric of {n_features} features"
        raise ValueError(msg)
    return Ambient(tensor)


class _Forgotten:
    """In the place of a user's function, which no file can hold."""

    def __init__(self, name: str) -> None:
        self.__qualname__ = name

    def __call__(self, x: Tensor) -> Tensor:
        name = self.__qualname__
        msg = (
            f"This map was measured with the ambient metric {name}, a function, which is not stored with it; "
            f"pass it: sg.tl.metric(adata, ambient={name}), or set model.ambient = sg.geometry.Ambient({name})."
        )
        raise ValueError(msg)
