"""What is in an AnnData, slot by slot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

if TYPE_CHECKING:
    from anndata import AnnData

ATTRIBUTES = ("obs", "var", "obsm", "varm", "obsp", "varp", "layers", "uns")


def slots(adata: AnnData) -> dict[str, Any]:
    """Return every array and scalar of an AnnData under its path."""
    found: dict[str, Any] = {}

    def add(path: str, value: Any) -> None:
        if isinstance(value, pd.DataFrame):
            found[f"{path}.index"] = value.index
            names: list[Any] = []
            for name, column in value.items():
                names.append(name)
                # one name may be that of several columns
                add(f"{path}[{name!r}]{'´' * (names.count(name) - 1)}", column)
        elif isinstance(value, Mapping):
            for name, entry in value.items():
                add(f"{path}[{name!r}]", entry)
        else:
            found[path] = value

    add("X", adata.X)
    for attribute in ATTRIBUTES:
        add(attribute, getattr(adata, attribute))
    return found


def in_memory(value: Any) -> Any:
    """Return an array that may be on disk or lazy as one in memory."""
    if hasattr(value, "to_memory"):  # on disk
        return value.to_memory()
    if hasattr(value, "compute"):  # lazy
        return value.compute()
    if hasattr(value, "id") and hasattr(value, "file"):  # an h5py data set
        return value[:]
    return value


def fingerprint(value: Any) -> tuple[Any, ...]:
    """Return what tells whether a slot has changed, wherever it is kept."""
    if value is None or isinstance(value, str | int | float):
        return (repr(value),)
    value = in_memory(value)
    if sparse.issparse(value):
        value = value.tocsr()
        return (value.shape, *map(fingerprint, (value.data, value.indices, value.indptr)))
    if isinstance(value, pd.Series | pd.Index):
        # Scanpy's plots make categories of text
        value = value.to_numpy() if value.dtype.kind in "fiub" else np.array(value.astype(object))
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return value.dtype.str, value.shape, hash(value.tobytes())
    return (repr(value.tolist() if isinstance(value, np.ndarray) else value),)


def fingerprints(adata: AnnData) -> dict[str, tuple[Any, ...]]:
    """Return that of every slot."""
    return {path: fingerprint(value) for path, value in slots(adata).items()}
