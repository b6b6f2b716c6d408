from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.font_manager import FontProperties

from .._anndata.columns import find_genes, shown_names
from .._arguments import check_adata, checked_integer
from ._canvas import finish

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Protocol

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    class PathWithGenes(Protocol):
        """A result of `scgeoae.tl.geodesic`."""

        source: str
        target: str
        expression: pd.DataFrame


# More lines than this are hard to tell apart.
N_TRENDS = 8


def geodesic_genes(
    adata: AnnData,
    path: PathWithGenes,
    *,
    genes: Sequence[str] | None = None,
    n_genes: int = 30,
    gene_symbols: str | None = None,
    cmap: Any = "viridis",
    show: bool | None = None,
    save: bool | str | Path | None = None,
    return_fig: bool | None = None,
) -> list[Axes] | Figure | None:
    """Draw how genes change along a geodesic: trends of up to eight genes, and a heatmap of all.

    A geodesic is the shortest path along the decoder's surface. In the heatmap, each gene is scaled from its lowest to
    its highest value on the curve, and genes are in the order in which they are high: those that are high at the start
    of the curve come first, and those that are high at its end come last.

    Parameters
    ----------
    adata
        Annotated data in which the path was computed.
    path
        Result of `scgeoae.tl.geodesic`.
    genes
        Genes to draw. By default, the `n_genes` that change most along the curve.
    n_genes
        Number of genes, if `genes` is not given.
    gene_symbols
        Column of `var` with the names by which genes are given and shown, as in Scanpy.
    cmap
        Colormap of the heatmap.
    show, save, return_fig
        As in `scgeoae.pl.indicatrices`.

    Returns
    -------
    The axes of the trends and of the heatmap if ``show=False``, or the figure if ``return_fig=True``. The trends are
    those of the first eight of `genes`, or of the eight genes that change most.

    Raises
    ------
    KeyError
        If the path does not have such a gene, or there is no such column.
    ValueError
        If the path has no genes.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> path = sg.tl.geodesic(adata, "CD14+ Monocyte", "CD19+ B", groupby="bulk_labels", genes=["CST3", "CD79A"])
    >>> trends, heatmap = sg.pl.geodesic_genes(adata, path, show=False)
    """
    check_adata(adata)
    table = getattr(path, "expression", None)
    if table is None:
        msg = f"Expected `path` to be a result of sg.tl.geodesic, found {path!r}."
        raise TypeError(msg)
    n_genes = checked_integer(n_genes, "n_genes", 1)
    if table.shape[1] == 0:
        msg = "The path has no genes: find it again with `genes`, on an AnnData that has them."
        raise ValueError(msg)
    if genes is None:
        spread = (table.max() - table.min()).sort_values(ascending=False, kind="stable")
        genes = list(spread.index[:n_genes])
    else:
        genes = find_genes(adata, genes, gene_symbols)
    missing = [gene for gene in genes if gene not in table]
    if missing or not genes:
        unknown = ", ".join(map(repr, missing)) or "any gene"
        msg = f"Did not find {unknown} on the path; pass them to sg.tl.geodesic as `genes`."
        raise KeyError(msg)
    shown = shown_names(adata, genes, gene_symbols)
    distance, values = table.index.to_numpy(), table[genes].to_numpy()

    low, high = values.min(0), values.max(0)
    scaled = (values - low) / np.maximum(high - low, np.finfo(np.float32).tiny)
    order = np.argsort(_centers(distance, scaled), kind="stable")
    in_trends = [i for i in order if i < N_TRENDS]

    width, height = plt.rcParams["figure.figsize"]
    line = 1.3 * FontProperties(size="x-small").get_size() / 72
    rows = max(line * len(genes), 0.6)
    figure, (trends, heat) = plt.subplots(
        2,
        1,
        figsize=(width, 0.6 * height + rows),
        sharex=True,
        height_ratios=[0.5 * height, rows],
        layout="constrained",
    )
    for i in in_trends:
        trends.plot(distance, values[:, i], label=shown[i], linewidth=1.4)
    trends.set_ylabel("expression\n(units of X)")
    title = trends.set_title(f"{path.source} → {path.target}", fontsize="medium")
    if title.get_window_extent().width > trends.bbox.width:
        title.set_text(f"{path.source} →\n{path.target}")
    trends.legend(
        loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize="x-small", handlelength=1, labelspacing=0.3
    )
    trends.spines[["top", "right"]].set_visible(False)

    image = heat.pcolormesh(
        distance, np.arange(len(genes)), scaled[:, order].T, cmap=cmap, shading="nearest", rasterized=True
    )
    heat.set_yticks(np.arange(len(genes)), [shown[i] for i in order], fontsize="x-small")
    heat.tick_params(axis="y", length=0, pad=2)
    heat.invert_yaxis()
    # which sc.set_figure_params turns on
    heat.grid(visible=False)
    heat.set_xlabel("distance along the curve\n(units of the representation)")
    bar = figure.colorbar(image, cax=heat.inset_axes([1.03, 0, 0.03, min(1.0, 1.2 / rows)]), ticks=[0, 1])
    bar.ax.set_yticklabels(["lowest", "highest"], fontsize="x-small")
    bar.ax.tick_params(length=0, pad=2)
    found = finish([trends, heat], "geodesic_genes", ax=None, show=show, save=save, return_fig=return_fig)
    return cast("list[Axes] | Figure | None", found)


def _centers(distance: NDArray[Any], scaled: NDArray[Any]) -> NDArray[Any]:
    """Return the mean distance at which each gene is high, (g,), given its (m, g) values between 0 and 1."""
    return distance @ scaled / np.maximum(scaled.sum(0), np.finfo(np.float32).tiny)
