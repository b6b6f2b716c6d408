"""Checks of arguments, and their error messages."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from os import PathLike
from typing import Any


def check_adata(adata: Any) -> None:
    """Raise if it is not an AnnData, or an object with its slots."""
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
        raise TypeError(msg)


def check_name(value: Any, argument: str, *, required: bool = False) -> None:
    """Raise if the name of a slot is not text; None is allowed unless the name is `required`."""
    if (required or value is not None) and not isinstance(value, str):
        msg = f"Expected `{argument}` to be a name, found {value!r}, {_kind(value)}."
        raise TypeError(msg)


def check_path(path: Any) -> None:
    """Raise if it is not a path."""
    if not isinstance(path, str | PathLike):
        msg = f"Expected `path` to name a file, found {path!r}."
        raise TypeError(msg)


def checked_names(names: Any, argument: str) -> list[str]:
    """Return one or several names as a list without repetitions."""
    found = as_list(names)
    if not all(isinstance(name, str) for name in found):
        msg = f"Expected `{argument}` to be a name or a list of names, found {names!r}."
        raise TypeError(msg)
    return list(dict.fromkeys(found))


def checked_integer(value: Any, argument: str, least: int, *, or_: str | None = None) -> int:
    """Return an integer of at least `least`; `or_` says what else the caller allows."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        allowed = f"an integer >= {least}" if or_ is None else f"an integer >= {least} or {or_}"
        msg = f"Expected `{argument}` to be {allowed}, found {value!r}."
        raise ValueError(msg)
    return int(value)


def checked_number(value: Any, argument: str, *, or_: str | None = None) -> float:
    """Return a finite number >= 0; `or_` says what else the caller allows."""
    if not isinstance(value, Real) or not math.isfinite(value) or value < 0:
        allowed = "a finite number >= 0" if or_ is None else f"a finite number >= 0 or {or_}"
        msg = f"Expected `{argument}` to be {allowed}, found {value!r}."
        raise ValueError(msg)
    return float(value)


def check_flag(value: Any, argument: str) -> None:
    """Raise if it cannot be read as true or false, like an array."""
    try:
        bool(value)
    except (TypeError, ValueError):
        msg = f"Expected `{argument}` to be True or False, found {_kind(value)}."
        raise TypeError(msg) from None


def as_list(value: Any) -> list[Any]:
    """Return one thing or several as a list."""
    is_one = isinstance(value, str) or not isinstance(value, Iterable) or getattr(value, "ndim", 1) == 0
    return [value] if is_one else list(value)


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"an {name}" if name[0] in "aeiouAEIOU" else f"a {name}"
