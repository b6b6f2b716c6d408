"""What is said of an argument that is of another kind than was asked for."""

from __future__ import annotations

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


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"an {name}" if name[0] in "aeiouAEIOU" else f"a {name}"
