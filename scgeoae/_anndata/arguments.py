"""What is said of an argument that is of another kind than was asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def check_adata(adata: Any) -> None:
    """Say if it is no AnnData, nor anything that has its slots."""
    if not (hasattr(adata, "obsm") and hasattr(adata, "uns")):
        msg = f"Expected an AnnData, found {_kind(adata)}."
        raise TypeError(msg)


def check_name(value: Any, argument: str) -> None:
    """Say if what should name a slot is no text; None names none."""
    if value is not None and not isinstance(value, str):
        msg = f"Expected `{argument}` to be a name, found {value!r}, {_kind(value)}."
        raise TypeError(msg)


def checked_names(names: Any, argument: str) -> list[str]:
    """Return the names in one or several, or say that the argument is none."""
    found = [names] if isinstance(names, str) else list(names) if isinstance(names, Iterable) else [None]
    if not all(isinstance(name, str) for name in found):
        msg = f"Expected `{argument}` to be a name or a list of names, found {names!r}."
        raise TypeError(msg)
    return found


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"an {name}" if name[0] in "aeiouAEIOU" else f"a {name}"
