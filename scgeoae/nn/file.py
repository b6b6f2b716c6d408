"""Arrays in a safetensors file, which holds numbers and text and nothing that could be executed."""

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

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The entry of the file's header that marks our files, and the one tensor beside weights and genes.
HEADER, AMBIENT = "scgeoae", "ambient"


def write_arrays(path: str | Path, arrays: Mapping[str, Any]) -> None:
    """Write a model's arrays: weights and other floats as tensors, everything else as JSON in the header."""
    tensors = {name: np.asarray(array, order="C") for name, array in arrays["weights"].items()}
    description = _described({name: value for name, value in arrays.items() if name != "weights"}, tensors)
    with atomic_write(path) as scratch:
        save_file(tensors, scratch, metadata={HEADER: json.dumps(description)})


def read_arrays(path: str | Path) -> dict[str, Any]:
    """Read what `write_arrays` wrote.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    TypeError
        If `path` is not a path.
    ValueError
        If the file is not a complete safetensors file, or not one of scgeoae.
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
        msg = f"{str(path)!r} is not a complete safetensors file ({told}); expected one that `model.save` wrote."
        raise ValueError(msg) from None
    if described is None:
        msg = f"{str(path)!r} is a safetensors file, but not of scgeoae; expected one that `model.save` wrote."
        raise ValueError(msg)
    try:
        arrays = dict(json.loads(described))
        return arrays | {"weights": _undescribed(arrays, tensors)}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        msg = f"The header of the model file {str(path)!r} cannot be read: {excerpt(str(error))}."
        raise ValueError(msg) from None


def excerpt(text: str, most: int = 300) -> str:
    """Return the beginning of a text from a file, with control characters escaped so that a terminal ignores them."""
    shown = "".join(character if character.isprintable() else repr(character)[1:-1] for character in text[:most])
    return shown + ("…" if len(text) > most else "")


def _described(arrays: Mapping[str, Any], tensors: dict[str, NDArray[Any]], prefix: str = "") -> dict[str, Any]:
    """Return what goes into the header, and move arrays of floats to `tensors`, under names with dots."""
    description: dict[str, Any] = {}
    for name, value in arrays.items():
        if isinstance(value, Mapping):
            description[name] = _described(value, tensors, f"{prefix}{name}.")
        elif isinstance(value, np.ndarray) and value.dtype.kind == "f":
            tensors[prefix + name] = np.asarray(value, order="C")
        else:
            description[name] = value.tolist() if isinstance(value, np.ndarray) else value
    return description


def _undescribed(description: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Move tensors that are not weights back into the description, and return the weights."""
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
