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
        """A result of `scgeoae.tl.geodesic`."""

        source: str
        target: str
        coordinates: NDArray[Any]
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
    """Draw geodesics, the shortest paths along the decoder's surface, on the map.

    Each curve is labeled with its length, in units of the representation.

    Parameters
    ----------
    adata
        Annotated data with the map.
    paths
        Result of `scgeoae.tl.geodesic`, or a list of them.
    basis
        The `key` of the map on which the paths were computed. The map must have two dimensions.
    color
        Column of `obs` or gene to color the cells by. A list draws one panel for each.
    line_color
        Color of the curves.
    straight
        Also draw a dotted straight line between the ends of each curve.
    ruler, outliers, ax, show, save, return_fig, **kwargs
        As in `scgeoae.pl.indicatrices`.

    Returns
    -------
    The axes (a list with several colors) if ``show=False``, or the figure if ``return_fig=True``.

    Raises
    ------
    KeyError
        If there is no map under `basis`.
    ValueError
        If the map is not two-dimensional, or there are no paths.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> path = sg.tl.geodesic(adata, "CD14+ Monocyte", "CD19+ B", groupby="bulk_labels", genes=[])
    >>> ax = sg.pl.geodesics(adata, path, color="bulk_labels", show=False)
    """
    m = read_flat_map(adata, basis, "sg.pl.geodesics")
    several: list[Any] = [paths] if hasattr(paths, "coordinates") else as_list(paths)
    if not several or not all(hasattr(path, "coordinates") for path in several):
        msg = "Expected `paths` to be a result of sg.tl.geodesic, or a list of results."
        raise ValueError(msg)
    drawn = draw_cells(m, box_of(m, outliers=outliers), ax=ax, ruler=ruler, color=color, **kwargs)
    for panel in drawn:
        for path in several:
            curve = path.coordinates
            # the curve crosses cells of all colors, so it gets a white margin
            panel.plot(*curve.T, color="white", linewidth=3.2, alpha=0.8, zorder=4)
            panel.plot(*curve.T, color=line_color, linewidth=1.4, zorder=5)
            x, y = curve[[0, -1]].T
            panel.scatter(x, y, s=18, color=[line_color], edgecolors="white", linewidths=0.8, zorder=6)
            if straight:
                panel.plot(x, y, color=line_color, linewidth=0.8, linestyle=":", zorder=4)
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
