from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.colors import TwoSlopeNorm
from scipy.spatial import cKDTree

from .._anndata.results import read_metric, read_model
from .._anndata.slots import Slots
from ..geometry import relative_log_area
from ._finish import finish
from ._map import read_map, unit_name
from ._ruler import add_ruler
from ._scanpy import scatter
from ._view import data_box, set_view

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from ._view import Box

# Below a tenth (26% of area) the colours stay pale, so that the map of a good model looks good
# and not as colourful as that of a bad one.
MIN_LIMIT = 0.1


def jacobian_heatmap(
    adata: AnnData,
    *,
    basis: str = "geoae",
    resolution: int = 250,
    background: bool = True,
    cmap: Any = "RdBu_r",
    vmax: float | None = None,
    ruler: bool = True,
    outliers: bool = False,
    ax: Axes | None = None,
    show: bool | None = None,
    save: bool | str | Path | None = None,
    **kwargs: Any,
) -> Axes | None:
    r"""Draw which regions of the map look larger or smaller than they are.

    The colour is log10 of the generalised Jacobian determinant √det G relative to its mean
    over the cells. Where it is above 0 (red), a region holds more of the data than its area on the
    map shows, where below 0 (blue), less; 0.3 is a factor of two.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae` was run.
    basis
        The `key_added` of that run; its map must have 2 dimensions.
    resolution
        Number of pixels of the background along the longer side of the box around the cells.
    background
        Fill the support of the data, from the stored model; else draw the cells only.
    cmap
        A diverging colour map; its middle is 0.
    vmax
        Largest absolute value of the colours. By default the 99% quantile over the cells, but
        at least 0.1.
    ruler
        Draw a scale bar in units of the representation.
    outliers
        Show the whole map. By default cells far outside are marked at the border.
    ax, show, save, **kwargs
        As in `scgeoae.pl.indicatrices`.

    Returns
    -------
    The axes if ``show=False``.

    Raises
    ------
    KeyError
        If there is no map under `basis`.
    ValueError
        If the map is not two-dimensional, or an argument is out of its range.

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
    z = read_map(adata, basis, "sg.pl.jacobian_heatmap")
    if resolution < 2 or (vmax is not None and not vmax > 0):
        msg = f"Expected `resolution` >= 2 and `vmax` > 0, found {resolution!r} and {vmax!r}."
        raise ValueError(msg)
    metric = torch.from_numpy(read_metric(adata, basis))
    log_area = relative_log_area(metric).numpy()
    limit = vmax or max(float(np.quantile(np.abs(log_area), 0.99)), MIN_LIMIT)
    norm = TwoSlopeNorm(0, vmin=-limit, vmax=limit)

    box = data_box(z, outliers=outliers)
    # a thin outline tells the cells from a background of nearly their colour; they are a third of
    # Scanpy's size, so that it is seen between them
    kwargs = {"title": "", "size": 40_000 / len(z), "edgecolor": "0.25", "linewidths": 0.15} | kwargs
    (panel,) = scatter(
        adata,
        basis,
        ax=ax,
        color=Slots(basis).log_area,
        norm=norm,
        cmap=cmap,
        colorbar_loc=None,
        **kwargs,
    )
    set_view(panel, z, box)
    if background:
        x, y, support = _support(z, box, resolution)
        positions = np.stack(np.meshgrid(x, y), axis=-1)[support].astype(np.float32)
        values = np.ma.masked_all(support.shape)
        on_grid = read_model(adata, basis).metric(torch.from_numpy(positions))
        values[support] = relative_log_area(on_grid, reference=metric).numpy()
        panel.pcolormesh(x, y, values, norm=norm, cmap=cmap, shading="nearest", alpha=0.55, rasterized=True, zorder=0)
    panel.figure.colorbar(
        panel.collections[0], ax=panel, label=r"$\log_{10}$ ($\sqrt{\det G}$ / mean)", extend="both", fraction=0.05
    )
    if ruler:
        add_ruler(panel, unit_name(adata, basis))
    return finish([panel], f"jacobian_heatmap_{basis}", show=show, save=save)


def _support(z: NDArray, box: Box, resolution: int) -> tuple[NDArray, NDArray, NDArray[np.bool_]]:
    """Return the grid lines x and y and which of their crossings lie near a cell."""
    reach, step = box.longest / 32, box.longest / resolution
    x, y = (np.arange(box.low[a] - reach, box.high[a] + reach + step, step) for a in range(2))
    crossings = np.stack(np.meshgrid(x, y), axis=-1)
    distance, _ = cKDTree(z).query(crossings, distance_upper_bound=reach)
    return x, y, np.isfinite(distance)
