"""All calls of Scanpy's plots, which its next version changes."""

from __future__ import annotations

import warnings
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scanpy as sc
from anndata import AnnData

from .._anndata.columns import is_lazy, obs_column
from .._arguments import as_list
from .._matrix import blocks, in_memory, is_stored, loaded
from ._layout import attach_color_bar

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from .._anndata.map import Map

# Beyond this number of points and lines in a figure, they are drawn as an image: a point takes 143 bytes of an SVG, and
# viewers are slow to open files of millions of them.
MAX_VECTOR_MARKS = 5_000
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
    axes = embedding(m, ax=ax, **kwargs)
    for panel in axes:
        panel.set_xlabel(f"{m.key}1")
        panel.set_ylabel(f"{m.key}2")
    return axes


def embedding(
    m: Map,
    *,
    ax: Axes | None,
    hidden: NDArray[np.bool_] | None = None,
    rasterized: bool | None = None,
    **kwargs: Any,
) -> list[Axes]:
    """Draw the cells that are not `hidden` with `scanpy.pl.embedding`, wherever its keywords move them.

    What is drawn is `rasterized` by default if there is much of it.
    """
    # Scanpy finds velocity arrows by the short name, unless obsm has another embedding under it
    name = m.slot if m.key in m.adata.obsm else m.key
    # with the preset of version 2, Scanpy 1.13 keeps its matplotlib plots in `legacy`
    plots = getattr(sc.pl, "legacy", sc.pl)
    adata = _drawable(m, hidden, **kwargs)
    drawn = plots.embedding(adata, basis=name, ax=ax, **kwargs | {"show": False, "save": False, "return_fig": False})
    axes = drawn if isinstance(drawn, list) else [drawn]
    marks: list[Any] = [collection for panel in axes for collection in panel.collections]
    count = sum(max(len(mark.get_offsets()), len(mark.get_paths())) for mark in marks)
    if rasterized is not None or count > MAX_VECTOR_MARKS:
        with warnings.catch_warnings():
            # matplotlib says so of points in three dimensions, and yet they are
            warnings.filterwarnings("ignore", "Rasterization of .* will be ignored")
            for mark in marks:
                mark.set_rasterized(rasterized is not False)
    for panel in axes:
        for mark in panel.collections:
            if mark.colorbar is not None:
                attach_color_bar(panel, mark.colorbar)
    return axes


def drawn_dimensions(
    n_panels: int,
    n_components: int,
    *,
    components: Any = None,
    dimensions: Any = None,
    projection: str = "2d",
) -> list[list[int]]:
    """Return which dimensions of the embedding each panel of `scanpy.pl.embedding` shows."""
    n = int(projection[0])
    if components is None:
        chosen = np.asarray(range(n) if dimensions is None else dimensions).reshape(-1, n)
    elif isinstance(components, str) and components == "all":
        chosen = np.array(list(combinations(range(n_components), n)))
    else:
        # these count from 1
        chosen = np.array([one.split(",") for one in as_list(components)]).astype(int) - 1
    # Scanpy pairs each color with each of them, or there are as many of both
    return [chosen[i % len(chosen)].tolist() for i in range(n_panels)]


def groups_in_panels(m: Map, n_panels: int, color: Any = None, groups: Any = None) -> list[pd.Series | None]:
    """Return the groups by which each panel of `scanpy.pl.embedding` colors the cells, or None for numbers."""
    colors = as_list(color)
    columns = [_groups(m, name, groups) for name in colors]
    # each color has equally many panels, side by side
    return [columns[i * len(colors) // n_panels] for i in range(n_panels)]


def _groups(m: Map, name: Any, chosen: Any) -> pd.Series | None:
    if name is None or name not in m.adata.obs:
        return None
    column = obs_column(m.adata, name)
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return None
    return column if chosen is None else column.where(column.isin(as_list(chosen)))


def _check_in_place(kwargs: dict[str, Any]) -> None:
    """Raise if a keyword would move the cells away from what is drawn over them."""
    for name in MOVING.keys() & kwargs.keys():
        # tuples and arrays are equivalent to lists
        if np.asarray(kwargs[name], dtype=object).tolist() not in MOVING[name]:
            msg = (
                f"Expected `{name}` to be {MOVING[name][0]!r}, found {kwargs[name]!r}: it moves the cells, but not "
                "what this plot draws over them in the two dimensions of the map. Leave it out, or draw the cells "
                "alone with sg.pl.embedding."
            )
            raise ValueError(msg)


def _drawable(m: Map, hidden: NDArray[np.bool_] | None, *, color: Any = None, **kwargs: Any) -> AnnData:
    """Return an AnnData that Scanpy draws and does not change.

    Its positions are an array, its columns have one name each, or Scanpy would overwrite them, and nullable booleans,
    which `anndata.concat` makes of a column that some cells lack, are categories. Those of `hidden` cells are NaN.
    """
    adata, slot = m.adata, str(m.slot)
    has_genes = any(isinstance(name, str) and name not in adata.obs for name in as_list(color))
    if is_lazy(adata) or (has_genes and is_stored(_matrix(adata, kwargs.get("layer")))):
        adata = _read(m, color, **kwargs)
    columns = {name: obs_column(adata, name) for name in as_list(color) if name is not None and name in adata.obs}
    flags = {name: column for name, column in columns.items() if isinstance(column.dtype, pd.BooleanDtype)}
    is_unique = adata.obs.columns.is_unique and adata.var.columns.is_unique
    if isinstance(adata.obsm[slot], np.ndarray) and is_unique and not flags and hidden is None:
        return adata
    positions = m.positions if hidden is None else np.where(hidden[:, None], np.nan, m.positions)
    obs, var = (frame.loc[:, ~frame.columns.duplicated()] for frame in (adata.obs, adata.var))
    return AnnData(
        adata.X,
        obs=obs.assign(**{name: column.astype("category") for name, column in flags.items()}),
        var=var,
        uns=dict(adata.uns),
        obsm={**adata.obsm, slot: positions},
        obsp=dict(adata.obsp),
        layers=dict(adata.layers),
        raw=adata.raw,
    )


def _matrix(adata: AnnData, layer: str | None) -> Any:
    return adata.X if layer is None else adata.layers.get(layer)


def _read(
    m: Map,
    color: Any,
    *,
    layer: str | None = None,
    use_raw: bool | None = None,
    gene_symbols: str | None = None,
    mask_obs: Any = None,
    edges: bool = False,
    **_: Any,
) -> AnnData:
    """Return what Scanpy draws of an AnnData that is lazy or on disk: the columns of `obs` and the genes in `color`.

    The genes are read in blocks of cells.
    """
    adata = m.adata
    names = [name for name in [*as_list(color), mask_obs] if isinstance(name, str)]
    columns = {name: obs_column(adata, name) for name in dict.fromkeys(names) if name in adata.obs}
    var = loaded(adata.var)
    genes = [name for name in names if name not in columns]
    if gene_symbols is not None and gene_symbols in var:
        by_symbol = dict(zip(var[gene_symbols][::-1], var.index[::-1], strict=True))
        genes = [gene if gene in var.index else by_symbol.get(gene, gene) for gene in genes]
    is_raw = adata.raw is not None and (use_raw or (use_raw is None and layer is None))
    matrix, known = (adata.raw.X, adata.raw.var_names) if is_raw else (_matrix(adata, layer), adata.var_names)
    at = pd.Series(np.arange(len(known)), index=known).groupby(level=0).first()
    genes = [gene for gene in dict.fromkeys(genes) if matrix is not None and gene in at]
    values = None
    if genes:
        values = np.concatenate([block for _, block in blocks(matrix, at[genes].to_numpy())])
    palettes = [f"{name}_colors" for name in columns if f"{name}_colors" in adata.uns]
    drawn = AnnData(
        values if layer is None else None,
        obs=pd.DataFrame(columns, index=adata.obs_names),
        var=var[~var.index.duplicated()].reindex(genes),
        uns=dict(adata.uns) | {name: list(map(str, np.asarray(adata.uns[name]))) for name in palettes},
        obsm={**adata.obsm, str(m.slot): m.positions},
        obsp={name: in_memory(graph) for name, graph in adata.obsp.items()} if edges else None,
        layers=None if layer is None or values is None else {layer: values},
    )
    if is_raw:
        drawn.raw = drawn
    return drawn
