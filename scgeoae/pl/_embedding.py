from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._anndata.map import read_map
from .._arguments import check_found
from ._canvas import finish, fit_sizes
from ._labels import mend_labels
from ._ruler import add_ruler
from ._scanpy import drawn_dimensions, groups_in_panels
from ._scanpy import embedding as scatter
from ._view import Box, data_box, set_view, set_view_3d

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def embedding(
    adata: AnnData,
    basis: str = "geoae",
    *,
    color: str | Sequence[str] | None = None,
    ruler: bool = True,
    outliers: bool = False,
    ax: Axes | None = None,
    show: bool | None = None,
    save: bool | str | Path | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Axes | list[Axes] | Figure | None:
    """Draw the cells on a map, as `scanpy.pl.umap` does on a UMAP, but to scale.

    It takes every argument of `scanpy.pl.umap` and `scanpy.pl.embedding`, which it calls to draw the cells. What it
    adds:

    - Both axes have the same scale, so a circle in the data is not drawn as an ellipse.
    - A ruler shows how long a distance on the map is in the data (docs/distances.md).
    - A few cells far from the rest do not press the others into a corner. A note in a corner of the panel counts the
      cells outside, and names groups that are all outside.
    - Labels stand out from the cells. They and legends stay inside the figure. Cells are smaller in small panels, and
      if there are fewer than 400.
    - Many cells are drawn as an image inside the vector file, which keeps it small.

    Parameters
    ----------
    adata
        Annotated data with the map.
    basis
        Name of the map or of any embedding in `obsm` with two dimensions or more, such as ``"umap"`` or ``"X_pca"``.
    color
        Column of `obs` or gene to color the cells by. A list draws one panel for each.
    ruler
        Draw a scale bar in units of the representation, for maps that were made by `scgeoae.tl.geoae` or measured by
        `scgeoae.tl.distortion`. Where the scale varies from place to place, so that it is more than 1.5 times as large
        at its 90% quantile over the cells as at its 10% quantile, three bars show the same distance at the 10%
        quantile (where the map enlarges the data most), the median and the 90% quantile. In three dimensions, a note
        gives the lengths of the edges of the box.
    outliers
        Show the whole map. By default, cells far from the rest are left out where they are so far away that the middle
        95% of the cells, on each axis, would fill less than about half of the panel.
    ax
        Axes to draw on. Only with one panel.
    show
        Show the figure and return nothing. Default: `scanpy.settings.autoshow`.
    save
        Save the figure: `True` or a string to append to the default file name, inside `scanpy.settings.figdir`, as in
        Scanpy; or a `pathlib.Path` to use as it is.
    return_fig
        Return the figure instead of showing it.
    **kwargs
        Passed on to `scanpy.pl.embedding`, such as `groups`, `palette`, `size`, `legend_loc`, `vmax`, `dimensions` or
        ``projection="3d"``. `rasterized` decides whether cells are drawn as an image inside a vector file, with as
        many dots per inch as the figure is saved with; by default, they are beyond 5,000.

    Returns
    -------
    The axes (a list with several panels) if ``show=False``, or the figure if ``return_fig=True``.

    Raises
    ------
    KeyError
        If there is no embedding under `basis`.
    ValueError
        If the embedding has fewer dimensions than are drawn.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> ax = sg.pl.embedding(adata, color="bulk_labels", show=False)

    `basis` takes other embeddings too. These have a ruler once they are measured:

    >>> sg.tl.distortion(adata, basis="umap", method="laplacian")  # faster than the default
    >>> axes = sg.pl.embedding(adata, "umap", color=["louvain", "CST3"], legend_loc="on data", show=False)
    """
    m = read_map(adata, basis, "basis")
    if m.slot is None:
        is_map = m.key == "geoae" or m.kind is not None
        check_found(m.slots.embedding, adata.obsm, "adata.obsm", f"; run {m.call} first" if is_map else "")
    z = m.positions
    is_solid = kwargs.get("projection") == "3d"
    least = 3 if is_solid else 2
    if m.n_components < least:
        msg = (
            f"Expected an embedding of {least} dimensions or more, found {m.n_components} in adata.obsm[{m.slot!r}]; "
            "sg.tl.geoae(adata, n_components=...) sets how many a map has."
        )
        raise ValueError(msg)
    factor = kwargs.get("scale_factor") or 1
    # axes in three dimensions do not cut off what lies beyond their limits
    solid_box = data_box(z, outliers=outliers) if is_solid else None
    hidden = None if solid_box is None else ~solid_box.holds(z)
    unit = None
    # on a projection, distances are too short
    if ruler and m.kind is not None and m.n_components == least:
        unit = m.unit._replace(per_length=m.unit.per_length / factor)
    panels = scatter(m, ax=ax, hidden=hidden, color=color, **kwargs)
    chosen = {name: kwargs[name] for name in ("components", "dimensions", "projection") if name in kwargs}
    shown = drawn_dimensions(len(panels), m.n_components, **chosen)
    of_panels = groups_in_panels(m, len(panels), color, kwargs.get("groups"))
    for panel, dimensions, groups in zip(panels, shown, of_panels, strict=True):
        fit_sizes(panel, len(z), kwargs)
        at = factor * z[:, dimensions]
        if solid_box is not None:
            set_view_3d(panel, at, Box(*(end[dimensions] for end in solid_box)), unit, groups=groups)
            continue
        set_view(panel, at, data_box(at, outliers=outliers), fit=True, groups=groups)
        mend_labels(panel, outline=kwargs.get("legend_fontoutline") is None)
        if unit is not None:
            add_ruler(panel, unit, at, below=ax is None)
    return finish(panels, m.key, ax=ax, style=kwargs, show=show, save=save, return_fig=return_fig)
