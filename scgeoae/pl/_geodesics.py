from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._arguments import as_list
from ._canvas import box_of, draw_cells, finish, read_flat_map

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Protocol

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    class Path2D(Protocol):
        """What `scgeoae.tl.geodesic` returns."""

        source: str
        target: str
        coordinates: NDArray
        length: float


def geodesics(
    adata: AnnData,
    paths: Path2D | Sequence[Path2D],
    *,
    basis: str = "geoae",
    color: str | Sequence[str] | None = None,
    line_color: Any = "black",
    straight: bool = True,
    ruler: bool = True,
    outliers: bool = False,
    ax: Axes | None = None,
    show: bool | None = None,
    save: bool | str | Path | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Axes | list[Axes] | Figure | None:
    r"""Draw shortest curves on the map.

    Parameters
    ----------
    adata
        Annotated data with the map.
    paths
        What `scgeoae.tl.geodesic` returned, or several.
    basis
        The `key` they were found with; the map must have 2 dimensions.
    color
        Column of `obs` or gene to colour the cells by, or several, one panel each.
    line_color
        Of the curves.
    straight
        Draw the straight lines between their ends too, dotted.
    ruler
        Draw a scale bar in units of the representation.
    outliers
        Show the whole map. By default cells far outside are marked at the border.
    ax
        Axes to draw on; only with one colour.
    show, save, return_fig
        As in `scgeoae.pl.indicatrices`.
    **kwargs
        Passed on to `scanpy.pl.embedding`.

    Returns
    -------
    The axes (a list with several colours) if ``show=False``, or the figure if ``return_fig=True``.

    Raises
    ------
    KeyError
        If there is no map under `basis`.
    ValueError
        If it is not two-dimensional, or there are no paths.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> path = sg.tl.geodesic(adata, "CD14+ Monocyte", "CD19+ B", groupby="bulk_labels", genes=[])
    >>> ax = sg.pl.geodesics(adata, path, color="bulk_labels", show=False)
    """
    m = read_flat_map(adata, basis, "sg.pl.geodesics")
    paths = [paths] if hasattr(paths, "coordinates") else as_list(paths)
    if not paths or not all(hasattr(path, "coordinates") for path in paths):
        msg = "Expected `paths` to be what sg.tl.geodesic returned, or a list of such."
        raise ValueError(msg)
    drawn = draw_cells(m, box_of(m, outliers=outliers), ax=ax, ruler=ruler, color=color, **kwargs)
    for panel in drawn:
        for path in paths:
            curve = path.coordinates
            # a white margin, since a curve runs over cells of all colors
            panel.plot(*curve.T, color="white", linewidth=3.2, alpha=0.8, zorder=4)
            panel.plot(*curve.T, color=line_color, linewidth=1.4, zorder=5)
            panel.scatter(*curve[[0, -1]].T, s=18, color=[line_color], edgecolors="white", linewidths=0.8, zorder=6)
            if straight:
                panel.plot(*curve[[0, -1]].T, color=line_color, linewidth=0.8, linestyle=":", zorder=4)
            middle = np.linalg.norm(np.diff(curve, axis=0), axis=1).cumsum()
            at = curve[int(np.searchsorted(middle, middle[-1] / 2))]
            panel.annotate(
                f"{path.length:.3g}",
                at,
                xytext=(0, 5),
                textcoords="offset points",
                ha="center",
                fontsize="small",
                zorder=7,
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1},
            )
        panel.set_xlabel(f"{panel.get_xlabel()}     (lengths in {m.unit.name})")
    return finish(drawn, f"geodesics_{m.key}", show=show, save=save, return_fig=return_fig)
