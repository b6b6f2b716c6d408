"""A trained model as plain arrays, which any h5ad, zarr or safetensors file can hold, and back."""

from __future__ import annotations

import operator
import re
import reprlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from itertools import pairwise
from numbers import Real
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import numpy as np
import torch

from ..geometry.ambient import Ambient, is_metric
from .autoencoder import Autoencoder
from .count_decoder import LAYERS, CountDecoder
from .genes import KINDS, Genes, Scaling, Statistics, Units

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from .framed import Framed

# The newest that is read. Autoencoders have the first, decoders of counts came with the second.
FORMAT = 2
# Layers of a decoder of counts for each that has weights; those of scvi-tools are normalised and bent.
MAX_LAYERS = 4


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
    genes: NotRequired[dict[str, Any]]
    """What is known of the genes behind the representation, see `Genes`; absent if there are none."""


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
    genes: NotRequired[dict[str, Any]]


def to_arrays(model: Framed) -> ModelArrays | CountArrays:
    """Take a model apart."""
    weights = {name: tensor.cpu().numpy().copy() for name, tensor in model.state_dict().items()}
    genes = {} if model.genes is None else {"genes": genes_to_arrays(model.genes)}
    if isinstance(model, CountDecoder):
        return {
            "format": 2,
            "layers": " ".join(model.kinds),
            "sizes": np.array(model.sizes, dtype=np.int64),
            "library_size": float(model.library_size),
            "fisher": model.fisher,
            "weights": weights,
            **genes,
        }
    arrays: ModelArrays = {
        "format": 1,
        "n_features": model.n_features,
        "n_components": model.n_components,
        "hidden": np.array(model.hidden, dtype=np.int64),
        "activation": model.activation,
        "weights": weights,
        **genes,
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
        if (found := _integer(arrays, "format")) > FORMAT:
            msg = (
                f"format {reprlib.repr(found)} was written by a newer version of scgeoae, and this one reads formats "
                f"up to {FORMAT}: update scgeoae (pip install --upgrade scgeoae)"
            )
            raise NewerFormatError(msg)
        stored = arrays["weights"]
        if not isinstance(stored, Mapping):
            msg = f"'weights' is no dictionary: {reprlib.repr(stored)}"
            raise ValueError(msg)  # noqa: TRY004
        model = _count_decoder(arrays, stored) if "layers" in arrays else _autoencoder(arrays, stored)
        expected = model.state_dict()
        if problems := sorted(map(str, stored.keys() ^ expected.keys())):
            msg = f"missing or unknown weights {excerpt(', '.join(problems))}"
            raise ValueError(msg)
        weights = {name: _tensor(stored[name], name, tuple(tensor.shape)) for name, tensor in expected.items()}
        model.genes = _genes(arrays["genes"], model.n_features) if "genes" in arrays else None
        if isinstance(model, Autoencoder) and model.genes and model.genes.n_projected and model.genes.units is None:
            msg = "the units of the genes are missing"
            raise ValueError(msg)
    except KeyError as error:
        msg = f"the entry {error} is missing"
        raise ValueError(msg) from None
    except (TypeError, AttributeError, IndexError, RuntimeError, OverflowError, MemoryError) as error:
        raise ValueError(excerpt(str(error))) from None
    if not (weights["unit"] > 0 and weights.get("scale", 1) > 0):
        msg = "its scale or unit is not positive"
        raise ValueError(msg)
    model.load_state_dict(weights)
    return model.eval().requires_grad_(requires_grad=False)


def genes_to_arrays(genes: Genes) -> dict[str, Any]:
    """Take apart what is known of genes: what is None, infinite or unknown is left out."""

    def taken(value: Any) -> Any:
        return {
            field.name: taken(part) if is_dataclass(part) else part
            for field in fields(value)
            if (part := getattr(value, field.name)) is not None
            and not (isinstance(part, float) and not np.isfinite(part))
        }

    return taken(genes)


def excerpt(text: str, most: int = 300) -> str:
    """Return the beginning of a text from a file, with escapes for what would act on a terminal."""
    shown = "".join(character if character.isprintable() else repr(character)[1:-1] for character in text[:most])
    return shown + ("…" if len(text) > most else "")


def _autoencoder(arrays: Any, weights: Any) -> Autoencoder:
    widths = _integers(arrays, "hidden", 1, at_most=len(weights)).tolist()
    n_features, d = _integer(arrays, "n_features"), _integer(arrays, "n_components")
    _check_room(list(pairwise([n_features, *widths, d])), d, weights)
    model = Autoencoder(n_features, d, hidden=widths, activation=_text(arrays, "activation"))
    model.ambient = _ambient(arrays["ambient"], n_features) if "ambient" in arrays else None
    return model


def _count_decoder(arrays: Any, weights: Any) -> CountDecoder:
    layers = _text(arrays, "layers").split()
    sizes = [(n_in, n_out) for n_in, n_out in _integers(arrays, "sizes", 2, at_most=len(weights)).tolist()]
    if unknown := sorted(set(layers) - {"linear", *LAYERS}):
        msg = f"unknown layers {excerpt(', '.join(unknown))}"
        raise ValueError(msg)
    if not sizes or layers.count("linear") != len(sizes) or any(a[1] != b[0] for a, b in pairwise(sizes)):
        msg = f"the layers {excerpt(' '.join(layers))} do not fit the sizes {reprlib.repr(sizes)}"
        raise ValueError(msg)
    if len(layers) > MAX_LAYERS * len(sizes):
        msg = f"it has {len(layers)} layers, of which only {len(sizes)} have weights"
        raise ValueError(msg)
    _check_room(sizes, sizes[0][0], weights)
    library_size, fisher = arrays["library_size"], arrays["fisher"]
    if not isinstance(library_size, Real) or not 0 < library_size < float("inf"):
        msg = f"the library size is {reprlib.repr(library_size)}"
        raise ValueError(msg)
    if not isinstance(fisher, bool | np.bool_):
        msg = f"'fisher' is neither true nor false: {reprlib.repr(fisher)}"
        raise ValueError(msg)  # noqa: TRY004
    return CountDecoder(layers, sizes, library_size=float(library_size), fisher=bool(fisher))


def _genes(stored: Any, n_features: int) -> Genes:
    """Rebuild what is known of genes."""
    if not isinstance(stored, Mapping):
        msg = f"'genes' is no dictionary: {reprlib.repr(stored)}"
        raise ValueError(msg)  # noqa: TRY004
    names = np.asarray(stored["names"])
    if names.ndim != 1 or not all(isinstance(name, str) for name in names.tolist()):
        msg = f"'names' of the genes are no names: {reprlib.repr(stored['names'])}"
        raise ValueError(msg)
    g, n_projected, n_raw = len(names), _integer(stored, "n_projected"), _integer(stored, "n_raw")
    if min(n_projected, n_raw) < 0 or n_projected + n_raw > g:
        msg = f"{n_projected} genes to project and {n_raw} of raw are more than the {g} that have a name"
        raise ValueError(msg)
    entries = {name: shape for name, shape in (("loadings", (g, n_features)), ("intercept", (g,))) if name in stored}
    if ("loadings" in stored) != ("intercept" in stored) or ("loadings" not in stored and g != n_features):
        msg = f"{g} genes do not fit {n_features} features"
        raise ValueError(msg)
    if "offset" in stored:
        entries["offset"] = (n_features,)
    statistics = stored.get("statistics")
    if statistics is not None:
        statistics = Statistics(*(_array(statistics, field.name, (g,)) for field in fields(Statistics)))
    if n_projected and "units" in stored and (statistics is None or ("loadings" in stored) != ("offset" in stored)):
        msg = "what is needed to project genes is not there"
        raise ValueError(msg)
    return Genes(
        np.array(names.tolist(), dtype=str),
        n_projected,
        n_raw,
        layer=_text(stored, "layer") if "layer" in stored else None,
        statistics=statistics,
        units=_units(stored["units"], n_projected) if "units" in stored else None,
        **{name: _array(stored, name, shape) for name, shape in entries.items()},
    )


def _units(stored: Any, g: int) -> Units:
    if (kind := _text(stored, "kind")) not in KINDS:
        msg = f"unknown units {excerpt(kind)}"
        raise ValueError(msg)
    scaling = None
    if "scaling" in stored:
        part = stored["scaling"]
        scaling = Scaling(
            *(_array(part, name, (g,)) for name in ("mean", "std")),
            zero_center=bool(_number(part, "zero_center")),
            max_value=_number(part, "max_value") if "max_value" in part else np.inf,
        )
        if not (scaling.std > 0).all():
            msg = "standard deviations of genes are not positive"
            raise ValueError(msg)
    numbers = {
        name: _number(stored, name) for name in ("target_sum", "base", "least_sum", "most_sum") if name in stored
    }
    if not numbers.get("base", np.e) > 1 or not numbers.get("target_sum", 1) > 0:
        msg = f"units are of no logarithm or total: {reprlib.repr(numbers)}"
        raise ValueError(msg)
    return Units(kind, _number(stored, "zeros"), **numbers, scaling=scaling)


def _array(stored: Any, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return _tensor(stored[name], name, shape).numpy()


def _number(stored: Any, name: str) -> float:
    if not isinstance(stored[name], Real | np.bool_) or not np.isfinite(stored[name]):
        msg = f"{name!r} is no finite number: {reprlib.repr(stored[name])}"
        raise ValueError(msg)
    return float(stored[name])


def _check_room(sizes: list[tuple[int, int]], d: int, weights: Any) -> None:
    """Check sizes against the weights before room is made for them, and for the (d, d) frame."""
    needed = d * d + sum(a * b for a, b in sizes)
    if min(map(min, sizes)) < 1 or needed > sum(np.size(a) for a in weights.values()):
        msg = f"the weights are fewer than layers of {reprlib.repr(sizes)} have"
        raise ValueError(msg)


def _integer(arrays: Any, name: str) -> int:
    """Return an entry that is an integer, also as a file reads it: an array of no dimension."""
    try:
        return operator.index(arrays[name])
    except TypeError:
        msg = f"{name!r} is no integer: {reprlib.repr(arrays[name])}"
        raise ValueError(msg) from None


def _integers(arrays: Any, name: str, ndim: int, *, at_most: int) -> NDArray[np.integer]:
    """Return an entry that is an array of integers."""
    array = np.asarray(arrays[name])
    # an empty list has no type
    if (array.size and array.dtype.kind not in "iu") or array.ndim > ndim:
        msg = f"{name!r} holds no sizes of layers: {reprlib.repr(arrays[name])}"
        raise ValueError(msg)
    if len(np.atleast_1d(array)) > at_most:
        msg = f"the weights are fewer than the layers in {name!r}: {reprlib.repr(arrays[name])}"
        raise ValueError(msg)
    return array.reshape((-1, 2)[:ndim])


def _text(arrays: Any, name: str) -> str:
    if not isinstance(arrays[name], str):
        msg = f"{name!r} is no text: {reprlib.repr(arrays[name])}"
        raise ValueError(msg)  # noqa: TRY004
    return arrays[name]


def _tensor(stored: Any, name: str, *shapes: tuple[int, ...]) -> Tensor:
    """Return a stored array of finite numbers of one of the `shapes`; one of another is not copied, however large."""
    array = np.asarray(stored)
    if array.dtype.kind not in "fiub":
        msg = f"{name} holds no real numbers: {reprlib.repr(stored)}"
        raise ValueError(msg)
    if array.shape not in shapes:
        msg = f"{name} has shape {array.shape}, not {' or '.join(map(str, shapes))}"
        raise ValueError(msg)
    with np.errstate(over="ignore"):  # it is infinite then
        tensor = torch.from_numpy(np.array(array, dtype=np.float32))
    if not tensor.isfinite().all():
        msg = f"{name} has values that are not finite"
        raise ValueError(msg)
    return tensor


def _ambient(stored: Any, n_features: int) -> Ambient:
    if isinstance(stored, str):
        # it comes to stand in a call that an error recommends
        if not re.fullmatch(r"[\w.<>]{1,200}", stored):
            msg = f"the ambient metric is no name of a function: {reprlib.repr(stored)}"
            raise ValueError(msg)
        return Ambient(_Forgotten(stored))
    tensor = _tensor(stored, "the ambient metric", (n_features,), (n_features, n_features))
    if not is_metric(tensor, diagonal=tensor.ndim == 1):
        msg = "the ambient metric is not positive definite"
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
