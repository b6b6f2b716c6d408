from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from scanpy import logging as logg

from .._anndata.columns import read_groups
from .._anndata.fold_changes import log_fold_changes
from .._anndata.map import read_map
from .._anndata.write import Changes, write
from .._arguments import as_list, check_option, checked_integer, checked_key, checked_names, checked_positions
from .._matrix import spread_rows
from .._runtime import default_torch_modes
from ..geometry.jet import along, steepest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anndata import AnnData
    from numpy.typing import ArrayLike, NDArray

    from ..nn import MapDecoder
    from ..nn.genes import Expression

# Number of cells of a group at which derivatives are taken. Their mean is within a few percent of the mean over all.
MAX_CELLS = 500
# Number of derivatives (cells × genes × dimensions) that are in memory at a time.
BLOCK = 2**23
DIRECTIONS = ("into", "first", "second")


@default_torch_modes
def rank_genes_by_jacobian(
    adata: AnnData,
    groupby: str,
    *,
    groups: Literal["all"] | Sequence[str | int] = "all",
    direction: Literal["into", "first", "second"] | ArrayLike | None = None,
    genes: Sequence[str] | None = None,
    n_genes: int | None = None,
    rankby_abs: bool = False,
    key: str = "geoae",
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Rank the genes that change most within each group, or on the way into it.

    `scanpy.tl.rank_genes_groups` finds genes that are high in a group; this function finds genes that change from one
    cell to the next, and in which direction of the map. Let w be the derivative of a gene along the map (the decoder's
    Jacobian times the gene's loadings) and G the metric tensor. The change per unit of distance in the representation,
    averaged over the cells of the group, is

    .. math:: \sqrt{w^\top G^{-1} w} \quad \text{(in the steepest direction)}, \qquad
       w^\top v / \sqrt{v^\top G v} \quad \text{(in direction v)}

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae` or `scgeoae.tl.distortion` was run, with genes.
    groupby
        Column of `obs` with the groups.
    groups
        Groups to rank, by name, or by number if the column holds numbers. Default: all.
    direction
        - `None`: the steepest direction of each gene; scores have no sign.
        - ``"into"``: from the middle of all other cells to the middle of the group. Genes that rise on the way come
          first and have positive scores, like the markers of a group in Scanpy.
        - ``"first"``, ``"second"``: the principal axes of the mean metric tensor of the group; along the first, the
          data change most per step on the map. By convention, genes that rise toward the end with the larger first
          coordinate come first. On a map without distortion all directions are alike, so these axes mean nothing.
        - (d,) numbers: a direction on the map. Genes that rise along it come first.
    genes
        Genes to rank, as in `scgeoae.tl.decode`. Default: all genes that the map knows.
    n_genes
        Number of genes to store for each group. Default: all.
    rankby_abs
        Put the genes that change most first, whether they rise or fall, as in `scanpy.tl.rank_genes_groups`.
    key
        The `key_added` of that run, or ``"umap"`` for a UMAP.
    key_added
        Name of the result. Default: ``"{key}_rank_genes"``.
    copy
        Return a copy instead of writing into `adata`.

    Returns
    -------
    `None`, or the copy with ``copy=True``. It sets

    ``adata.uns[key_added]`` : dict
        The format of `scanpy.tl.rank_genes_groups`: structured arrays with one field for each group. ``names`` (str)
        and ``scores`` (float32, units of X per unit of the representation) are sorted from the largest score to the
        smallest, so with a direction, the genes that fall most come last. ``logfoldchanges`` (float32) are NaN unless
        ``direction="into"``: log2 of how many times higher the gene is in the group than in all other cells. As in
        Scanpy, they are computed from the means of log1p values, in the layer of the map, X or ``raw`` (the first that
        has such values), and are NaN if there are only counts or scaled values. ``pvals`` and ``pvals_adj`` (float32)
        are NaN, because nothing is tested.

    ``sc.pl.rank_genes_groups(adata, key="geoae_rank_genes")`` and related plots draw the result (``n_genes=-5``: the
    genes that fall most), and ``sc.get.rank_genes_groups_df(adata, None, key="geoae_rank_genes")`` returns a table.

    Raises
    ------
    KeyError
        If there is no map under `key`, or no such column, group or gene.
    ValueError
        If an argument is out of range, there is no X, or the tensors are a graph-Laplacian estimate.

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
    m = read_map(adata, key)
    key_added = checked_key(key_added, m.slots.rank_genes)
    z, model = m.positions, m.model
    found = read_groups(adata, groupby)
    wanted = list(found.rows) if isinstance(groups, str) and groups == "all" else as_list(groups)
    rows = {name: found.rows[name] for name in map(found.name, wanted)}
    if not rows:
        msg = f"Expected `groups` to name some of {found.listed}, found {groups!r}."
        raise ValueError(msg)
    if "" in rows:
        msg = (
            f"adata.obs[{groupby!r}] has a group whose name is empty, which files do not keep; name it: "
            f"adata.obs[{groupby!r}] = adata.obs[{groupby!r}].astype('category')"
            ".cat.rename_categories({'': 'unknown'})."
        )
        raise ValueError(msg)
    toward: str | NDArray[Any] | None = None
    if isinstance(direction, str):
        toward = direction
        check_option(direction, "direction", DIRECTIONS[: 1 + model.n_components])
        if direction == "into" and len(found.rows) < 2:
            msg = f"adata.obs[{groupby!r}] has one group, so there are no other cells to start from."
            raise ValueError(msg)
    elif direction is not None:
        toward = checked_positions(direction, model.n_components, "direction", or_else="None, a name or ")[0]
        if not np.any(toward):
            msg = "Expected `direction` to be other than 0."
            raise ValueError(msg)
    start = logg.info("ranking genes by the Jacobian of the decoder")
    expression = m.expression(None if genes is None else checked_names(genes, "genes"))

    scores = np.stack([_scores(model, z, cells, toward, expression) for cells in rows.values()])
    changes = np.full_like(scores, np.nan)
    if isinstance(direction, str) and direction == "into":
        changes = log_fold_changes(adata, expression.genes, list(rows.values()), m.genes.layer)
    order = np.argsort(-np.abs(scores) if rankby_abs else -scores, axis=1, kind="stable")[:, :n_genes]
    untested = np.full(order.shape, np.nan, dtype=np.float32)
    result: dict[str, Any] = {
        "names": _fields(rows, expression.genes[order]),
        "scores": _fields(rows, np.take_along_axis(scores, order, 1)),
        "logfoldchanges": _fields(rows, np.take_along_axis(changes, order, 1)),
        "pvals": _fields(rows, untested),
        "pvals_adj": _fields(rows, untested),
    }
    result["params"] = {
        "groupby": groupby,
        "reference": "rest",
        "method": "jacobian",
        "use_raw": False,
        "direction": "steepest" if toward is None else toward,
        "key": m.key,
    }
    return write(
        adata, Changes({("uns", key_added): result}, [f"uns[{key_added!r}], ranked genes"]), start=start, copy=copy
    )


def _fields(names: Iterable[str], table: NDArray[Any]) -> NDArray[Any]:
    """Return the rows of a table as the fields of a structured array, as Scanpy stores them."""
    fields = np.empty(table.shape[1], dtype=[(name, table.dtype) for name in names])
    for name, row in zip(names, table, strict=True):
        fields[name] = row
    return fields


def _direction(
    direction: str | NDArray[Any] | None, model: MapDecoder, at: torch.Tensor, z: NDArray[Any], rows: NDArray[Any]
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
    model: MapDecoder, z: NDArray[Any], rows: NDArray[Any], direction: str | NDArray[Any] | None, expression: Expression
) -> NDArray[np.float32]:
    """Return the mean change of each gene over the cells in `rows`, (g,)."""
    at = torch.from_numpy(np.ascontiguousarray(z[rows[spread_rows(len(rows), MAX_CELLS)]], dtype=np.float32))
    along_what = _direction(direction, model, at, z, rows)
    total = torch.zeros(len(expression.genes), dtype=torch.float64)
    for part in at.split(max(BLOCK // (len(expression.genes) * at.shape[1]), 1)):
        metric, differential = model.metric(part), expression.along(model.jacobian(part))
        found = steepest(differential, metric) if along_what is None else along(differential, metric, along_what)
        total += found.sum(0)
    return (total / len(at)).numpy().astype(np.float32)
