from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.colors import Normalize, TwoSlopeNorm

from .._anndata.columns import find_genes, shown_names
from .._anndata.genes import measured_cells
from .._runtime import default_torch_modes
from ._canvas import finish, read_flat_map
from ._heatmap import color_bound, heatmap
from ._panels import grid_of_axes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ._heatmap import Bound


@default_torch_modes
def decoded_genes(
    adata: AnnData,
    genes: str | Sequence[str],
    *,
    basis: str = "geoae",
    cmap: Any = "viridis",
    vmin: Bound | None = None,
    vmax: Bound | None = None,
    vcenter: Bound | None = None,
    resolution: int = 128,
    ncols: int = 4,
    gene_symbols: str | None = None,
    ruler: bool = True,
    outliers: bool = False,
    ax: Axes | None = None,
    show: bool | None = None,
    save: bool | str | Path | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Axes | list[Axes] | Figure | None:
    """Paint the expression of genes over the whole map, also between the cells.

    The dots are cells, colored by measured expression. The background is what the decoder predicts, shown near the
    cells. The two agree up to the noise of single cells. Between clusters, the background is interpolated, not
    observed.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae` or `scgeoae.tl.distortion` was run, with genes.
    genes
        Genes to draw, one panel each. Genes without loadings are read off the representation by linear regression.
    basis
        The `key_added` of that run, or ``"umap"`` for a UMAP. The map must have two dimensions.
    cmap
        Colormap.
    vmin, vmax, vcenter
        Limits of the color scale, and its center if that is not halfway. Each is a number, a percentile such as
        ``"p95"``, or a function of the decoded expression at the cells. Defaults: ``"p1"``, ``"p99"`` and None.
    resolution
        Number of pixels of the background along the longer side of the box around the cells.
    ncols
        Number of panels per row.
    gene_symbols
        Column of `var` with the names by which genes are given and shown, as in Scanpy.
    ruler, outliers, ax, show, save, return_fig, **kwargs
        As in `scgeoae.pl.indicatrices`; `ax` only with one gene.

    Returns
    -------
    The axes (a list with several genes) if ``show=False``, or the figure if ``return_fig=True``.

    Raises
    ------
    KeyError
        If there is no map under `basis`, or no such gene.
    ValueError
        If the map is not two-dimensional or has no model, or if there is no X.

    See Also
    --------
    scgeoae.tl.decode : Get the numbers.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> ax = sg.pl.decoded_genes(adata, "CST3", show=False)
    """
    m = read_flat_map(adata, basis, "sg.pl.decoded_genes", kwargs)
    names = find_genes(adata, genes, gene_symbols)
    shown = shown_names(adata, names, gene_symbols)
    if ax is not None and len(names) > 1:
        msg = f"`ax` holds one panel, but {len(names)} genes were given."
        raise ValueError(msg)
    expression = m.expression(names)
    cells = replace(m, adata=measured_cells(m, names))
    is_raw = expression.columns >= len(m.genes.names) - m.genes.n_raw
    units = np.where(is_raw, "raw", m.genes.layer or "X")

    def decoded(which: int | slice, positions: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(expression.of(m.model.decode(positions).numpy())[:, which])

    parts = torch.from_numpy(m.positions).float().split(4096)
    at_cells = torch.cat([decoded(slice(None), part) for part in parts]).numpy()
    axes: list[Axes | None] = [ax]
    if ax is None and len(names) > 1:
        axes = list(grid_of_axes(len(names), ncols))
    drawn = []
    for i, name in enumerate(names):
        values = at_cells[:, i]
        low = color_bound("p1" if vmin is None else vmin, values)
        high = color_bound("p99" if vmax is None else vmax, values)
        # a constant gene needs a color scale too
        high = max(high, low + 1e-6) if vmax is None else high
        scale = (
            Normalize(low, high) if vcenter is None else TwoSlopeNorm(color_bound(vcenter, values), vmin=low, vmax=high)
        )
        panel = heatmap(
            cells,
            column=name,
            evaluate=partial(decoded, i),
            scale=scale,
            cmap=cmap,
            label="log1p expression" if m.kind == "counts" else f"expression, in units of {units[i]}",
            resolution=resolution,
            ruler=ruler,
            outliers=outliers,
            ax=axes[i],
            is_given=ax is not None,
            **({"title": shown[i], "use_raw": False, "size": 15_000 / adata.n_obs} | kwargs),
        )
        drawn.append(panel)
    return finish(drawn, f"decoded_genes_{m.key}", ax=ax, style=kwargs, show=show, save=save, return_fig=return_fig)
