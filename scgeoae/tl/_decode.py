from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from scipy.spatial import cKDTree

from .._anndata.map import read_map
from .._arguments import checked_names, checked_positions
from .._matrix import loaded
from .._runtime import default_torch_modes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from .._anndata.map import Map


@default_torch_modes
def decode(
    adata: AnnData, coordinates: ArrayLike, *, key: str = "geoae", genes: str | Sequence[str] | None = None
) -> AnnData:
    r"""Predict the representation and the expression of genes at any position of a map.

    This also works between the cells. There the decoder interpolates, so treat the values as predictions, not as
    observations: ``obs["{key}_distance"]`` says how far away the nearest cell is. `adata` is not changed.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae`, `scgeoae.tl.adopt` or `scgeoae.tl.distortion` was run.
    coordinates
        (m, d) positions on the map, or a single one of shape (d,).
    key
        The `key_added` of that run, or ``"umap"`` for a UMAP.
    genes
        Genes to decode, out of those that existed when the map was made; ``[]`` for none. Default: the genes with
        loadings for a map of Scanpy's PCA, else all genes of X. Other genes, including those of `adata.raw`, are
        predicted by a linear regression on the representation, which is stored with the map. A position therefore
        always decodes to the same values, whichever cells and genes are left in `adata`.

    Returns
    -------
    An AnnData with m observations and

    ``X`` : (m, g) float32
        Expression in the units that X (or the layer that the representation was computed from) had when the map was
        made; for genes of `adata.raw`, in the units of `raw`. A gene that was negative in no cell is not negative here.
    ``var["source"]`` : str
        How the gene was predicted: ``"itself"``, ``"loadings"``, ``"regression"`` or ``"regression of raw"``.
    ``obsm["X_{key}"]`` : (m, d) float32
        The positions.
    ``obsm[use_rep]`` : (m, D) float32
        The decoded representation, under the key that it has in `adata`; not for a map of X.
    ``obs["{key}_distance"]`` : float32
        Distance on the map to the nearest cell.

    If there were no genes when the map was made, as in a file of components alone, the result has no variables.

    Raises
    ------
    KeyError
        If there is no map under `key`, or the map does not know one of the genes.
    ValueError
        If `coordinates` are not finite positions on this map, if genes are given but the map knows none, or if the
        tensors are a graph-Laplacian estimate, which has no decoder.

    See Also
    --------
    scgeoae.pl.decoded_genes : Paint genes over the map.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> sg.tl.decode(adata, [[0, 0], [1, 0]], genes=[]).obsm["X_pca"].shape
    (2, 50)
    """
    names = None if genes is None else checked_names(genes, "genes")
    m = read_map(adata, key)
    return decode_positions(m, checked_positions(coordinates, m.model.n_components, "coordinates"), names)


def decode_positions(m: Map, positions: NDArray[np.float32], genes: Sequence[str] | None) -> AnnData:
    """Decode (k, d) positions on a map; see `decode`."""
    with torch.no_grad():
        x = m.model.decode(torch.from_numpy(positions)).numpy()
    var_names = m.adata.var_names
    if (genes is not None and not len(genes)) or (genes is None and m.model.genes is None and not len(var_names)):
        decoded = AnnData(np.zeros((len(x), 0), dtype=np.float32))
    else:
        expression = m.expression(genes)
        # annotate the genes only if all of them are still in `var`
        is_there = var_names.is_unique and np.isin(expression.genes, var_names).all()
        known = loaded(m.adata.var)
        var = known.loc[expression.genes] if is_there else pd.DataFrame(index=expression.genes)
        decoded = AnnData(expression.of(x), var=var.assign(source=m.genes.sources[expression.columns]))
    decoded.obs_names = pd.RangeIndex(len(x)).astype(str)
    decoded.obsm[m.slot] = positions
    if m.params["use_rep"] != "X":
        decoded.obsm[m.params["use_rep"]] = x
    decoded.obs[f"{m.key}_distance"] = cKDTree(m.positions).query(positions)[0].astype(np.float32)
    return decoded
