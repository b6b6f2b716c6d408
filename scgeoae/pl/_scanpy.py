"""All calls of Scanpy's plots, which its next version changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scanpy as sc
from anndata import AnnData

from .._anndata.columns import obs_column
from .._arguments import as_list

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .._anndata.map import Map

# beyond this number of points, viewers fail to open a vector file
MAX_VECTOR_POINTS = 200_000
# Keywords of `scanpy.pl.embedding` that can move the cells, and the values that leave them in place.
MOVING: dict[str, tuple[Any, ...]] = {
    "components": (None, "1,2", ["1,2"]),
    "dimensions": (None, [0, 1], [[0, 1]]),
    "projection": ("2d",),
    **dict.fromkeys(("scale_factor", "offsets", "offset_transform", "transform"), (None,)),
}


def scatter(m: Map, *, ax: Axes | None, **kwargs: Any) -> list[Axes]:
    """Draw the cells on the map with `scanpy.pl.embedding`, and return one axes for each color."""
    _check_in_place(kwargs)
    if m.adata.n_obs > MAX_VECTOR_POINTS:
        kwargs.setdefault("rasterized", True)
    # Scanpy finds velocity arrows by the short name, unless obsm has another embedding under it
    name = m.slot if m.key in m.adata.obsm else m.key
    # with the preset of version 2, Scanpy 1.13 keeps its matplotlib plots in `legacy`
    plots = getattr(sc.pl, "legacy", sc.pl)
    drawn = plots.embedding(_drawable(m, kwargs.get("color")), basis=name, ax=ax, show=False, **kwargs)
    axes = drawn if isinstance(drawn, list) else [drawn]
    for panel in axes:
        panel.set_xlabel(f"{m.key}1")
        panel.set_ylabel(f"{m.key}2")
    return axes


def _check_in_place(kwargs: dict[str, Any]) -> None:
    """Raise if a keyword would move the cells away from what is drawn over them."""
    for name in MOVING.keys() & kwargs.keys():
        # tuples and arrays are equivalent to lists
        if np.asarray(kwargs[name], dtype=object).tolist() not in MOVING[name]:
            msg = (
                f"Expected `{name}` to be {MOVING[name][0]!r}, found {kwargs[name]!r}: it moves the cells, but not "
                "what this plot draws over them in the two dimensions of the map. Leave it out, or draw the cells "
                "alone with scanpy.pl.embedding."
            )
            raise ValueError(msg)


def _drawable(m: Map, color: Any) -> AnnData:
    """Return an AnnData that Scanpy draws and does not change.

    Its positions are an array, its columns have one name each, or Scanpy would overwrite them, and nullable booleans,
    which `anndata.concat` makes of a column that some cells lack, are categories.
    """
    adata, slot = m.adata, str(m.slot)
    if not isinstance(adata.obs, pd.DataFrame):  # it was read lazily
        adata = adata.to_memory()
    columns = {name: obs_column(adata, name) for name in as_list(color) if name is not None and name in adata.obs}
    flags = {name: column for name, column in columns.items() if isinstance(column.dtype, pd.BooleanDtype)}
    is_unique = adata.obs.columns.is_unique and adata.var.columns.is_unique
    if isinstance(adata.obsm[slot], np.ndarray) and is_unique and not flags:
        return adata
    obs, var = (frame.loc[:, ~frame.columns.duplicated()] for frame in (adata.obs, adata.var))
    return AnnData(
        adata.X,
        obs=obs.assign(**{name: column.astype("category") for name, column in flags.items()}),
        var=var,
        uns=dict(adata.uns),
        obsm={**adata.obsm, slot: m.positions},
        layers=dict(adata.layers),
        raw=adata.raw,
    )
