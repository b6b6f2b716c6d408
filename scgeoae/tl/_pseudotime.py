from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scanpy import logging as logg
from scipy.sparse.csgraph import dijkstra

from .._anndata.map import read_map
from .._anndata.routes import connected_graph, find_place, place_of_row
from .._anndata.write import Changes, write
from .._runtime import default_torch_modes

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import ArrayLike

    from .._anndata.map import Map
    from .._anndata.routes import Place


@default_torch_modes
def pseudotime(
    adata: AnnData,
    root: str | int | ArrayLike | None = None,
    *,
    groupby: str | None = None,
    key: str = "geoae",
    copy: bool = False,
) -> AnnData | None:
    r"""Order cells by their geodesic distance from a root.

    The distance is the length of the shortest path from cell to cell along the metric graph (the neighbor graph of the
    map, with the length of each edge in the data), so paths do not cut across regions without cells. Parts of the graph
    that are not connected are joined where they are nearest to each other.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae` or `scgeoae.tl.distortion` was run.
    root
        Where time begins: the name of a cell or its row number; a group of `groupby`, all cells of which are at time 0;
        or a position on the map, (d,), which stands for the cell nearest to it. Default: the row in
        ``adata.uns["iroot"]``, as in `scanpy.tl.dpt`. That is a row number, so set it again after you remove cells.
    groupby
        Column of `obs` in which groups are looked up, before names of cells. A number is then a group, never a row.
    key
        The `key_added` of that run, or ``"umap"`` for a UMAP.
    copy
        Return a copy instead of writing into `adata`.

    Returns
    -------
    `None`, or the copy with ``copy=True``. It sets

    ``adata.obs["{key}_pseudotime"]`` : float32
        Distance from the root (the nearest of its cells if it is a group), in units of the representation. Unlike in
        `scanpy.tl.dpt`, it is not scaled to 1, so you can compare two roots, or two maps of the same representation.

    Raises
    ------
    KeyError
        If there is no map under `key`, no such cell, group or column, or neither a `root` nor ``adata.uns["iroot"]``.
    ValueError
        If the root is none of the above, or the tensors are a graph-Laplacian estimate, which has no decoder.

    See Also
    --------
    scgeoae.tl.geodesic : The curve to one place, with the genes along it.

    References
    ----------
    Tenenbaum, de Silva & Langford 2000, for geodesic distances along a neighbor graph.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> sg.tl.pseudotime(adata, "CD34+", groupby="bulk_labels")
    >>> float(adata.obs["geoae_pseudotime"].min())
    0.0
    """
    m = read_map(adata, key)
    place = _stored_root(m) if root is None else find_place(m, root, groupby, "root")
    connected = connected_graph(m, m.model.double())
    start = logg.info(f"computing geodesic distances from {place.name}")
    distance = dijkstra(connected, indices=place.cells, min_only=True).astype(np.float32)
    name = m.slots.pseudotime
    return write(adata, Changes({("obs", name): distance}, [f"obs[{name!r}]"]), start=start, copy=copy)


def _stored_root(m: Map) -> Place:
    """Return the place of the root cell that is set for Scanpy in ``uns["iroot"]``."""
    if m.adata.uns.get("iroot") is None:
        msg = (
            "There is neither a `root` nor adata.uns['iroot']; give a cell or a group, as in "
            "sg.tl.pseudotime(adata, adata.obs_names[0])."
        )
        raise KeyError(msg)
    return place_of_row(m, m.adata.uns["iroot"], "adata.uns['iroot']")
