"""What a call returned or wrote, as a flat mapping that can be compared with another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import sparse

from ..payload import shown
from .slots import in_memory, slots

if TYPE_CHECKING:
    from matplotlib.collections import Collection

Values = dict[str, np.ndarray]


def flat(value: Any, path: str = "") -> Values:
    """Return every array, number and text in a value, under its path."""
    if isinstance(value, AnnData):
        value = {name: slot for name, slot in slots(value).items() if slot is not None}
    elif isinstance(value, Figure):
        value = value.axes
    elif isinstance(value, Axes):
        value = drawn(value)
    elif hasattr(value, "_manifest"):
        value = shown(value)
    elif isinstance(value, torch.nn.Module):
        value = dict(value.state_dict())
    elif hasattr(value, "_asdict"):
        value = value._asdict()
    elif hasattr(value, "__dataclass_fields__"):
        value = vars(value)
    elif isinstance(value, pd.DataFrame):
        if value.index.is_unique and value.index.dtype.kind not in "iuf":
            value = value.sort_index()  # a file does not keep the order of entries
        value = {"index": value.index, **{str(name): column for name, column in value.items()}}
    if isinstance(value, Mapping):
        return {k: v for name, entry in value.items() for k, v in flat(entry, f"{path}/{name}").items()}
    if isinstance(value, set):
        value = sorted(value)
    if isinstance(value, list | tuple) and not all(isinstance(entry, str | float | int | None) for entry in value):
        return {k: v for i, entry in enumerate(value) for k, v in flat(entry, f"{path}/{i}").items()}
    return {} if value is None else {path: plain(value)}


def plain(value: Any) -> np.ndarray:
    """Return numbers as float64 and everything else as text."""
    value = in_memory(value)
    if sparse.issparse(value):
        value = value.toarray()
    elif isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    elif isinstance(value, pd.Series | pd.Index):
        value = value.to_numpy() if value.dtype.kind in "fiub" else np.array(value.astype(object))
    array = np.asarray(value)
    if array.dtype.kind in "fiub":
        return array.astype(np.float64)
    return np.array([repr(entry) for entry in array.ravel().tolist()])


def drawn(ax: Axes) -> dict[str, Any]:
    """Return what is drawn in a panel, in units of its data."""
    if ax.figure.stale:  # not yet drawn for another of its panels
        ax.figure.canvas.draw()
    return {
        "title": ax.get_title(),
        "labels": [ax.get_xlabel(), ax.get_ylabel()],
        "limits": [*ax.get_xlim(), *ax.get_ylim()],
        "lines": [line.get_xydata() for line in ax.lines],
        "texts": [text.get_text() for text in ax.texts],
        "legend": [text.get_text() for text in ax.get_legend().get_texts()] if ax.get_legend() else [],
        "collections": [drawn_collection(collection) for collection in ax.collections],
    }


def drawn_collection(collection: Collection) -> dict[str, Any]:
    paths = [path.vertices for path in collection.get_paths()]
    return {
        "offsets": np.ma.filled(collection.get_offsets(), np.nan),
        "values": None if collection.get_array() is None else np.ma.filled(collection.get_array(), np.nan),
        "colors": collection.get_facecolor(),
        "paths": np.concatenate(paths) if paths else None,
    }


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Return the largest difference of two arrays, relative to the largest number: infinite if they do not compare."""
    if one.shape != other.shape:
        return np.inf
    if "U" in (one.dtype.kind, other.dtype.kind):
        return 0.0 if one.dtype.kind == other.dtype.kind and (one == other).all() else np.inf
    if not np.array_equal(np.isnan(one), np.isnan(other)):
        return np.inf
    known = ~np.isnan(one)
    if not known.any():
        return 0.0
    one, other = one[known], other[known]
    with np.errstate(all="ignore"):
        apart = np.abs(one - other)[one != other].max(initial=0)
        return float(apart / max(np.abs(other).max(), np.finfo(float).tiny))


def differences(found: Values, expected: Values) -> dict[str, float]:
    """Return the difference at every path where there is one."""
    apart = dict.fromkeys(found.keys() ^ expected.keys(), np.inf)
    apart |= {path: difference(found[path], expected[path]) for path in found.keys() & expected.keys()}
    return {path: value for path, value in apart.items() if value > 0}
