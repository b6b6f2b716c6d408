from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ._canvas import finish, read_flat_map
from ._labels import mend_labels
from ._ruler import add_ruler
from ._scanpy import MAX_VECTOR_MARKS, scatter
from ._view import data_box, set_view

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def transform(
    adata_new: AnnData,
    adata: AnnData,
    *,
    basis: str = "geoae",
    color: str | Sequence[str] | None = None,
    outlier_color: Any = "black",
    reference_color: Any = "lightgray",
    ruler: bool = True,
    outliers: bool = False,
    ax: Axes | None = None,
    show: bool | None = None,
    save: bool | str | Path | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Axes | list[Axes] | Figure | None:
    """Draw new cells in color over the reference cells in gray.

    Rings mark new cells that may not belong on the map (outliers), and the x-axis label counts them.

    Parameters
    ----------
    adata_new
        New cells, placed with `scgeoae.tl.transform`.
    adata
        The reference.
    basis
        The `key` of the map. It must have two dimensions.
    color
        Column of ``adata_new.obs`` or gene to color the new cells by. A list draws one panel for each.
    outlier_color
        Color of the rings around outliers, or `None` for no rings.
    reference_color
        Color of the reference cells.
    ruler, outliers, ax, show, save, return_fig
        As in `scgeoae.pl.indicatrices`.
    **kwargs
        Passed on to `scanpy.pl.embedding`, which draws the new cells.

    Returns
    -------
    The axes (a list with several colors) if ``show=False``, or the figure if ``return_fig=True``.

    Raises
    ------
    KeyError
        If one of the two does not have the map.
    ValueError
        If the map is not two-dimensional.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> known, new = adata[:600].copy(), adata[600:].copy()
    >>> sg.tl.geoae(known)
    >>> sg.tl.transform(new, known, use_rep="X_pca")
    >>> ax = sg.pl.transform(new, known, color="bulk_labels", show=False)
    """
    m, new = (read_flat_map(cells, basis, "sg.pl.transform") for cells in (adata, adata_new))
    z, z_new = m.positions, new.positions
    call = f"sg.tl.transform(adata_new, adata, key={m.key!r})"
    is_outlier = new.column(m.slots.outlier, call).astype(bool)
    both = np.concatenate([z, z_new])
    box = data_box(both, outliers=outliers)
    kwargs = {"size": min(120_000 / len(z_new), 30)} | kwargs
    unit = m.unit if ruler else None
    drawn = scatter(new, ax=ax, color=color, **kwargs)
    for panel in drawn:
        set_view(panel, both, box)
        mend_labels(panel, outline=kwargs.get("legend_fontoutline") is None)
        x, y = z.T
        panel.scatter(
            x,
            y,
            s=min(40_000 / len(z), 12),
            color=reference_color,
            linewidths=0,
            zorder=0,
            rasterized=len(z) > MAX_VECTOR_MARKS,
        )
        if outlier_color is not None:
            x, y = z_new[is_outlier].T
            panel.scatter(x, y, s=30, facecolors="none", edgecolors=[outlier_color], linewidths=0.6, zorder=3)
            panel.set_xlabel(f"{panel.get_xlabel()}\n○ {is_outlier.sum():,} of {len(z_new):,} new cells are outliers")
        if unit is not None:
            add_ruler(panel, unit, both, below=ax is None)
    return finish(drawn, f"transform_{m.key}", ax=ax, style=kwargs, show=show, save=save, return_fig=return_fig)
