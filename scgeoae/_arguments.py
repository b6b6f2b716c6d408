"""Checks of the arguments of public functions, each with one wording."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from numbers import Integral, Real
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def check_adata(adata: Any) -> None:
    """Raise if the argument has none of the slots of an AnnData."""
    modalities = getattr(adata, "mod", None)
    if isinstance(modalities, Mapping) and modalities:
        names = [repr(name) for name in modalities]
        msg = (
            f"Expected an AnnData, found {_kind(adata)} of {', '.join(names)}; give one of its modalities, such as "
            f"sg.tl.geoae(mdata.mod[{names[0]}])."
        )
        raise TypeError(msg)
    if not (hasattr(adata, "obsm") and hasattr(adata, "uns")):
        msg = f"Expected an AnnData, found {_kind(adata)}."
        if hasattr(adata, "adatas"):
            msg = (
                f"Expected an AnnData, found {_kind(adata)}, which cannot hold a map. Map its cells into a store with "
                "sg.tl.atlas(collection, out='map.zarr'), or join its parts, lazy ones too: "
                "anndata.concat(collection.adatas)."
            )
        raise TypeError(msg)


def check_name(value: Any, argument: str, *, required: bool = False) -> None:
    """Raise if the name of a slot is not a string. None is allowed unless a name is `required`."""
    if (required or value is not None) and not isinstance(value, str):
        msg = f"Expected `{argument}` to be a name, found {value!r}, {_kind(value)}."
        raise TypeError(msg)


def check_option(value: Any, argument: str, options: Collection[str]) -> None:
    """Raise if the argument is not one of the `options`."""
    if not isinstance(value, str) or value not in options:
        *others, last = map(repr, options)
        msg = f"Expected `{argument}` to be {', '.join(others)} or {last}, found {value!r}."
        raise ValueError(msg)


def check_found(name: Any, mapping: Any, where: str, hint: str = "") -> None:
    """Raise if a mapping lacks a name, with the names that it has."""
    if name not in mapping:
        msg = f"Did not find {name!r} in {where}, which has {known(mapping)}{hint}."
        raise KeyError(msg)


def known(mapping: Any) -> str:
    """List the keys of a mapping for an error message."""
    # anndata 0.13 keeps X as the layer None
    return ", ".join(repr(key) for key in mapping if key is not None) or "nothing"


def check_path(path: Any, argument: str = "path") -> None:
    """Raise if the argument does not name a file."""
    if not isinstance(path, str | PathLike):
        msg = f"Expected `{argument}` to name a file, found {path!r}."
        raise TypeError(msg)


def check_flag(value: Any, argument: str) -> None:
    """Raise if the argument is neither true nor false, as an array is."""
    try:
        bool(value)
    except (TypeError, ValueError):
        msg = f"Expected `{argument}` to be True or False, found {_kind(value)}."
        raise TypeError(msg) from None


def checked_names(names: Any, argument: str) -> list[str]:
    """Return one or several names as a list without duplicates."""
    found = as_list(names)
    if not all(isinstance(name, str) for name in found):
        msg = f"Expected `{argument}` to be a name or a list of names, found {names!r}."
        raise TypeError(msg)
    return list(dict.fromkeys(found))


def checked_integer(value: Any, argument: str, least: int, *, or_: str | None = None) -> int:
    """Return an integer that is at least `least`. The error also names what else is allowed, `or_`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        allowed = f"an integer >= {least}" if or_ is None else f"an integer >= {least} or {or_}"
        msg = f"Expected `{argument}` to be {allowed}, found {value!r}."
        raise ValueError(msg)
    return int(value)


def checked_number(value: Any, argument: str, *, or_: str | None = None) -> float:
    """Return a finite number >= 0. The error also names what else is allowed, `or_`."""
    if not isinstance(value, Real) or not math.isfinite(value) or value < 0:
        allowed = "a finite number >= 0" if or_ is None else f"a finite number >= 0 or {or_}"
        msg = f"Expected `{argument}` to be {allowed}, found {value!r}."
        raise ValueError(msg)
    return float(value)


def checked_key(key_added: str | None, default: str) -> str:
    """Return the name under which results are stored."""
    key = default if key_added is None else key_added
    if not isinstance(key, str) or not key or "/" in key:
        msg = f"Expected `key_added` to be a name without '/', found {key_added!r}."
        raise ValueError(msg)
    return key


def checked_map_key(key_added: str | None, default: str) -> str:
    """Return the name under which a map is stored, which may be given as its whole key of `obsm`."""
    return checked_key(key_added.removeprefix("X_") if isinstance(key_added, str) else key_added, default)


def checked_positions(positions: ArrayLike, d: int, argument: str, *, or_else: str = "") -> NDArray[np.float32]:
    """Return finite (m, d) positions on a map. One position of shape (d,) becomes (1, d)."""
    try:
        found = np.asarray(positions, dtype=np.float32)
    except (TypeError, ValueError):
        found = np.empty(0, dtype=np.float32)
    if found.shape == (d,):
        found = found[None]
    if found.ndim != 2 or found.shape[1] != d or not len(found) or not np.isfinite(found).all():
        shown = f"an array of shape {found.shape}" if found.size else repr(positions)
        msg = f"Expected `{argument}` to be {or_else}finite positions of shape (m, {d}), found {shown}."
        raise ValueError(msg)
    return found


def checked_seed(random_state: int | np.random.RandomState | None) -> int:
    """Return an integer seed. None and a generator draw one."""
    if isinstance(random_state, Integral) and 0 <= random_state < 2**32:
        return int(random_state)
    # scikit-learn takes a second to import
    from sklearn.utils import check_random_state

    try:
        return int(check_random_state(random_state).randint(2**31 - 1))
    except ValueError:
        msg = (
            "Expected `random_state` to be an integer from 0 to 2³² − 1, a numpy.random.RandomState or None, "
            f"found {random_state!r}."
        )
        raise ValueError(msg) from None


def as_list(value: Any) -> list[Any]:
    """Return one or several values as a list."""
    is_one = isinstance(value, str) or not isinstance(value, Iterable) or getattr(value, "ndim", 1) == 0
    return [value] if is_one else list(value)


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"an {name}" if name[0] in "aeiouAEIOU" else f"a {name}"
