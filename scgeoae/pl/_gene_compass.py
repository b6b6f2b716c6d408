from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import torch

from .._anndata.columns import find_genes, read_groups, shown_names
from .._arguments import checked_integer
from .._matrix import spread_rows
from .._runtime import default_torch_modes
from ..geometry import inverse
from ._canvas import box_of, draw_cells, finish, read_flat_map
from ._labels import Label, add_labels, halo
from ._view import Box

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_CELLS = 500
# At 20 degrees, the tips of two long arrows are one line of text apart in a panel of 3 inches.
SAME_DIRECTION = np.cos(np.radians(20))
# length of the dashes, as a share of the arrow
TAIL = 0.6


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
    arrow_color: Any = None,
    ruler: bool = True,
    outliers: bool = False,
    ax: Axes | None = None,
    show: bool | None = None,
    save: bool | str | Path | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Axes | list[Axes] | Figure | None:
    """Draw the genes that change most around a group of cells as arrows on the map.

    An arrow points in the direction in which its gene rises most steeply, and the dashes behind it point in the
    direction in which the gene falls. To see what falls in a direction, look for dashes that point there and read the
    name at the other end of the line. The longer the arrow is, the more the gene rises per unit of distance.

    The arrow is the mean of :math:`G^{-1} w` over the cells of the group, where G is the metric tensor of the decoder
    and w is the derivative of the gene along the map. Genes whose arrows are less than 20 degrees apart share the arrow
    of the strongest one, which comes first among their names.

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
        Color of the arrows. Default: the color of text.
    ruler, outliers, ax, show, save, return_fig, **kwargs
        As in `scgeoae.pl.indicatrices`. Cells are drawn pale, which `alpha` changes.

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
    m = read_flat_map(adata, basis, "sg.pl.gene_compass", kwargs)
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

    start = np.median(z[rows], axis=0)
    box = box_of(m, outliers=outliers)
    vectors = arrows[longest] * (scale * 0.2 * box.longest / max(length.max(), np.finfo(np.float32).tiny))
    names = shown_names(adata, expression.genes[longest], gene_symbols)
    # the tallest labels choose their places first
    directions = sorted(_directions(vectors), key=len, reverse=True)
    leading = np.array([i for i, *_ in directions])
    vectors = vectors[leading]
    # the arrows of a group at the edge of the map and their names need room, too
    tips, room = start + vectors, np.array([0.3, 0.15]) * box.longest
    box = Box(np.minimum(box.low, (tips - room).min(0)), np.maximum(box.high, (tips + room).max(0)))
    labels = [
        Label("\n".join(names[k] for k in members), tips[i], vectors[i], np.delete(tips, i, axis=0))
        for i, members in enumerate(directions)
    ]
    color = groupby if color is None else color
    words = "arrow: gene rises, dashes: it falls"
    kwargs = {"alpha": 0.3} | kwargs
    drawn = draw_cells(m, box, ax=ax, is_given=ax is not None, ruler=ruler, words=words, color=color, **kwargs)
    ink = plt.rcParams["text.color"] if arrow_color is None else arrow_color
    needles = start + np.linspace(-TAIL, 1, 40)[:, None, None] * vectors
    for panel in drawn:
        style = {"arrowstyle": "-|>", "mutation_scale": 9, "color": ink, "linewidth": 1.4, "path_effects": halo(panel)}
        for tip, end in zip(tips, needles[0], strict=True):
            panel.plot(*np.stack([start, end]).T, color=ink, linewidth=1, linestyle=(0, (2, 1.5)), alpha=0.6, zorder=5)
            panel.annotate("", tip, start, arrowprops={"shrinkA": 0, "shrinkB": 0} | style, zorder=6)
        add_labels(panel, labels, needles.reshape(-1, 2))
    return finish(drawn, f"gene_compass_{m.key}", ax=ax, style=kwargs, show=show, save=save, return_fig=return_fig)


def _directions(vectors: np.ndarray) -> list[list[int]]:
    """Return groups of (n, 2) vectors that cannot be told apart by their directions, each led by its first vector."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    groups: list[list[int]] = []
    for i in range(len(vectors)):
        near = [group for group in groups if unit[i] @ unit[group[0]] > SAME_DIRECTION]
        if near:
            max(near, key=lambda group: unit[i] @ unit[group[0]]).append(i)
        else:
            groups.append([i])
    return groups
