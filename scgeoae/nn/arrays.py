"""A trained model as plain arrays, which any h5ad, zarr or safetensors file can hold, and back."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import numpy as np
import torch

from ..geometry.ambient import Ambient
from .autoencoder import Autoencoder
from .count_decoder import LAYERS, CountDecoder

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray
    from torch import Tensor

    from .framed import Framed

# The newest that is read. Autoencoders have the first, decoders of counts came with the second.
FORMAT = 2


class NewerFormatError(ValueError):
    """A model that this version cannot know how to read, which is not damaged."""


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


class CountArrays(TypedDict):
    """What rebuilds a `CountDecoder`."""

    format: int
    layers: str
    """Kinds of layers, separated by spaces."""
    sizes: NDArray[np.int64]
    """(number of linear layers, 2)"""
    library_size: float
    fisher: bool
    weights: dict[str, NDArray[np.float32]]


def to_arrays(model: Framed) -> ModelArrays | CountArrays:
    """Take a model apart."""
    weights = {name: tensor.cpu().numpy().copy() for name, tensor in model.state_dict().items()}
    if isinstance(model, CountDecoder):
        return {
            "format": 2,
            "layers": " ".join(model.kinds),
            "sizes": np.array(model.sizes, dtype=np.int64),
            "library_size": float(model.library_size),
            "fisher": model.fisher,
            "weights": weights,
        }
    arrays: ModelArrays = {
        "format": 1,
        "n_features": model.n_features,
        "n_components": model.n_components,
        "hidden": np.array(model.hidden, dtype=np.int64),
        "activation": model.activation,
        "weights": weights,
    }
    if model.ambient is not None:
        arrays["ambient"] = model.ambient.name or model.ambient.tensor.cpu().numpy().copy()
    return arrays


def from_arrays(arrays: Any) -> Framed:
    """Rebuild a model.

    Raises
    ------
    NewerFormatError
        If a newer version wrote it.
    ValueError
        If a part is missing, misshapen or not finite; the message says which.
    """
    try:
        if int(arrays["format"]) > FORMAT:
            msg = (
                f"format {int(arrays['format'])} was written by a newer version of scgeoae, and this one reads formats "
                f"up to {FORMAT}: update scgeoae (pip install --upgrade scgeoae)"
            )
            raise NewerFormatError(msg)
        model = _count_decoder(arrays) if "layers" in arrays else _autoencoder(arrays)
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
    except KeyError as error:
        msg = f"the entry {error} is missing"
        raise ValueError(msg) from None
    except (TypeError, AttributeError, IndexError, RuntimeError, OverflowError, MemoryError) as error:
        raise ValueError(str(error)) from None
    model.load_state_dict(weights)
    return model.eval().requires_grad_(requires_grad=False)


def _autoencoder(arrays: Any) -> Autoencoder:
    widths = [int(width) for width in np.atleast_1d(arrays["hidden"])]
    n_features, d = int(arrays["n_features"]), int(arrays["n_components"])
    _check_room(pairwise([n_features, *widths, d]), arrays)
    model = Autoencoder(n_features, d, hidden=widths, activation=str(arrays["activation"]))
    model.ambient = _ambient(arrays["ambient"], n_features) if "ambient" in arrays else None
    return model


def _count_decoder(arrays: Any) -> CountDecoder:
    layers = str(arrays["layers"]).split()
    sizes = [(int(n_in), int(n_out)) for n_in, n_out in np.asarray(arrays["sizes"])]
    if unknown := sorted(set(layers) - {"linear", *LAYERS}):
        msg = f"unknown layers {', '.join(unknown)}"
        raise ValueError(msg)
    if not sizes or layers.count("linear") != len(sizes) or any(a[1] != b[0] for a, b in pairwise(sizes)):
        msg = f"the layers {' '.join(layers)} do not fit the sizes {sizes}"
        raise ValueError(msg)
    _check_room(sizes, arrays)
    library_size = float(arrays["library_size"])
    if not 0 < library_size < float("inf"):
        msg = f"the library size is {library_size}"
        raise ValueError(msg)
    return CountDecoder(layers, sizes, library_size=library_size, fisher=bool(arrays["fisher"]))


def _check_room(sizes: Iterable[tuple[int, int]], arrays: Any) -> None:
    """Check sizes against the weights before room is made for them."""
    sizes = list(sizes)
    if min(map(min, sizes)) < 1 or sum(a * b for a, b in sizes) > sum(np.size(a) for a in arrays["weights"].values()):
        msg = f"the weights are fewer than layers of {sizes} have"
        raise ValueError(msg)


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
