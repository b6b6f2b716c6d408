"""Every call of a Scanpy plot stands here: its next version changes them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import scanpy as sc
from anndata import AnnData
from matplotlib.artist import ArtistInspector
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from pandas.api.types import infer_dtype, is_numeric_dtype, is_string_dtype

from .._anndata.columns import check_columns, obs_column
from .._anndata.results import embedding_slot
from .._arguments import as_list

# points beyond this number make a vector file that no viewer opens
MAX_VECTOR_POINTS = 200_000
# Keywords of `scanpy.pl.embedding` that move the cells, and the values with which they stay where they are.
MOVING = {
    "components": (None, "1,2", ["1,2"]),
    "dimensions": (None, [0, 1], [[0, 1]]),
    "projection": ("2d",),
    **dict.fromkeys(("scale_factor", "offsets", "offset_transform", "transform"), (None,)),
}
# What `pandas.api.types.infer_dtype` says of objects that are numbers.
NUMBERS = ("integer", "floating", "mixed-integer-float", "boolean")


def scatter(adata: AnnData, basis: str, *, ax: Axes | None, **kwargs: Any) -> list[Axes]:
    """Draw the cells on the map with `scanpy.pl.embedding` and return one axes per colour."""
    if adata.n_obs > MAX_VECTOR_POINTS:
        kwargs.setdefault("rasterized", True)
    slot = embedding_slot(adata, basis)
    if not isinstance(adata.obsm[slot], np.ndarray):
        kind = type(adata.obsm[slot]).__name__
        msg = f"Scanpy's plots take arrays, and adata.obsm[{slot!r}] is a {kind}; replace it by its NumPy array."
        raise TypeError(msg)
    if unknown := sorted(kwargs.keys() - _keywords()):
        msg = f"Unknown keyword {', '.join(map(repr, unknown))}: neither this plot nor scanpy.pl.embedding has it."
        raise TypeError(msg)
    _check_in_place(kwargs)
    for attribute in ("obs", "var"):
        # Scanpy would write over them, when it makes categories of text
        check_columns(adata, attribute)
    _check_colors(adata, kwargs.get("color"), kwargs.get("gene_symbols"))
    # by its short name, with which Scanpy finds the arrows of velocities, unless that is a map of its own
    name = slot if basis in adata.obsm else basis
    drawn = _plots().embedding(_drawable(adata, kwargs.get("color")), basis=name, ax=ax, show=False, **kwargs)
    axes = drawn if isinstance(drawn, list) else [drawn]
    for panel in axes:
        panel.set_xlabel(f"{basis}1")
        panel.set_ylabel(f"{basis}2")
    return axes


def _plots() -> Any:
    """Return `sc.pl.legacy` where it is, which alone draws by matplotlib if the preset of Scanpy 1.13 is version 2."""
    return getattr(sc.pl, "legacy", sc.pl)


def _check_in_place(kwargs: dict[str, Any]) -> None:
    """Say which keyword would move the cells from under what is drawn over them."""
    for name in MOVING.keys() & kwargs.keys():
        # lists of tuples and arrays, which may be as well
        if np.asarray(kwargs[name], dtype=object).tolist() not in MOVING[name]:
            msg = (
                f"Expected `{name}` to be {MOVING[name][0]!r}, found {kwargs[name]!r}: it moves the cells, and not "
                "what this plot draws over them in the two dimensions of the map. Leave it out, or draw the cells "
                "alone with scanpy.pl.embedding."
            )
            raise ValueError(msg)


def _check_colors(adata: AnnData, color: Any, gene_symbols: str | None) -> None:
    """Say which colour is neither a column of `obs` that Scanpy can colour by nor a gene."""
    named = as_list(color)
    places = [adata.obs, adata.var_names]
    places += [] if adata.raw is None else [adata.raw.var_names]
    places += [set(adata.var[gene_symbols])] if gene_symbols in adata.var else []
    for name in named or [color]:
        if name is not None and not (isinstance(name, str) and any(name in place for place in places)):
            columns = ", ".join(map(repr, adata.obs)) or "nothing"
            msg = f"Did not find color={name!r} in adata.obs, which has {columns}, nor among the genes."
            raise KeyError(msg)
        if name in adata.obs:
            _check_column(adata, name)


def _check_column(adata: AnnData, name: str) -> None:
    column, colors = obs_column(adata, name), f"{name}_colors"
    if column.dtype == object:
        # of text Scanpy makes categories, whatever is missing
        is_drawn = infer_dtype(column) == "string" or infer_dtype(column, skipna=False) in NUMBERS
    else:
        is_drawn = isinstance(column.dtype, pd.CategoricalDtype) or is_numeric_dtype(column) or is_string_dtype(column)
    if not is_drawn:
        msg = (
            f"Expected the column adata.obs[{name!r}] to colour by to hold text, categories or numbers, found "
            f"{infer_dtype(column)!r}; make it text: adata.obs[{name!r}] = adata.obs[{name!r}].astype(str)."
        )
        raise TypeError(msg)
    if np.ndim(adata.uns.get(colors, ())) == 0 and not isinstance(adata.uns[colors], Mapping):
        msg = f"Expected adata.uns[{colors!r}] to be a list of colours, found {adata.uns[colors]!r}; delete it."
        raise TypeError(msg)


def _drawable(adata: AnnData, color: Any) -> AnnData:
    """Return the same with categories for nullable truth values, which Scanpy does not draw.

    `anndata.concat` makes them of truth values that some cells lack.
    """
    columns = {name: adata.obs[name] for name in as_list(color) if name is not None and name in adata.obs}
    flags = {name: column for name, column in columns.items() if isinstance(column.dtype, pd.BooleanDtype)}
    if not flags:
        return adata
    return AnnData(
        adata.X,
        obs=adata.obs.assign(**{name: column.astype("category") for name, column in flags.items()}),
        var=adata.var,
        uns=dict(adata.uns),
        obsm=dict(adata.obsm),
        layers=dict(adata.layers),
        raw=adata.raw,
    )


@cache
def _keywords() -> frozenset[str]:
    """Return what `scanpy.pl.embedding` takes: its own arguments, and those of the points it draws."""
    inspector = ArtistInspector(PathCollection)
    points = {*inspector.get_setters(), *(name for names in inspector.get_aliases().values() for name in names)}
    drawing, plot = (inspect.signature(function).parameters.keys() for function in (Axes.scatter, _plots().embedding))
    # without those that Scanpy gives to scatter itself
    return frozenset((points | drawing | plot) - {"self", "x", "y", "s", "c", "data", "kwargs", "kwds"})
