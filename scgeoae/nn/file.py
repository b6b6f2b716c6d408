"""A model in a file of its own: safetensors, which holds numbers and text and nothing that could be executed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from .._arguments import check_path
from .._files import atomic_write
from .._runtime import default_torch_modes
from .arrays import excerpt, from_arrays, to_arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .framed import Framed

# The entry of the file's header that tells our files from others', and a tensor that is no weight.
HEADER, AMBIENT = "scgeoae", "ambient"


def save(model: Framed, path: str | Path) -> None:
    """Write a model to a safetensors file, whose header describes the networks as JSON.

    Weights, standardization, frame and ambient metric, of a default map of 50 components some 0.2 MB; and what is
    known of the genes behind the representation, 0.2 MB for each thousand of them. No cells.

    Parameters
    ----------
    model
        Of `scgeoae.get.model`.
    path
        File to write, ``"map.safetensors"`` for example. One that is there is replaced when the new one is whole.

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
    arrays = to_arrays(model)
    tensors = {name: np.asarray(array, order="C") for name, array in arrays.pop("weights").items()}
    description = _described(arrays, tensors)
    with atomic_write(path) as scratch:
        save_file(tensors, scratch, metadata={HEADER: json.dumps(description)})


def _described(arrays: Mapping[str, Any], tensors: dict[str, NDArray], prefix: str = "") -> dict[str, Any]:
    """Return what goes into the header, and move arrays of floats to `tensors`, under names with dots."""
    description = {}
    for name, value in arrays.items():
        if isinstance(value, Mapping):
            description[name] = _described(value, tensors, f"{prefix}{name}.")
        elif isinstance(value, np.ndarray) and value.dtype.kind == "f":
            tensors[prefix + name] = np.asarray(value, order="C")
        else:
            description[name] = value.tolist() if isinstance(value, np.ndarray) else value
    return description


def _undescribed(description: dict[str, Any], tensors: dict[str, NDArray]) -> dict[str, Any]:
    """Put what `_described` moved back into its places, and return what is left: the weights."""
    weights = {}
    for name, tensor in tensors.items():
        *path, last = name.split(".")
        if name != AMBIENT and path[:1] != ["genes"]:
            weights[name] = tensor
            continue
        entry = description
        for part in path:
            entry = entry[part]
        entry[last] = tensor
    return weights


@default_torch_modes
def load(path: str | Path) -> Framed:
    """Read a model that `save` wrote.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    The model on the CPU: ``encode(x)``, ``decode(z)``, ``jacobian(z)`` and ``metric(z)`` take and give float32 tensors
    in units of the representation and of the map.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError
        If it is no path.
    ValueError
        If it is not a safetensors file, cut off, not of scgeoae, of a newer version, or damaged. Nothing in a file is
        ever executed.

    Examples
    --------
    >>> import tempfile, scgeoae as sg, torch
    >>> model = sg.nn.Autoencoder(50, 2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(f"{folder}/map.safetensors")
    ...     loaded = sg.load(f"{folder}/map.safetensors")
    >>> torch.equal(loaded.decode(torch.zeros(1, 2)), model.decode(torch.zeros(1, 2)))
    True
    """
    check_path(path)
    path = Path(path)
    if not path.is_file():
        msg = f"Did not find the file {str(path)!r}."
        raise FileNotFoundError(msg)
    try:
        with safe_open(path, framework="numpy") as file:
            described = (file.metadata() or {}).get(HEADER)
            tensors = {} if described is None else {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, TypeError, AttributeError, OverflowError, MemoryError) as error:
        told = excerpt(str(error))
        msg = f"{str(path)!r} is no complete safetensors file ({told}); expected one that `model.save` wrote."
        raise ValueError(msg) from None
    if described is None:
        msg = f"{str(path)!r} is a safetensors file, but not of scgeoae; expected one that `model.save` wrote."
        raise ValueError(msg)
    try:
        arrays = dict(json.loads(described))
        return from_arrays(arrays | {"weights": _undescribed(arrays, tensors)})
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        msg = f"The model file {str(path)!r} cannot be read: {excerpt(str(error))}."
        raise ValueError(msg) from None
