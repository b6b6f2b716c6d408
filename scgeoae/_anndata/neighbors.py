"""Choose the neighbor graph of the representation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from scanpy import logging as logg

from .._arguments import check_name
from .._matrix import spread_rows
from .._runtime import parallel_blocks
from ..training.neighbors import MAX_EXACT, Neighbors, nearest_neighbors
from .representation import real_graph, representation_of_graph

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from scipy import sparse

    from .representation import Representation

# Cells whose neighbors are measured at a time.
BLOCK = 1024
# Cells whose median is the origin.
N_CENTER = 1000
# Share by which a stored length may differ from the distance in the representation: some programs compute in half
# precision.
SAME_LENGTH = 0.01


def choose_neighbors(
    adata: AnnData, representation: Representation, *, key: str | None, k: int
) -> NDArray[np.int32] | None:
    """Return up to k nearest neighbors of each cell in a stored graph.

    The graph is ``uns[key]``, as `scanpy.pp.neighbors` writes it (raise if it is missing), or, without a key,
    ``uns["neighbors"]`` if it was made from the same representation. Returns (n, k) row numbers, nearest first, −1
    where a cell has fewer neighbors; None if there is no such graph.
    """
    entry = _entry(adata, key)
    if entry is None:
        return None
    if key is None and not _is_of(entry.get("params", {}), representation, adata):
        logg.info(f"    the graph in adata.uns['neighbors'] is not of {representation.name}: computing neighbors")
        return None
    return _nearest(_distances(adata, entry), k).indices


def choose_graph(adata: AnnData, representation: Representation, *, key: str | None, k: int) -> Neighbors | None:
    """Return up to k nearest neighbors of each cell in the graph that refinement follows, None to search for neighbors.

    The graph is ``uns[key]`` (raise if it is missing). Without a key, it is ``uns["neighbors"]``, but only if it was
    made from the same representation and with a metric other than the Euclidean one, which means that this metric was
    wanted.
    """
    entry = _entry(adata, key)
    if entry is None:
        return None
    if key is None:
        params = entry.get("params", {})
        # files store it as a zero-dimensional array
        metric = np.asarray(params.get("metric", "euclidean") if isinstance(params, Mapping) else "euclidean")
        if (metric.dtype.kind in "UO" and metric.size == 1 and metric.item() == "euclidean") or not _is_of(
            params, representation, adata
        ):
            return None
    return _nearest(_distances(adata, entry), k)


def neighbors_of(adata: AnnData, representation: Representation, *, k: int) -> Neighbors:
    """Return the k nearest others of each cell in the representation, and their Euclidean distances.

    Up to 20,000 cells, the search is exact. Beyond, the neighbors are those of ``uns["neighbors"]`` if this graph has
    at least k − 1 of each cell (Scanpy counts the cell itself) and its lengths are the Euclidean distances in the
    representation as it is now; otherwise, a search finds nearly all of them.
    """
    x = representation.dense()
    if len(x) <= MAX_EXACT:
        return nearest_neighbors(x, k)
    # a small variation on a large offset survives in float32, also beside a cell that is far from all others
    center = np.median(x[spread_rows(len(x), N_CENTER)], axis=0)
    x = (x - center).astype(np.float32, copy=False)
    stored = _stored(adata, representation, x, k)
    return nearest_neighbors(x, k) if stored is None else stored


def _stored(adata: AnnData, representation: Representation, x: NDArray[np.float32], k: int) -> Neighbors | None:
    """Return the neighbors in ``uns["neighbors"]`` of (n, D) cells, None if `neighbors_of` cannot use them."""
    entry = _entry(adata, None)
    if entry is None or not _is_of(entry.get("params", {}), representation, adata):
        return None
    indices, lengths = _nearest(_graph(adata, entry), k)
    n_stored = int((indices >= 0).sum(1).min())
    if n_stored < k - 1:
        return None
    indices, lengths = indices[:, :n_stored], lengths[:, :n_stored]
    distances = np.empty(indices.shape, dtype=np.float32)

    def measure(start: int, stop: int) -> None:
        distances[start:stop] = np.linalg.norm(x[indices[start:stop]] - x[start:stop, None], axis=2)

    parallel_blocks(measure, len(x), block=BLOCK)
    # a graph of another metric, or of what the representation was before, has other lengths
    is_same = np.allclose(lengths, distances, rtol=SAME_LENGTH, atol=SAME_LENGTH * float(np.median(distances)))
    return Neighbors(indices, distances) if is_same else None


def _entry(adata: AnnData, key: str | None) -> Mapping[str, Any] | None:
    """Return the entry in `uns` of an existing graph, or None if there is none and no key was given."""
    check_name(key, "neighbors_key")
    entry = adata.uns.get("neighbors" if key is None else key)
    slot = entry.get("distances_key", "distances") if isinstance(entry, Mapping) else None
    if isinstance(slot, str) and slot in adata.obsp:
        return entry
    if key is None:
        return None
    given = "" if key == "neighbors" else f", key_added={key!r}"
    msg = f"Did not find a neighbor graph in adata.uns[{key!r}]; run sc.pp.neighbors(adata{given}) first."
    raise KeyError(msg)


def _graph(adata: AnnData, entry: Mapping[str, Any]) -> sparse.csr_matrix:
    slot = entry.get("distances_key", "distances")
    return real_graph(adata.obsp[slot], f"adata.obsp[{slot!r}]")


def _distances(adata: AnnData, entry: Mapping[str, Any]) -> sparse.csr_matrix:
    distances = _graph(adata, entry)
    if not (np.isfinite(distances.data) & (distances.data >= 0)).all():
        slot = entry.get("distances_key", "distances")
        msg = f"adata.obsp[{slot!r}] has distances that are negative or not finite; run sc.pp.neighbors again."
        raise ValueError(msg)
    return distances


def _is_of(params: Any, representation: Representation, adata: AnnData) -> bool:
    """Return whether a graph with these parameters was made from this representation, by Scanpy."""
    ours = representation.params
    if "layer" in ours:
        return False
    found = representation_of_graph(adata, params)
    if found is None:
        return False
    use_rep, n_pcs = found
    columns = representation.matrix.shape[1]
    if n_pcs is None:
        n_pcs = adata.obsm[use_rep].shape[1] if use_rep in adata.obsm else columns
    return (use_rep, n_pcs) == (ours["use_rep"], columns)


def _nearest(distances: sparse.csr_matrix, k: int) -> Neighbors:
    distances = distances.tocoo()
    other = distances.row != distances.col
    rows, columns, lengths = distances.row[other], distances.col[other], distances.data[other]
    order = np.lexsort([lengths, rows])
    rows, columns, lengths = rows[order], columns[order], lengths[order]
    position = np.arange(len(rows)) - np.searchsorted(rows, rows)
    near = position < k
    shape = (distances.shape[0], k)
    found = Neighbors(np.full(shape, -1, dtype=np.int32), np.full(shape, np.inf, dtype=np.float32))
    found.indices[rows[near], position[near]] = columns[near]
    found.distances[rows[near], position[near]] = lengths[near]
    return found
