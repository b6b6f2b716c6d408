from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ._canvas import finish, read_flat_map
from ._ruler import add_ruler
from ._scanpy import scatter
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
    r"""Draw new cells over the cells of the map on which they were placed.

    The reference lies below in grey. New cells that may not belong there are ringed.

    Parameters
    ----------
    adata_new
        Cells that `scgeoae.tl.transform` placed.
    adata
        The reference.
    basis
        The `key` of the map; it must have 2 dimensions.
    color
        Column of ``adata_new.obs`` or gene to colour the new cells by, or several, one panel each.
    outlier_color
        Of the rings around outliers; `None` for no rings.
    reference_color
        Of the cells of the reference.
    ruler
        Draw a scale bar in units of the representation.
    outliers
        Show the whole map. By default cells far outside are marked at the border.
    ax
        Axes to draw on; only with one colour.
    show, save, return_fig
        As in `scgeoae.pl.indicatrices`.
    **kwargs
        Passed on to `scanpy.pl.embedding` of the new cells.

    Returns
    -------
    The axes (a list with several colours) if ``show=False``, or the figure if ``return_fig=True``.

    Raises
    ------
    KeyError
        If one of the two has no such map.
    ValueError
        If it is not two-dimensional.

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
    kwargs = {"size": min(120_000 / len(z_new), 60)} | kwargs
    unit = m.unit if ruler else None
    drawn = scatter(new, ax=ax, color=color, **kwargs)
    for panel in drawn:
        set_view(panel, both, box)
        panel.scatter(
            *z.T, s=min(40_000 / len(z), 20), color=reference_color, linewidths=0, zorder=0, rasterized=len(z) > 200_000
        )
        if outlier_color is not None:
            panel.scatter(
                *z_new[is_outlier].T, s=30, facecolors="none", edgecolors=[outlier_color], linewidths=0.6, zorder=3
            )
            panel.set_xlabel(
                f"{panel.get_xlabel()}     ○ {is_outlier.sum():,} of {len(z_new):,} new cells are outliers"
            )
        if unit is not None:
            add_ruler(panel, unit, both)
    return finish(drawn, f"transform_{m.key}", show=show, save=save, return_fig=return_fig)
