from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .._anndata.columns import find_genes, read_groups, shown_names
from .._arguments import checked_integer
from .._matrix import spread_rows
from .._runtime import default_torch_modes
from ..geometry import inverse
from ._canvas import box_of, draw_cells, finish, read_flat_map

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_CELLS = 500


@default_torch_modes
def gene_compass(
    adata: AnnData,
    groupby: str,
    group: str | int,
    *,
    genes: Sequence[str] | None = None,
    n_genes: int = 8,
    gene_symbols: str | None = None,
    basis: str = "geoae",
    color: str | Sequence[str] | None = None,
    scale: float = 1.0,
    arrow_color: Any = "black",
    ruler: bool = True,
    outliers: bool = False,
    ax: Axes | None = None,
    show: bool | None = None,
    save: bool | str | Path | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Axes | list[Axes] | Figure | None:
    """Draw the genes that change most around a group of cells as arrows on the map.

    An arrow points in the direction in which its gene rises most steeply. The longer it is, the more the gene rises per
    unit of distance. It is the mean of :math:`G^{-1} w` over the cells of the group, where G is the metric tensor of
    the decoder and w is the derivative of the gene along the map.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae` or `scgeoae.tl.distortion` was run, with genes.
    groupby, group
        Column of `obs`, and the name or number of the group in it. The arrows start in the middle of the group.
    genes
        Genes to draw. By default, the `n_genes` with the longest arrows among the genes behind the representation.
    n_genes
        Number of genes, if `genes` is not given.
    gene_symbols
        Column of `var` with the names by which genes are given and shown, as in Scanpy.
    basis
        The `key_added` of that run, or ``"umap"`` for a UMAP. The map must have two dimensions.
    color
        Column of `obs` or gene to color the cells by. A list draws one panel for each. Default: `groupby`.
    scale
        Factor for the length of the arrows. At 1, the longest arrow is a fifth of the map.
    arrow_color
        Color of the arrows.
    ruler, outliers, ax, show, save, return_fig, **kwargs
        As in `scgeoae.pl.indicatrices`.

    Returns
    -------
    The axes (a list with several colors) if ``show=False``, or the figure if ``return_fig=True``.

    Raises
    ------
    KeyError
        If there is no map under `basis`, or no such column, group or gene.
    ValueError
        If the map is not two-dimensional or has no model, or if there is no X.

    See Also
    --------
    scgeoae.tl.rank_genes_by_jacobian : Get the numbers, for all groups.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> ax = sg.pl.gene_compass(adata, "bulk_labels", "Dendritic", show=False)
    """
    m = read_flat_map(adata, basis, "sg.pl.gene_compass")
    groups, z = read_groups(adata, groupby), m.positions
    rows = groups.rows[groups.name(group)]
    n_genes = checked_integer(n_genes, "n_genes", 1)
    expression = m.expression(None if genes is None else find_genes(adata, genes, gene_symbols))
    some = rows[spread_rows(len(rows), MAX_CELLS)]
    at = torch.from_numpy(np.ascontiguousarray(z[some], dtype=np.float32))
    sums = ((expression.along(m.model.jacobian(part)) @ inverse(m.model.metric(part))).sum(0) for part in at.split(64))
    arrows = sum(sums, torch.zeros(())).numpy() / len(at)
    length = np.linalg.norm(arrows, axis=1)
    longest = np.argsort(-length, kind="stable")[: n_genes if genes is None else None]

    box = box_of(m, outliers=outliers)
    start = np.median(z[rows], axis=0)
    drawn_arrows = arrows[longest] * (scale * 0.2 * box.longest / max(length.max(), np.finfo(np.float32).tiny))
    names = shown_names(adata, expression.genes[longest], gene_symbols)
    drawn = draw_cells(m, box, ax=ax, ruler=ruler, color=groupby if color is None else color, **kwargs)
    for panel in drawn:
        for arrow in drawn_arrows:
            style = {"arrowstyle": "-|>", "color": arrow_color, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
            panel.annotate("", start + arrow, start, arrowprops=style, zorder=6)
        for tip, at_label, name in zip(
            start + drawn_arrows, _labels(start, drawn_arrows, box.longest), names, strict=True
        ):
            panel.annotate(
                name,
                tip,
                xytext=at_label,
                ha="left" if at_label[0] >= start[0] else "right",
                va="center",
                fontsize="small",
                arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": "0.4"},
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8},
                zorder=7,
            )
    return finish(drawn, f"gene_compass_{m.key}", show=show, save=save, return_fig=return_fig)


def _labels(start: np.ndarray, arrows: np.ndarray, longest: float) -> np.ndarray:
    """Return label positions: beside the tips of the arrows, moved up or down so that they do not overlap."""
    line = 0.04 * longest
    positions = start + arrows * (1 + 0.06 * longest / np.maximum(np.linalg.norm(arrows, axis=1), 1e-12))[:, None]
    for side in (positions[:, 0] >= start[0], positions[:, 0] < start[0]):
        rows = np.flatnonzero(side)
        rows = rows[np.argsort(positions[rows, 1])]
        heights = positions[rows, 1]
        middle = heights.mean() if len(rows) else 0.0
        for i in range(1, len(rows)):
            heights[i] = max(heights[i], heights[i - 1] + line)
        positions[rows, 1] = heights - (heights.mean() - middle if len(rows) else 0.0)
    return positions
