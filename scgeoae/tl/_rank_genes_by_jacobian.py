from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import torch
from scanpy import logging as logg

from .._anndata.genes import read_expression
from .._anndata.groups import group_rows
from .._anndata.results import check_writable, map_key, read_embedding, read_model, writable
from .._anndata.slots import Slots, checked_key
from .._arguments import as_list, checked_integer
from .._modes import in_own_modes
from ..geometry import along, steepest
from ._positions import checked_positions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import ArrayLike, NDArray

    from .._anndata.genes import Expression
    from ..nn import Framed

# Cells of a group at which derivatives are taken: their mean is that of all to a few percent.
MAX_CELLS = 500
# Derivatives, of cells × genes × dimensions, that are held at a time.
BLOCK = 2**23
DIRECTIONS = ("into", "first", "second")


@in_own_modes
def rank_genes_by_jacobian(
    adata: AnnData,
    groupby: str,
    *,
    groups: Literal["all"] | Sequence[str] = "all",
    direction: Literal["into", "first", "second"] | ArrayLike | None = None,
    genes: Sequence[str] | None = None,
    n_genes: int | None = None,
    key: str = "geoae",
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Rank the genes that change most from one cell to the next, for each group on a map.

    Where `scanpy.tl.rank_genes_groups` says which genes are high in a group, this says which change within it, and in
    which direction. With w the derivative of a gene along the map (the decoder's Jacobian by the gene's loadings)
    and G the metric, the change per unit of travel in the representation is

    .. math:: \sqrt{w^\top G^{-1} w} \quad \text{(in the steepest direction)}, \qquad
       w^\top v / \sqrt{v^\top G v} \quad \text{(in direction v)}

    averaged over the cells of the group.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae` or `scgeoae.tl.distortion` was run, with genes.
    groupby
        Column of `obs` with the groups.
    groups
        Which of them; all by default.
    direction
        - `None`: the steepest of each gene; scores have no sign.
        - ``"into"``: from the middle of the other cells to that of the group; a positive score is a gene that rises
          on the way there.
        - ``"first"``, ``"second"``: the principal axes of the mean metric of the group, along the first of which the
          data change most for a step on the map, with the sign that makes its first coordinate positive. On a map
          without distortion all directions are alike, and these mean nothing.
        - (d,) numbers: a direction on the map.
    genes
        Which to rank, as in `scgeoae.tl.decode`; by default all that the representation knows.
    n_genes
        How many of each group are stored, all by default.
    key
        The `key_added` of that run, or ``"umap"`` for a UMAP.
    key_added
        Name of the result, ``"{key}_rank_genes"`` by default.
    copy
        Return a copy instead of writing into `adata`.

    Returns
    -------
    `None`, or the copy with ``copy=True``. It sets

    ``adata.uns[key_added]`` : dict
        As `scanpy.tl.rank_genes_groups` does: structured arrays ``names`` and ``scores``, one field for each group, the
        largest score (with a direction, the largest without regard to its sign) first; in units of X per unit of the
        representation. ``logfoldchanges``, ``pvals`` and ``pvals_adj`` are NaN, since nothing is tested.

    So ``sc.pl.rank_genes_groups(adata, key="geoae_rank_genes")`` and its siblings draw it, and
    ``sc.get.rank_genes_groups_df(adata, None, key="geoae_rank_genes")`` is the table.

    Raises
    ------
    KeyError
        If there is no map under `key`, no such column, group or gene.
    ValueError
        If an argument is out of its range, there is no X, or the tensors are a graph-Laplacian estimate.

    See Also
    --------
    scgeoae.pl.gene_compass : Draw the strongest genes of a group as arrows.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> sg.tl.rank_genes_by_jacobian(adata, "bulk_labels", genes=["CST3", "NKG7", "CD79A"])
    >>> adata.uns["geoae_rank_genes"]["names"].dtype.names[0]
    'CD4+/CD25 T Reg'
    """
    if n_genes is not None:
        n_genes = checked_integer(n_genes, "n_genes", 1, or_="None")
    key = map_key(adata, key)
    key_added = checked_key(key_added, Slots(key).rank_genes)
    z, model = read_embedding(adata, key), read_model(adata, key)
    rows = group_rows(adata, groupby)
    if isinstance(groups, str):
        groups = list(rows) if groups == "all" else [groups]
    names = as_list(groups)
    missing = [name for name in names if not isinstance(name, str) or name not in rows]
    if missing or not names:
        known, unknown = ", ".join(map(repr, rows)), ", ".join(map(repr, missing)) or "a group"
        msg = f"Did not find {unknown} in adata.obs[{groupby!r}], whose groups are {known}."
        raise KeyError(msg)
    if isinstance(direction, str):
        if direction not in DIRECTIONS[: 1 + model.n_components]:
            known = ", ".join(map(repr, DIRECTIONS[: 1 + model.n_components]))
            msg = f"Expected `direction` to be None, {known} or {model.n_components} numbers, found {direction!r}."
            raise ValueError(msg)
        if direction == "into" and len(rows) < 2:
            msg = f"adata.obs[{groupby!r}] has one group, so that there are no other cells to come from."
            raise ValueError(msg)
    elif direction is not None:
        direction = checked_positions(direction, model.n_components, "direction")[0]
        if not direction.any():
            msg = "Expected `direction` to be other than 0."
            raise ValueError(msg)
    check_writable(adata, copy=copy)
    start = logg.info("ranking genes by the Jacobian of the decoder")
    expression = read_expression(adata, key, genes)

    n_genes = len(expression.genes) if n_genes is None else min(n_genes, len(expression.genes))
    ranked = {field: {} for field in ("names", "scores")}
    for name in names:
        at = torch.from_numpy(np.ascontiguousarray(_spread(z[rows[name]]), dtype=np.float32))
        scores = _scores(model, at, expression, _direction(direction, model, at, z, rows[name]))
        order = np.argsort(-np.abs(scores), kind="stable")[:n_genes]
        ranked["names"][name] = expression.genes[order]
        ranked["scores"][name] = scores[order]
    result = {
        field: pd.DataFrame(columns).to_records(index=False, column_dtypes=_dtypes(columns))
        for field, columns in ranked.items()
    }
    unknown = pd.DataFrame({name: np.full(n_genes, np.nan, dtype=np.float32) for name in names}).to_records(index=False)
    result |= {field: unknown.copy() for field in ("logfoldchanges", "pvals", "pvals_adj")}
    result["params"] = {
        "groupby": groupby,
        "reference": "rest",
        "method": "jacobian",
        "use_raw": False,
        "direction": "steepest" if direction is None else direction,
        "key": key,
    }
    adata = writable(adata, copy=copy)
    adata.uns[key_added] = result
    logg.info("    finished", time=start, deep=f"added\n    uns[{key_added!r}], ranked genes")
    return adata if copy else None


def _dtypes(columns: dict[str, NDArray]) -> dict[str, str]:
    return {name: column.dtype.str for name, column in columns.items()}


def _spread(z: NDArray) -> NDArray:
    """Return at most `MAX_CELLS` of the cells, evenly spaced."""
    return z[:: -(-len(z) // MAX_CELLS)]


def _direction(
    direction: str | NDArray | None, model: Framed, at: torch.Tensor, z: NDArray, rows: NDArray
) -> torch.Tensor | None:
    """Return the direction on the map, (d,)."""
    if direction is None:
        return None
    if not isinstance(direction, str):
        return torch.from_numpy(direction)
    if direction == "into":
        others = np.ones(len(z), dtype=bool)
        others[rows] = False
        return torch.from_numpy((np.median(z[rows], 0) - np.median(z[others], 0)).astype(np.float32))
    axes = torch.linalg.eigh(model.metric(at).mean(0)).eigenvectors.flip(1)
    axis = axes[:, DIRECTIONS.index(direction) - 1]
    return axis * (-1.0 if axis[axis.abs() > 1e-6][0] < 0 else 1.0)


def _scores(
    model: Framed, at: torch.Tensor, expression: Expression, direction: torch.Tensor | None
) -> NDArray[np.float32]:
    """Return the mean change of each gene over the cells, (g,)."""
    total = torch.zeros(len(expression.genes), dtype=torch.float64)
    for part in at.split(max(BLOCK // (len(expression.genes) * at.shape[1]), 1)):
        metric, differential = model.metric(part), expression.along(model.jacobian(part))
        found = steepest(differential, metric) if direction is None else along(differential, metric, direction)
        total += found.sum(0)
    return (total / len(at)).numpy().astype(np.float32)
