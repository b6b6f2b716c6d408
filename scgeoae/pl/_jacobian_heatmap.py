from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from matplotlib.colors import TwoSlopeNorm

from .._anndata.slots import Slots
from .._runtime import default_torch_modes
from ._canvas import finish, panels_by_side, read_flat_map, sides_of
from ._heatmap import color_limit, heatmap

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from .._anndata.map import Map
    from .._anndata.slots import Side
    from ._heatmap import Bound

# The color scale reaches at least 0.1 (26% of area). So a good map stays pale and does not look as distorted as a bad
# one.
MIN_LIMIT = 0.1
LABELS = {
    "decoder": r"$\log_{10}$ ($\sqrt{\det G}$ / mean)",
    "encoder": r"$\log_{10}$ ($\sqrt{\det P}$ / mean)",
}


@default_torch_modes
def jacobian_heatmap(
    adata: AnnData,
    *,
    basis: str = "geoae",
    side: Literal["decoder", "encoder", "both"] = "decoder",
    resolution: int = 250,
    background: bool = True,
    cmap: Any = "RdBu_r",
    vmax: Bound | None = None,
    ruler: bool = True,
    outliers: bool = False,
    ax: Axes | None = None,
    show: bool | None = None,
    save: bool | str | Path | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Axes | list[Axes] | Figure | None:
    """Draw which regions of the map look larger or smaller than they are.

    The color is log10 of √det G relative to its mean over the cells. √det G, the generalized Jacobian determinant, is
    the area in the data per unit of area on the map; G is the metric tensor. Above 0 (red), a region holds more of the
    data than its area on the map suggests; below 0 (blue), less. 0.3 is a factor of two.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae` or `scgeoae.tl.distortion` was run.
    basis
        The `key_added` of that run, or ``"umap"`` for a UMAP. The map must have two dimensions.
    side
        ``"decoder"``: G measures lengths on the decoder's surface (the pullback metric). ``"encoder"``: G is the metric
        that the encoder pushes forward, taken at the decoded points between the cells. ``"both"``: one panel for each,
        with the same color scale.
    resolution
        Number of pixels of the background along the longer side of the box around the cells.
    background
        Also color the area between the cells, computed by the stored model. Otherwise, draw only the cells, as is
        always done if the graph Laplacian estimated the metric, which leaves no model.
    cmap
        Diverging colormap, centered at 0.
    vmax
        Largest absolute value of the color scale: a number, a percentile such as ``"p95"``, or a function of the
        absolute values at the cells (with both sides, the larger result counts). Default: ``"p99"``, but at least 0.1.
    ruler, outliers, ax, show, save, return_fig, **kwargs
        As in `scgeoae.pl.indicatrices`.

    Returns
    -------
    The axes (a list of two with both sides) if ``show=False``, or the figure if ``return_fig=True``.

    Raises
    ------
    KeyError
        If there is no map under `basis`.
    ValueError
        If the map is not two-dimensional, or an argument is out of range.

    References
    ----------
    Nazari, Damrich & Hamprecht 2023, arXiv 2306.17638.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> ax = sg.pl.jacobian_heatmap(adata, show=False)
    """
    sides = sides_of(side, ax)
    m = read_flat_map(adata, basis, "sg.pl.jacobian_heatmap")
    names = {s: Slots(m.key, s).log_area for s in sides}
    columns = {s: m.column(name) for s, name in names.items()}
    limit = color_limit(vmax, columns.values(), default="p99", least=MIN_LIMIT)
    panels = panels_by_side(sides, ax)
    drawn = [
        heatmap(
            m,
            column=names[s],
            evaluate=_log_area_of(m, s) if background and m.has_model else None,
            scale=TwoSlopeNorm(0, vmin=-limit, vmax=limit),
            cmap=cmap,
            label=LABELS[s],
            resolution=resolution,
            ruler=ruler,
            outliers=outliers,
            ax=panels[s],
            **(({"title": s} if side == "both" else {}) | kwargs),
        )
        for s in sides
    ]
    return finish(drawn, f"jacobian_heatmap_{m.key}", show=show, save=save, return_fig=return_fig)


def _log_area_of(m: Map, side: Side) -> Callable[[Tensor], Tensor]:
    """Return a function that gives the relative log area at positions on the map."""
    area = m.relative_log_area(side)
    return lambda z: area(m.model.metric_of(side, z))
