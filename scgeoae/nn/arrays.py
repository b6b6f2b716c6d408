"""Rebuild a model from plain arrays, and check that these are complete and sound."""

from __future__ import annotations

import operator
import re
import reprlib
from collections.abc import Callable, Mapping
from itertools import pairwise
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from .._runtime import default_torch_modes
from ..geometry.ambient import Ambient, is_metric
from .autoencoder import Autoencoder
from .count_decoder import LAYERS, CountDecoder
from .file import excerpt, read_arrays
from .genes import KINDS, Genes, Scaling, Statistics, Units

if TYPE_CHECKING:
    from torch import Tensor

    from .map_decoder import MapDecoder

# The newest format that is read. Autoencoders have the first, decoders of counts came with the second.
FORMAT = 2
# Layers of a decoder of counts per linear layer: scvi-tools adds normalization and an activation.
MAX_LAYERS = 4


class NewerFormatError(ValueError):
    """A model that a newer version of scgeoae wrote."""


class Entry(NamedTuple):
    """What a stored entry has to be."""

    what: str
    parse: Callable[[Any], Any]
    """Returns the value. None, or an error, means that the entry is something else."""


def _integer(least: int) -> Entry:
    def parse(value: Any) -> int | None:
        # also accepts an array of no dimension, as files return it
        number = operator.index(value)
        return number if number >= least else None

    return Entry("an integer" if least == 0 else f"an integer >= {least}", parse)


def _number(above: float = -np.inf) -> Entry:
    def parse(value: Any) -> float | None:
        number = float(value) if isinstance(value, Real | np.bool_) else np.nan
        return number if np.isfinite(number) and number > above else None

    return Entry("a finite number" + ("" if above == -np.inf else f" > {above:g}"), parse)


def _sizes(ndim: int) -> Entry:
    def parse(value: Any) -> list[Any] | None:
        array = np.asarray(value)
        # an empty list has no type
        if (array.size and array.dtype.kind not in "iu") or array.ndim > ndim:
            return None
        return [tuple(row) for row in array.reshape(-1, 2).tolist()] if ndim == 2 else array.ravel().tolist()

    return Entry("sizes of layers", parse)


def _names(value: Any) -> list[Any] | None:
    array = np.asarray(value)
    names = array.tolist() if array.ndim == 1 else [None]
    return names if all(isinstance(name, str) for name in names) else None


TEXT = Entry("text", lambda value: value if isinstance(value, str) else None)
FLAG = Entry("true or false", lambda value: bool(value) if isinstance(value, bool | np.bool_) else None)
MAPPING = Entry("a dictionary", lambda value: value if isinstance(value, Mapping) else None)

# Entries by name, optional ones with a question mark. A tuple is the shape of an array of finite numbers, in g genes,
# p projected genes and D features.
AUTOENCODER = {"n_features": _integer(1), "n_components": _integer(1), "hidden": _sizes(1), "activation": TEXT}
COUNT_DECODER = {
    "layers": Entry(
        f"a chain of the layers {', '.join(sorted({'linear', *LAYERS}))}",
        lambda value: kinds if {*(kinds := value.split())} <= {"linear", *LAYERS} else None,
    ),
    "sizes": _sizes(2),
    "library_size": _number(above=0),
    "fisher": FLAG,
}
GENES = {"names": Entry("names", _names), "n_projected": _integer(0), "n_raw": _integer(0), "layer?": TEXT}
SCALING = {"mean": ("p",), "std": ("p",), "zero_center": FLAG, "max_value?": _number()}
UNITS = {
    "kind": Entry(f"one of {', '.join(KINDS)}", lambda value: KINDS[KINDS.index(str(value))]),
    "zeros": _number(),
    "target_sum?": _number(above=0),
    "base?": _number(above=1),
    "least_sum?": _number(),
    "most_sum?": _number(),
    "scaling?": SCALING,
}
GENE_ARRAYS = {
    "statistics?": dict.fromkeys(("mean", "std", "low", "high"), ("g",)),
    "loadings?": ("g", "D"),
    "intercept?": ("g",),
    "offset?": ("D",),
    "units?": UNITS,
}


@default_torch_modes
def load(path: str | Path) -> MapDecoder:
    """Read a map's model from the file that ``model.save`` wrote.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    The model on the CPU: ``encode(x)``, ``decode(z)``, ``jacobian(z)`` and ``metric(z)`` take and give float32 tensors
    in the units of the representation and of the map.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TypeError
        If `path` is not a path.
    ValueError
        If the file is not a safetensors file, is cut off, was not written by scgeoae, was written by a newer version,
        or is damaged. Nothing in a file is ever executed.

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
    arrays = read_arrays(path)
    try:
        return from_arrays(arrays)
    except ValueError as error:
        msg = f"The model file {str(Path(path))!r} cannot be read: {excerpt(str(error))}."
        raise ValueError(msg) from None


def from_arrays(arrays: Any) -> MapDecoder:
    """Rebuild a model from what its ``to_arrays`` returned.

    Raises
    ------
    NewerFormatError
        If a newer version wrote it.
    ValueError
        If a part is missing, misshapen or not finite; the message says which.
    """
    found = _read(arrays, {"format": _integer(0)})["format"]
    if found > FORMAT:
        msg = (
            f"format {reprlib.repr(found)} was written by a newer version of scgeoae, and this one reads "
            f"formats up to {FORMAT}: update scgeoae (pip install --upgrade scgeoae)"
        )
        raise NewerFormatError(msg)
    try:
        return _rebuilt(arrays, _read(arrays, {"weights": MAPPING})["weights"])
    except (TypeError, AttributeError, IndexError, RuntimeError, OverflowError, MemoryError) as error:
        raise ValueError(excerpt(str(error))) from None


def _rebuilt(arrays: Any, stored: Mapping[str, Any]) -> MapDecoder:
    model = _count_decoder(arrays, stored) if "layers" in arrays else _autoencoder(arrays, stored)
    expected = model.state_dict()
    if problems := sorted(map(str, stored.keys() ^ expected.keys())):
        msg = f"missing or unknown weights {excerpt(', '.join(problems))}"
        raise ValueError(msg)
    weights = {name: _tensor(stored[name], name, tuple(tensor.shape)) for name, tensor in expected.items()}
    model.genes = _genes(arrays["genes"], model.n_features) if "genes" in arrays else None
    lacks_units = model.genes is not None and model.genes.n_projected > 0 and model.genes.units is None
    _check(not lacks_units or isinstance(model, CountDecoder), "the units of the genes are missing")
    _check(weights["unit"] > 0 and weights.get("scale", 1) > 0, "its scale or unit is not positive")
    model.load_state_dict(weights)
    return model.eval().requires_grad_(requires_grad=False)


def _autoencoder(arrays: Any, weights: Mapping[str, Any]) -> Autoencoder:
    found = _read(arrays, AUTOENCODER)
    n_features, d = found["n_features"], found["n_components"]
    _check_room([n_features, *found["hidden"], d], d, weights)
    model = Autoencoder(**found)
    if "ambient" in arrays:
        model.ambient = _ambient(arrays["ambient"], n_features)
    return model


def _count_decoder(arrays: Any, weights: Mapping[str, Any]) -> CountDecoder:
    found = _read(arrays, COUNT_DECODER)
    layers, sizes = found["layers"], found["sizes"]
    is_chain = layers.count("linear") == len(sizes) > 0 and all(a[1] == b[0] for a, b in pairwise(sizes))
    shown = f"{len(layers)} layers {excerpt(' '.join(layers), 100)} do not fit the sizes {reprlib.repr(sizes)}"
    _check(is_chain and len(layers) <= MAX_LAYERS * len(sizes), shown)
    _check_room([sizes[0][0], *(n_out for _, n_out in sizes)], sizes[0][0], weights)
    return CountDecoder(**found)


def _check_room(widths: list[int], d: int, weights: Mapping[str, Any]) -> None:
    """Check that the weights fill layers of these widths and a (d, d) chart, before memory is set aside for these."""
    needed = d * d + sum(a * b for a, b in pairwise(widths))
    is_filled = min(widths) >= 1 and needed <= sum(np.size(array) for array in weights.values())
    is_filled &= len(widths) <= 1 + len(weights)
    _check(is_filled, f"there are too few weights for layers of widths {reprlib.repr(widths)}")


def _genes(stored: Any, n_features: int) -> Genes:
    found = _read(stored, GENES)
    g, n_projected = len(found["names"]), found["n_projected"]
    found |= _read(stored, GENE_ARRAYS, {"g": g, "p": n_projected, "D": n_features})
    has_loadings, has_intercept, has_offset = (name in found for name in ("loadings", "intercept", "offset"))
    _check(n_projected + found["n_raw"] <= g, f"only {g} genes have names")
    fits = has_loadings == has_intercept and (has_loadings or g == n_features)
    _check(fits, f"{g} genes do not fit {n_features} features")
    can_project = "statistics" in found and has_loadings == has_offset
    _check(can_project or not n_projected or "units" not in found, "genes have no statistics or offset to project them")
    found["names"] = np.array(found["names"], dtype=str)
    if "statistics" in found:
        found["statistics"] = Statistics(**found["statistics"])
    if "units" in found:
        units = found["units"]
        if "scaling" in units:
            units["scaling"] = Scaling(**units["scaling"])
            _check((units["scaling"].std > 0).all(), "standard deviations of genes are not positive")
        found["units"] = Units(**units)
    return Genes(**found)


def _ambient(stored: Any, n_features: int) -> Ambient:
    if isinstance(stored, str):
        # an error message recommends a call with this name in it
        is_name = re.fullmatch(r"[\w.<>]{1,200}", stored)
        _check(is_name, f"'ambient' is not the name of a function: {reprlib.repr(stored)}")
        return Ambient(_Forgotten(stored))
    tensor = _tensor(stored, "'ambient'", (n_features,), (n_features, n_features))
    _check(is_metric(tensor, diagonal=tensor.ndim == 1), "'ambient' is not a positive definite metric")
    return Ambient(tensor)


def _read(stored: Any, table: Mapping[str, Any], lengths: Mapping[str, int] | None = None) -> dict[str, Any]:
    """Return the entries that a table declares, as Python objects.

    Raises
    ------
    ValueError
        If one is missing or something else.
    """
    if not isinstance(stored, Mapping):
        msg = f"expected a dictionary, found {reprlib.repr(stored)}"
        raise ValueError(msg)  # noqa: TRY004
    found: dict[str, Any] = {}
    for declared, expected in table.items():
        name = declared.removesuffix("?")
        if name not in stored:
            _check(name != declared, f"the entry {name!r} is missing")
        elif isinstance(expected, Entry):
            try:
                found[name] = expected.parse(stored[name])
            except (TypeError, ValueError, AttributeError, OverflowError, MemoryError):
                found[name] = None
            if found[name] is None:
                msg = f"{name!r} is not {expected.what}: {reprlib.repr(stored[name])}"
                raise ValueError(msg)
        elif isinstance(expected, Mapping):
            found[name] = _read(stored[name], expected, lengths)
        else:
            shape = tuple((lengths or {})[axis] for axis in expected)
            found[name] = _tensor(stored[name], repr(name), shape).numpy()
    return found


def _check(holds: Any, message: str) -> None:
    if not holds:
        raise ValueError(message)


def _tensor(stored: Any, name: str, *shapes: tuple[int, ...]) -> Tensor:
    """Return a stored array of finite numbers of one of the `shapes`; one of another is not copied, however large."""
    array = np.asarray(stored)
    _check(array.dtype.kind in "fiub", f"{name} does not hold real numbers")
    _check(array.shape in shapes, f"{name} has shape {array.shape}, not {' or '.join(map(str, shapes))}")
    with np.errstate(over="ignore"):  # it is infinite then
        tensor = torch.from_numpy(np.array(array, dtype=np.float32))
    _check(tensor.isfinite().all(), f"{name} has values that are not finite")
    return tensor


class _Forgotten:
    """Stands in for a user's function, which no file can hold."""

    def __init__(self, name: str) -> None:
        self.__qualname__ = name

    def __call__(self, x: Tensor) -> Tensor:
        name = self.__qualname__
        msg = (
            f"This map was measured with the ambient metric {name}, a function, which is not stored with it; "
            f"pass it: sg.tl.metric(adata, ambient={name}), or set model.ambient = sg.geometry.Ambient({name})."
        )
        raise ValueError(msg)
