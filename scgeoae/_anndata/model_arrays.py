"""A trained model as plain arrays, which any h5ad or zarr file can hold, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import torch

from ..nn import Autoencoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

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


def to_arrays(model: Autoencoder) -> ModelArrays:
    """Take a model apart."""
    return {
        "format": FORMAT,
        "n_features": model.n_features,
        "n_components": model.n_components,
        "hidden": np.array(model.hidden, dtype=np.int64),
        "activation": model.activation,
        "weights": {name: tensor.cpu().numpy().copy() for name, tensor in model.state_dict().items()},
    }


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
        model = Autoencoder(
            int(arrays["n_features"]),
            int(arrays["n_components"]),
            hidden=[int(width) for width in np.atleast_1d(arrays["hidden"])],
            activation=str(arrays["activation"]),
        )
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
    except (TypeError, AttributeError, IndexError, RuntimeError, OverflowError) as error:
        raise ValueError(str(error)) from None
    model.load_state_dict(weights)
    return model.eval().requires_grad_(requires_grad=False)
