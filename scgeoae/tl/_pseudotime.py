from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scanpy import logging as logg
from scipy.sparse.csgraph import dijkstra

from .._anndata.finite import check_finite
from .._anndata.groups import group_rows
from .._anndata.results import check_writable, map_key, read_embedding, read_model, writable
from .._anndata.slots import Slots
from .._modes import in_own_modes
from ._places import find_place
from ._routes import metric_graph_of

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import ArrayLike


@in_own_modes
def pseudotime(
    adata: AnnData, root: str | ArrayLike, *, groupby: str | None = None, key: str = "geoae", copy: bool = False
) -> AnnData | None:
    r"""Order cells by their geodesic distance from a root.

    The distance is that along the metric graph of the map, over which a way leads from cell to cell, so that it
    does not cut across where there are none; pieces that the graph does not connect are joined where they are nearest.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae` or `scgeoae.tl.distortion` was run.
    root
        Where time begins: the name of a cell; the name of a group of `groupby`, at all cells of which it begins; or a
        position on the map, (d,), at whose nearest cell it begins.
    groupby
        Column of `obs` in which groups are looked up, before cells.
    key
        The `key_added` of that run, or ``"umap"`` for a UMAP.
    copy
        Return a copy instead of writing into `adata`.

    Returns
    -------
    `None`, or the copy with ``copy=True``. It sets

    ``adata.obs["{key}_pseudotime"]`` : float32
        Distance from the root, from the nearest cell of it if it is a group, in units of the representation. Not a
        share of the longest one, as `scanpy.tl.dpt` gives, so that those of two roots, or two maps of one
        representation, can be compared.

    Raises
    ------
    KeyError
        If there is no map under `key`, no such cell, group or column.
    ValueError
        If the root is none of these, or the tensors are a graph-Laplacian estimate, which has no decoder.

    See Also
    --------
    scgeoae.tl.geodesic : The curve to one place, with the genes along it.

    References
    ----------
    Tenenbaum, de Silva & Langford 2000, for geodesic distances along a neighbour graph.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> sg.tl.pseudotime(adata, "CD34+", groupby="bulk_labels")
    >>> float(adata.obs["geoae_pseudotime"].min())
    0.0
    """
    key = map_key(adata, key)
    slots = Slots(key)
    z, model = read_embedding(adata, key), read_model(adata, key).double()
    groups = {} if groupby is None else group_rows(adata, groupby)
    if isinstance(root, str) and root in groups:
        name, cells = root, groups[root]
    else:
        place = find_place(adata, z, root, groupby, "root")
        name, cells = place.name, [place.cell]
    check_writable(adata, copy=copy)
    start = logg.info(f"computing geodesic distances from {name}")
    distance = dijkstra(metric_graph_of(adata, z, key, model), indices=cells, min_only=True)
    check_finite({slots.pseudotime: distance})
    adata = writable(adata, copy=copy)
    adata.obs[slots.pseudotime] = distance.astype(np.float32)
    logg.info("    finished", time=start, deep=f"added\n    obs[{slots.pseudotime!r}]")
    return adata if copy else None
