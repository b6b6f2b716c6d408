from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scanpy import logging as logg
from scipy.stats import false_discovery_control

from .._anndata.columns import read_groups
from .._anndata.map import read_map
from .._anndata.write import Changes, write
from .._arguments import checked_integer, checked_seed
from .._runtime import default_torch_modes
from ..quality.residual import LEVEL, map_regions, residuals

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from .._anndata.map import Map
    from ..nn import MapDecoder
    from ..nn.genes import Expression
    from ..quality.residual import Region

# Directions whose genes are named.
MAX_NAMED = 3


@default_torch_modes
def residual(
    adata: AnnData,
    *,
    groupby: str | None = None,
    key: str = "geoae",
    n_regions: int | None = None,
    n_genes: int = 5,
    n_draws: int = 50,
    random_state: int | np.random.RandomState | None = 0,
    copy: bool = False,
) -> AnnData | None:
    r"""Rank the regions of a map by the structure that it cannot show, to see which ones deserve a map of their own.

    The variance of the cells of a region about their mean has three parts: what the map shows, as the decoded positions
    vary with the place on the map; structure that it hides, such as two subtypes in one place; and noise, which no map
    would show. The function tells structure from noise by a parallel analysis of the residuals, the differences between
    the cells and their decoded positions: do they vary along some direction more than they would if each of them had a
    random direction? Each component is first divided by the size of its noise, which is the median of its size over the
    regions of this map. If the representation is expression itself (``use_rep="X"``), where the noise of a gene differs
    between regions, the question is whether genes vary together, more than they would if each value had a random sign.

    Make a map of the first regions of the table: ``cells = adata.obs["geoae_region"] == "1"`` and
    ``sg.tl.geoae(adata[cells].copy())``.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae` or `scgeoae.tl.distortion` was run, with the representation.
    groupby
        Column of `obs` with the regions; cells without a label are left out. Default: regions are found on the map, by
        k-means of the positions.
    key
        The `key_added` of that run, or ``"umap"`` for a UMAP.
    n_regions
        Number of regions to find. Default: one for every 150 cells, at most 20.
    n_genes
        Number of genes to name at each end of a direction.
    n_draws
        Number of times that noise is drawn, at least 2.
    random_state
        Seed of the draws, and of the search for regions.
    copy
        Return a copy instead of writing into `adata`.

    Returns
    -------
    `None`, or the copy with ``copy=True``. It sets

    ``adata.uns["{key}_residual"]`` : DataFrame
        One row for each region. The first one has the most hidden structure.

        - ``region`` (str), ``n_cells`` (int64)
        - ``variance`` (float64): mean squared distance of the cells from their mean, in squared units of the
          representation
        - ``shown``, ``hidden`` (float64): shares of the variance that the map shows, and that it does not. ``shown`` is
          negative if the decoded positions are worse than the mean of the region.
        - ``structured`` (float64): the share that is hidden and more than noise, 0 unless the region stands out
        - ``gain`` (float64): the structured variance times the number of cells, as a share of the variance of all
          regions together. The table is sorted by it.
        - ``n_dimensions`` (int64): number of directions that stand out at 5%, at most 20
        - ``p_value``, ``p_adjusted`` (float64): of the hypothesis that the residuals are noise; the second is adjusted
          for the number of regions (Benjamini & Hochberg 1995). Small ones are extrapolated.
        - ``verdict`` (str): ``"structure"`` if ``p_adjusted`` is at most 5%, ``"noise"``, or ``"too few cells"`` (below
          20), of which no structure is looked for. Nearly every region of real data has some structure: choose among
          these by ``gain`` and ``structured``.
        - ``genes`` (str): for each of the first three directions, the genes that change most along it, in units of X
          per standard deviation: those that rise / those that fall. Empty if the map knows no genes.
    ``adata.uns["{key}_residual_params"]`` : dict
        ``n_draws``, ``random_state``, and ``groupby`` if it was given
    ``adata.obs["{key}_residual"]`` : float32
        ``structured`` of the region of each cell, to color the map by; NaN for cells without a label
    ``adata.obs["{key}_region"]`` : category
        The regions, if they were found: ``"1"`` is the first row of the table.

    Raises
    ------
    KeyError
        If there is no map under `key`, or no column `groupby`.
    ValueError
        If an argument is out of range, the representation is missing or was changed, or there is no decoder because the
        tensors are a graph-Laplacian estimate.

    See Also
    --------
    scgeoae.get.card : Describe a map for the supplement of a paper.

    References
    ----------
    Horn 1965, *Psychometrika* 30, for parallel analysis; Kritchman & Nadler 2009, *IEEE Transactions on Signal
    Processing* 57, for the number of directions.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> sg.tl.residual(adata, groupby="bulk_labels")
    >>> adata.uns["geoae_residual"]["verdict"][0]
    'structure'
    """
    if n_regions is not None:
        n_regions = checked_integer(n_regions, "n_regions", 1, or_="None")
    n_genes, n_draws = checked_integer(n_genes, "n_genes", 1), checked_integer(n_draws, "n_draws", 2)
    seed = checked_seed(random_state)
    m = read_map(adata, key)
    z, model = m.positions.astype(np.float32), m.model
    named = None if groupby is None else read_groups(adata, groupby).rows
    matrix = m.representation.matrix
    start = logg.info(f"looking for structure that the map in adata.obsm[{m.slot!r}] hides")
    rows = map_regions(z, n_regions, seed=seed) if named is None else list(named.values())
    found = residuals(
        matrix,
        lambda here: _surface(model, z[here]),
        rows,
        by_feature=m.params["use_rep"] == "X",
        n_draws=n_draws,
        rng=np.random.default_rng(seed),
    )
    expression = None if model.genes is None else m.expression(None)
    table = _table(found, [str(i) for i in range(len(rows))] if named is None else list(named), expression, n_genes)
    order = table.index.to_numpy()
    table = table.reset_index(drop=True)
    if named is None:
        table["region"] = [str(rank + 1) for rank in range(len(table))]
    return write(adata, _changes(m, table, [rows[i] for i in order], groupby, n_draws, seed), start=start, copy=copy)


def _surface(model: MapDecoder, z: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the decoded positions and orthonormal bases of the tangent spaces there."""
    jets = [model.jet(part) for part in torch.from_numpy(z).split(4096)]
    values = torch.cat([jet.values for jet in jets])
    frames = torch.cat([torch.linalg.qr(jet.first).Q for jet in jets])
    return values.detach().numpy(), frames.detach().numpy()


def _table(found: list[Region], names: list[str], expression: Expression | None, n_genes: int) -> pd.DataFrame:
    """Return the table, sorted by the gain, with the number of each region as index."""
    tested = np.array([each.structure is not None for each in found])
    table = pd.DataFrame(
        {
            "region": names,
            "n_cells": [each.n_cells for each in found],
            "variance": [each.variance for each in found],
            "hidden": [each.hidden / each.variance if each.variance > 0 else 0.0 for each in found],
            "p_value": [1.0 if each.structure is None else each.structure.p_value for each in found],
        }
    )
    table["p_adjusted"] = table["p_value"]
    if tested.any():
        table.loc[tested, "p_adjusted"] = false_discovery_control(table["p_value"][tested])
    stands_out = (table["p_adjusted"] <= LEVEL).to_numpy()
    table["verdict"] = np.where(tested, np.where(stands_out, "structure", "noise"), "too few cells")
    table["shown"] = 1 - table["hidden"]
    kept = [
        each.structure if stands and each.structure is not None else None
        for each, stands in zip(found, stands_out, strict=True)
    ]
    beyond = np.array([0.0 if each is None else each.variance for each in kept])
    table["structured"] = np.divide(beyond, table["variance"], out=0 * beyond, where=beyond > 0)
    total = (table["variance"] * table["n_cells"]).sum()
    table["gain"] = beyond * table["n_cells"] / total if total > 0 else 0 * beyond
    table["n_dimensions"] = [0 if each is None else len(each.directions) for each in kept]
    table["genes"] = [
        "" if each is None or expression is None else _genes(each.directions, expression, n_genes) for each in kept
    ]
    columns = ["region", "n_cells", "variance", "shown", "hidden", "structured", "gain", "n_dimensions"]
    columns += ["p_value", "p_adjusted", "verdict", "genes"]
    return table[columns].sort_values(["gain", "n_cells"], ascending=False, kind="stable")


def _genes(directions: NDArray[np.float64], expression: Expression, n_genes: int) -> str:
    """Name the genes that change most along each direction: those that rise, then those that fall."""
    texts = []
    for direction in directions[:MAX_NAMED]:
        change = direction[expression.columns] if expression.loadings is None else direction @ expression.loadings
        change = change * np.sign(change[np.abs(change).argmax()])
        order = np.argsort(-change, kind="stable")
        rising, falling = order[:n_genes], order[::-1][:n_genes]
        ends = (rising[change[rising] > 0], falling[change[falling] < 0])
        texts.append(" / ".join(", ".join(expression.genes[end]) for end in ends if len(end)))
    return "; ".join(texts)


def _changes(
    m: Map, table: pd.DataFrame, rows: list[NDArray[np.intp]], groupby: str | None, n_draws: int, seed: int
) -> Changes:
    slots, n = m.slots, m.adata.n_obs
    share: NDArray[Any] = np.full(n, np.nan, dtype=np.float32)
    for value, cells in zip(table["structured"], rows, strict=True):
        share[cells] = value
    params: dict[str, Any] = {"n_draws": n_draws, "random_state": seed}
    # a series may have NaN
    written: dict[tuple[str, str], Any] = {
        ("uns", slots.residual): table,
        ("uns", slots.residual_params): params if groupby is None else params | {"groupby": groupby},
        ("obs", slots.residual): pd.Series(share, index=m.adata.obs_names),
        ("obs", slots.region): None,
    }
    lines = [f"uns[{slots.residual!r}], the table", f"obs[{slots.residual!r}], the hidden structure of each region"]
    if groupby is None:
        labels = np.empty(n, dtype=np.int64)
        for i, cells in enumerate(rows):
            labels[cells] = i
        written["obs", slots.region] = pd.Categorical.from_codes(labels, list(table["region"]))
        lines.append(f"obs[{slots.region!r}], the regions")
    return Changes(written, lines)
