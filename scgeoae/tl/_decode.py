from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from scipy.spatial import cKDTree

from .._anndata.map import read_map
from .._arguments import checked_names, checked_positions
from .._runtime import default_torch_modes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from .._anndata.map import Map


@default_torch_modes
def decode(
    adata: AnnData, coordinates: ArrayLike, *, key: str = "geoae", genes: str | Sequence[str] | None = None
) -> AnnData:
    r"""Decode positions on a map to the representation and on to genes.

    Also where there are no cells: between two clusters the decoder says what would be there, which is no observation.
    How far the nearest cell is stands beside it.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae`, `scgeoae.tl.adopt` or `scgeoae.tl.distortion` was run. Nothing in it
        is changed.
    coordinates
        (m, d) positions on the map, or one of shape (d,).
    key
        The `key_added` of that run, or ``"umap"`` for a UMAP.
    genes
        Which genes to decode, of those that were there when the map was made. By default its own variables if it was
        made of X, those with loadings if it was made of a PCA of Scanpy, and all of X otherwise. All others, and those
        of `adata.raw`, are read off the representation by a linear regression, which is stored with the map too: the
        same position is decoded to the same values, whatever cells and genes are left in `adata`. ``[]`` for none.

    Returns
    -------
    An AnnData of m observations with

    ``X`` : (m, g) float32
        Expression, in the units of X (or of the layer the representation was computed from) when the map was made, of
        genes of `adata.raw` in the units of that; not negative where no cell was.
    ``var["source"]`` : str
        How a gene is read off the representation: ``"itself"``, ``"loadings"``, ``"regression"`` or
        ``"regression of raw"``.
    ``obsm["X_{key}"]`` : (m, d) float32
        The positions.
    ``obsm[use_rep]`` : (m, D) float32
        The representation there, under the key it has in `adata`, if it is not X.
    ``obs["{key}_distance"]`` : float32
        Distance on the map to the nearest cell.

    Without genes when the map was made, as in a file of components alone, it has no variables.

    Raises
    ------
    KeyError
        If there is no map under `key`, or it knows no such gene.
    ValueError
        If `coordinates` are no finite positions on this map, if genes are asked for and it knows none, or if the
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
    """Return what is decoded at (k, d) positions on a map; see `decode`."""
    with torch.no_grad():
        x = m.model.decode(torch.from_numpy(positions)).numpy()
    var_names = m.adata.var_names
    if (genes is not None and not len(genes)) or (genes is None and m.model.genes is None and not len(var_names)):
        decoded = AnnData(np.zeros((len(x), 0), dtype=np.float32))
    else:
        expression = m.expression(genes)
        # of genes that are no longer in `var` nothing more is known
        is_there = var_names.is_unique and np.isin(expression.genes, var_names).all()
        var = m.adata.var.loc[expression.genes] if is_there else pd.DataFrame(index=expression.genes)
        decoded = AnnData(expression.of(x), var=var.assign(source=m.genes.sources[expression.columns]))
    decoded.obs_names = pd.RangeIndex(len(x)).astype(str)
    decoded.obsm[m.slot] = positions
    if m.params["use_rep"] != "X":
        decoded.obsm[m.params["use_rep"]] = x
    decoded.obs[f"{m.key}_distance"] = cKDTree(m.positions).query(positions)[0].astype(np.float32)
    return decoded
