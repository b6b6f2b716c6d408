from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.colors import TwoSlopeNorm

from .._anndata.results import read_column, read_metric, read_model
from .._anndata.slots import Slots
from ..geometry import relative_log_area
from ._finish import finish
from ._heatmap import heatmap
from ._map import read_map

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.axes import Axes
    from torch import Tensor

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
    if vmax is not None and not vmax > 0:
        msg = f"Expected `vmax` to be None or > 0, found {vmax!r}."
        raise ValueError(msg)
    column = Slots(basis).log_area
    log_area = read_column(adata, column, basis)
    metric = torch.from_numpy(read_metric(adata, basis))
    # the mean that the column refers to is that of all cells of the run, of which these may be some
    shift = float(np.median(log_area - relative_log_area(metric).numpy()))
    limit = vmax or max(float(np.quantile(np.abs(log_area), 0.99)), MIN_LIMIT)
    evaluate = None
    if background:
        model = read_model(adata, basis)

        def evaluate(z: Tensor) -> Tensor:
            return relative_log_area(model.metric(z), reference=metric) + shift

    panel = heatmap(
        adata,
        basis,
        z=z,
        column=column,
        evaluate=evaluate,
        norm=TwoSlopeNorm(0, vmin=-limit, vmax=limit),
        cmap=cmap,
        label=r"$\log_{10}$ ($\sqrt{\det G}$ / mean)",
        resolution=resolution,
        ruler=ruler,
        outliers=outliers,
        ax=ax,
        **kwargs,
    )
    return finish([panel], f"jacobian_heatmap_{basis}", show=show, save=save)
