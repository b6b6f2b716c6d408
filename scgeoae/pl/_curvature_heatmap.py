from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from matplotlib.colors import Normalize, TwoSlopeNorm

from .._arguments import check_option
from .._runtime import default_torch_modes
from ..geometry import extrinsic_curvature, gaussian_curvature, mean_curvature
from ._canvas import finish, read_flat_map
from ._heatmap import color_bound, heatmap

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from ._heatmap import Bound

MEASURES = {"gaussian": gaussian_curvature, "mean": mean_curvature, "extrinsic": extrinsic_curvature}
UNITS = {"gaussian": "1/unit²", "mean": "1/unit", "extrinsic": "1/unit²"}


@default_torch_modes
def curvature_heatmap(
    adata: AnnData,
    *,
    basis: str = "geoae",
    kind: Literal["gaussian", "mean", "extrinsic"] = "gaussian",
    resolution: int = 250,
    background: bool = False,
    cmap: Any = None,
    vmax: Bound | None = None,
    ruler: bool = True,
    outliers: bool = False,
    ax: Axes | None = None,
    show: bool | None = None,
    save: bool | str | Path | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Axes | Figure | None:
    """Draw where the decoder's surface bends.

    The decoder turns the map into a curved surface in the representation. Where its Gaussian curvature is not 0, every
    map is distorted.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae` or `scgeoae.tl.distortion`, and then `scgeoae.tl.curvature` were run.
    basis
        The `key_added` of that run, or ``"umap"`` for a UMAP. The map must have two dimensions.
    kind
        ``"gaussian"`` is positive on domes (red) and negative on saddles (blue). ``"mean"`` and ``"extrinsic"`` are
        never negative and also measure the bending that a map can flatten.
    resolution
        Number of pixels of the background along the longer side of the box around the cells.
    background
        Also color the area between neighboring cells, computed by the stored model.
    cmap
        Colormap. By default, diverging for the Gaussian curvature and sequential for the others.
    vmax
        Largest absolute value of the color scale: a number, a percentile such as ``"p95"``, or a function of the
        absolute values at the cells. The default, ``"p98"``, keeps a few cells at the border from using up the color
        scale.
    ruler, outliers, ax, show, save, return_fig, **kwargs
        As in `scgeoae.pl.indicatrices`.

    Returns
    -------
    The axes if ``show=False``, or the figure if ``return_fig=True``.

    Raises
    ------
    KeyError
        If there is no map under `basis`, or its curvature was not computed.
    ValueError
        If the map is not two-dimensional, or an argument is out of range.

    References
    ----------
    Lee & Park 2023, arXiv 2309.10237.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> sg.tl.curvature(adata)
    >>> ax = sg.pl.curvature_heatmap(adata, kind="mean", show=False)
    """
    check_option(kind, "kind", MEASURES)
    m = read_flat_map(adata, basis, "sg.pl.curvature_heatmap", kwargs)
    column = getattr(m.slots, f"{kind}_curvature")
    given = "" if m.key == "geoae" else f", key={m.key!r}"
    values = m.column(column, f"sg.tl.curvature(adata{given})")
    # a flat surface would have an empty color scale without a lower limit
    limit = color_bound("p98" if vmax is None else vmax, np.abs(values))
    if vmax is None:
        limit = max(limit, float(np.finfo(np.float32).tiny))
    signed = kind == "gaussian"
    evaluate = None
    if background:
        model = m.model.double()

        def evaluate(z: Tensor) -> Tensor:
            return MEASURES[kind](model.jet(z.double(), order=2))

    panel = heatmap(
        m,
        column=column,
        evaluate=evaluate,
        scale=TwoSlopeNorm(0, vmin=-limit, vmax=limit) if signed else Normalize(0, limit),
        cmap=cmap or ("coolwarm" if signed else "magma_r"),
        label=f"{kind} curvature ({UNITS[kind]})".replace("gaussian", "Gaussian"),
        extend="both" if signed else "max",
        resolution=resolution,
        ruler=ruler,
        outliers=outliers,
        ax=ax,
        is_given=ax is not None,
        **kwargs,
    )
    found = finish(
        [panel], f"{kind}_curvature_heatmap_{m.key}", ax=ax, style=kwargs, show=show, save=save, return_fig=return_fig
    )
    return cast("Axes | Figure | None", found)
