from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scanpy import logging as logg
from scipy.stats import false_discovery_control

from .._anndata.design import read_design
from .._anndata.map import read_map
from .._anndata.results import removals_of_density
from .._anndata.write import Changes, write
from .._arguments import checked_integer
from .._runtime import default_torch_modes
from ..geometry.distortion_measures import log_area
from ..quality.density import cell_areas, neighborhoods

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from .._anndata.design import Design
    from .._anndata.slots import Slots
    from ..quality.density import Neighborhoods

# By default, a neighborhood has 2 √n neighbors, and at most this many.
MOST_NEIGHBORS = 200


@default_torch_modes
def density(
    adata: AnnData,
    *,
    groupby: str | None = None,
    sample: str | None = None,
    reference: str | int | None = None,
    key: str = "geoae",
    n_neighbors: int | None = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Measure how many cells there are per unit of area of the data, and where conditions differ.

    How crowded a region looks depends on the map: a UMAP spreads cells that lie close together. This function counts
    the cells in a neighborhood N (a cell and its nearest cells on the map) and divides by the area that N has in the
    data:

    .. math:: \hat\rho = |N \setminus B| \Big/ \sum_{i \in N} a_i

    The area :math:`a_i` of a cell is a third of the triangles between it and its neighbors. A triangle T has the area
    :math:`|T|` on the map and :math:`|T| \sqrt{\det G}` in the data, where G is the metric tensor, so densities have
    the units of the representation and can be compared between maps. Empty space belongs to no cell. The cells B at its
    border are not counted, which keeps densities there from being too high.

    With `groupby`, the density of each condition is measured in the same neighborhoods, as if each condition had as
    many cells as all together, so that a condition with more cells does not look denser.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae` or `scgeoae.tl.distortion` was run.
    groupby
        Column of `obs` with the conditions to compare. Cells without a condition count for the density of all cells
        only.
    sample
        Column of `obs` with the donor, animal or replicate of each cell. Each sample has one condition, and each
        condition at least two samples, which all count equally. Without it, all cells are taken to be independent.
        Cells of one donor are not, and what distinguishes single donors is then reported as a difference between
        conditions.
    reference
        Condition that each other one is compared with. Default: each condition is compared with all others together.
    key
        The `key_added` of that run, or ``"umap"`` for a UMAP.
    n_neighbors
        Number of neighbors k in a neighborhood. With more of them, the density is less noisy (counting alone gives a
        relative error of 1/√k) and small regions blur. Default: 2 √n for n cells, but at most 200.
    copy
        Return a copy instead of writing into `adata`.

    Returns
    -------
    `None`, or the copy with ``copy=True``. It sets, and removes what an earlier call on this map set:

    ``adata.obs["{key}_density"]`` : float64
        Cells per squared unit of the representation (on a map of d dimensions, per unit to the power of d).
    ``adata.uns["{key}_density"]`` : dict
        ``params``; with `groupby` also the names of the ``conditions`` and the number of cells of each, ``n_cells``.

    With `groupby`, for each condition, except that the reference is not compared with itself:

    ``adata.obs["{key}_density_{condition}"]`` : float64
        Density of the condition, scaled to the number of all cells.
    ``adata.obs["{key}_log_ratio_{condition}"]`` : float32
        log2 of its density relative to the reference, or to all other conditions. Half a cell is added to the smaller
        side and as large a share to the other, which keeps the ratio finite and near 0 where there are few cells.
    ``adata.obs["{key}_fdr_{condition}"]`` : float64
        False-discovery rate (Benjamini & Hochberg, over all cells and conditions). Among cells with values up to 0.1,
        about a tenth are expected to be in neighborhoods without a difference. Without `sample`, it is based on the
        exact hypergeometric test; with `sample`, on a moderated t-test of the samples' shares on the scale
        arcsin √share.

    Raises
    ------
    KeyError
        If there is no map under `key`, it has no tensors, or there is no such column or condition.
    ValueError
        If there are fewer than two conditions, a condition has one cell or one sample, a sample has several conditions,
        a name cannot be part of a slot, or `n_neighbors` is not less than the number of cells.

    Notes
    -----
    All conditions are compared as shares. If one region grows, the others hold a smaller share of the cells.

    `scanpy.tl.embedding_density` measures the density on the plot, relative to its maximum, and also writes
    ``obs["umap_density"]``.

    See Also
    --------
    scgeoae.pl.density : Draw the densities and their ratios.

    References
    ----------
    Efron 1965, *Biometrika* 52:331, for cells at the border; Phipson et al. 2022, *Bioinformatics* 38:4720, and Smyth
    2004, *Stat. Appl. Genet. Mol. Biol.* 3:3, for the test of samples.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> sg.tl.density(adata, groupby="phase", reference="G1")
    >>> adata.obs["geoae_log_ratio_S"].dtype
    dtype('float32')
    """
    m = read_map(adata, key)
    z, slots = m.positions, m.slots
    n = len(z)
    if n_neighbors is None:
        n_neighbors = min(round(2 * n**0.5), MOST_NEIGHBORS, max(n - 1, 1))
    if checked_integer(n_neighbors, "n_neighbors", 1, or_="None") >= n:
        msg = f"Expected `n_neighbors` to be less than the number of cells, {n}, found {n_neighbors}."
        raise ValueError(msg)
    if (z == z[0]).all():
        msg = f"All cells are at the same place in adata.obsm[{m.slot!r}], so that the map has no area."
        raise ValueError(msg)
    metric = m.metric()
    if metric.shape[-1] != z.shape[1]:
        msg = (
            f"The map in adata.obsm[{m.slot!r}] has {z.shape[1]} dimensions, and its tensors have {metric.shape[-1]}: "
            f"it was changed after they were measured; run {m.call} again."
        )
        raise ValueError(msg)
    scale = 10 ** log_area(torch.from_numpy(metric)).numpy()
    design = None
    if groupby is not None:
        design = read_design(adata, groupby, sample, reference)
    elif sample is not None or reference is not None:
        msg = "`sample` and `reference` are for a comparison: give the column of the conditions as `groupby`."
        raise ValueError(msg)
    start = logg.info(f"computing density of cells on the map in adata.obsm[{m.slot!r}]")
    areas = cell_areas(z, scale)
    params: dict[str, Any] = {"groupby": groupby, "sample": sample, "n_neighbors": n_neighbors}
    entry: dict[str, Any] = {}
    if design is None:
        columns = {slots.density: neighborhoods(z, areas, n_neighbors, np.full(n, -1), 0).density}
    else:
        found = neighborhoods(z, areas, n_neighbors, design.unit, len(design.sizes))
        columns = {slots.density: found.density} | _compared(found, design, slots)
        params["reference"] = design.reference
        entry |= {"conditions": np.array(design.names), "n_cells": design.n_cells}
    entry["params"] = {name: value for name, value in params.items() if value is not None}
    changes = Changes(removals_of_density(adata, slots))
    changes += Changes(
        {("obs", name): column for name, column in columns.items()} | {("uns", slots.density): entry},
        [f"obs[{name!r}]" for name in columns] + [f"uns[{slots.density!r}]"],
    )
    return write(adata, changes, start=start, copy=copy)


def _compared(found: Neighborhoods, design: Design, slots: Slots) -> dict[str, NDArray[Any]]:
    """Return the columns of all conditions."""
    n, n_cells = len(found.density), design.n_cells.sum()
    # cells in a neighborhood
    size = found.size
    columns = {
        f"{slots.density}_{name}": found.density * design.share(found.counts, design.condition == i) * (n_cells / size)
        for i, name in enumerate(design.names)
    }
    p_values = []
    for compared in design.comparisons:
        sides = compared.is_own, compared.is_other
        # half a cell of the smaller side, and as large a share of the other one
        half = 0.5 / min(design.sizes[units].sum() for units in sides)
        own, other = (design.share(found.counts, units) + half for units in sides)
        columns[f"{slots.log_ratio}_{compared.name}"] = np.log2(own / other).astype(np.float32)
        p_values.append(design.p_values(found.counts, compared, n / size))
    rates = false_discovery_control(np.ravel(p_values)).reshape(-1, n)
    return columns | {f"{slots.fdr}_{each.name}": rate for each, rate in zip(design.comparisons, rates, strict=True)}
