from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import TwoSlopeNorm

from .._anndata.slots import Slots
from .._runtime import default_torch_modes
from ._canvas import finish
from ._heatmap import color_bound, heatmap
from ._layout import attach_color_bar
from ._panels import parts_of, row_of_axes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure
    from torch import Tensor

    from .._anndata.map import Map
    from .._anndata.slots import Side
    from ._heatmap import Bound

# Factor of area at both ends of the colors. With one for all maps, a good map stays pale, and a UMAP does not.
LIMIT = 4.0


@default_torch_modes
def jacobian_heatmap(
    adata: AnnData,
    *,
    basis: str | Sequence[str] = "geoae",
    side: Literal["decoder", "encoder", "both"] = "decoder",
    resolution: int = 250,
    background: bool = False,
    cmap: Any = "coolwarm",
    vmax: Bound = LIMIT,
    ruler: bool = True,
    outliers: bool = False,
    ax: Axes | None = None,
    show: bool | None = None,
    save: bool | str | Path | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Axes | list[Axes] | Figure | None:
    """Draw which regions of the map look larger or smaller than they are.

    The color is √det G relative to its mean over the cells. √det G, the generalized Jacobian determinant, is the area
    in the data per unit of area on the map; G is the metric tensor. A red region is larger than it looks: it holds more
    of the data than its area on the map suggests. A blue region is smaller than it looks. The colors are the same for
    all maps, from four times smaller to four times larger, so that a good map is gray.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae` or `scgeoae.tl.distortion` was run.
    basis
        The `key_added` of that run, or ``"umap"`` for a UMAP. The map must have two dimensions. A list of several draws
        them next to each other.
    side
        ``"decoder"``: G measures lengths on the decoder's surface (the pullback metric). ``"encoder"``: G is the metric
        that the encoder pushes forward, taken at the decoded points between the cells. ``"both"``: one panel for each.
    resolution
        Number of pixels of the background along the longer side of the box around the cells.
    background
        Also color the area between neighboring cells, computed by the stored model. This has no effect if the graph
        Laplacian estimated the metric, which leaves no model.
    cmap
        Diverging colormap, whose middle means "as it looks".
    vmax
        Factor of area at which the colors end, above 1: 4, the default, is from four times smaller to four times
        larger. It may also be a percentile such as ``"p95"``, or a function of the factors at the cells, which are at
        least 1 (a cell that is twice as large and one that is half as large as it looks both have 2). With several
        panels, the larger result counts.
    ruler, outliers, ax, show, save, return_fig, **kwargs
        As in `scgeoae.pl.indicatrices`.

    Returns
    -------
    The axes (a list with several maps or both sides) if ``show=False``, or the figure if ``return_fig=True``.

    Raises
    ------
    KeyError
        If there is no map under `basis`.
    ValueError
        If a map is not two-dimensional, or an argument is out of range.

    References
    ----------
    Nazari, Damrich & Hamprecht 2023, arXiv 2306.17638.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> sg.tl.distortion(adata, basis="umap", method="laplacian")  # faster than the default
    >>> left, right = sg.pl.jacobian_heatmap(adata, basis=["umap", "geoae"], show=False)
    """
    parts = parts_of(adata, basis, side, "sg.pl.jacobian_heatmap", ax=ax, style=kwargs)
    names = [Slots(m.key, s).log_area for m, s, _ in parts]
    factors = [10 ** np.abs(m.column(name)) for (m, _, _), name in zip(parts, names, strict=True)]
    limit = max(color_bound(vmax, values) for values in factors)
    if isinstance(vmax, str) or callable(vmax):
        limit = max(limit, 1.01)  # a perfect map needs a color scale, too
    if not 1 < limit < np.inf:
        msg = f"Expected `vmax` to be a factor of area above 1, such as 4, found {vmax!r}."
        raise ValueError(msg)
    scale = TwoSlopeNorm(0, vmin=-np.log10(limit), vmax=np.log10(limit))
    drawn = [
        heatmap(
            m,
            column=name,
            evaluate=_log_area_of(m, s) if background and m.has_model else None,
            scale=scale,
            cmap=cmap,
            label=None,
            resolution=resolution,
            ruler=ruler,
            outliers=outliers,
            ax=row_ax,
            is_given=ax is not None,
            # the largest values, which Scanpy draws last, would hide all others where cells are dense
            **({"sort_order": False} | style),
        )
        for (m, s, style), name, row_ax in zip(parts, names, row_of_axes(len(parts), ax), strict=True)
    ]
    _add_color_bar(drawn, scale, cmap)
    name = f"jacobian_heatmap_{'_'.join(dict.fromkeys(part.m.key for part in parts))}"
    return finish(drawn, name, ax=ax, style=kwargs, show=show, save=save, return_fig=return_fig)


def _log_area_of(m: Map, side: Side) -> Callable[[Tensor], Tensor]:
    """Return a function that gives the relative log area at positions on the map."""
    area = m.relative_log_area(side)
    return lambda z: area(m.model.metric_of(side, z))


def _add_color_bar(panels: list[Axes], scale: Normalize, cmap: Any) -> None:
    """Add one bar for all panels, with its ticks in words."""
    ticks = scale.inverse(np.linspace(0, 1, 5))
    bar = panels[-1].figure.colorbar(
        ScalarMappable(scale, cmap),
        ax=panels,
        label="area in the data",
        extend="both",
        ticks=ticks,
        fraction=0.05 / len(panels),
        pad=0.05 / len(panels),
        aspect=20,
    )
    sizes = [f"{10 ** abs(tick):.2g}× {'smaller' if tick < 0 else 'larger'}" for tick in ticks]
    bar.set_ticklabels([*sizes[:2], "as it looks", *sizes[3:]])
    attach_color_bar(panels[-1], bar)
