"""The reference: the cells that a map was made from, on which new cells are placed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from anndata import AnnData

from .columns import is_lazy
from .incoming import choose_incoming
from .map import read_map
from .original import MAX_DEVIATION, MAX_DIGESTED, is_unchanged

if TYPE_CHECKING:
    from .map import Map


def read_reference(adata: AnnData, key: str) -> Map:
    """Return a map by its name, of the cells that it was made from: in an atlas the sample, which is read into memory.

    Components that the store of an atlas lacks are computed from the genes again.
    """
    whole = read_map(adata, key)
    is_projected = whole.lacks_components and _has_genes(whole)
    if whole.sample is None and not is_projected:
        return whole
    rows = np.arange(adata.n_obs) if whole.sample is None else whole.sample
    if rows.max(initial=-1) < adata.n_obs:
        m = read_map(_without_graphs(adata)[rows].to_memory(), whole.key)
        if is_projected:
            incoming = choose_incoming(m.adata, m, use_rep=None, layer=m.genes.layer, units="same", impute=False)
            x = incoming.of(m.adata, m).matrix
            m.adata.obsm[m.params["use_rep"]] = x
            # components of just these cells have means of 0; a projection is the same only up to rounding
            is_same = bool((np.abs(x.mean(0)) <= MAX_DEVIATION * x.std(0)).all())
        else:
            # only as many have a digest
            is_same = len(rows) > MAX_DIGESTED or is_unchanged(m.representation, m.params)
        if is_same:
            return m
    msg = (
        f"The rows in adata.uns[{whole.entry!r}]['sample'] are not the cells that the map in "
        f"adata.obsm[{whole.slot!r}] was made from, since cells were removed or reordered, or their representation was "
        "replaced: give the sample that sg.tl.atlas returned, or open its store again."
    )
    raise ValueError(msg)


def _without_graphs(adata: AnnData) -> AnnData:
    """Return an AnnData that was read lazily without its graphs, which would be read as a whole; others as they are."""
    if not is_lazy(adata):
        return adata
    parts = {name: dict(getattr(adata, name)) for name in ("obsm", "varm", "layers")}
    return AnnData(adata.X, obs=adata.obs, var=adata.var, uns=dict(adata.uns), **parts)


def _has_genes(m: Map) -> bool:
    """Whether the cells have all genes that the representation is computed from."""
    genes = m.model.genes
    if genes is None or not genes.n_projected:
        return False
    matrix = m.adata.X if genes.layer is None else m.adata.layers.get(genes.layer)
    return matrix is not None and set(genes.projected) <= set(m.adata.var_names)
