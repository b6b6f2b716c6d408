from __future__ import annotations

from typing import TYPE_CHECKING

from .._anndata.map import read_map
from .._anndata.slots import SIDES
from .._arguments import check_option

if TYPE_CHECKING:
    import numpy as np
    from anndata import AnnData
    from numpy.typing import NDArray

    from .._anndata.slots import Side


def metric_tensors(adata: AnnData, *, key: str = "geoae", side: Side = "decoder") -> NDArray[np.float32]:
    r"""Return the metric tensor at each cell, which says how long a small step on the map is in the data.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae` or `scgeoae.tl.distortion` was run.
    key
        The `key_added` of that run, or ``"umap"`` for a UMAP.
    side
        ``"decoder"``: the pullback metric G = AᵀHA, with A the Jacobian of the decoder and H the ambient metric.
        ``"encoder"``: the metric P = (BH⁻¹Bᵀ)⁻¹ that the encoder, with Jacobian B, pushes forward.

    Returns
    -------
    (n, d, d) float32 array of symmetric tensors. A small step v on the map at cell i has the squared length
    ``v @ G[i] @ v``, in squared units of the representation.

    Raises
    ------
    KeyError
        If there are no tensors under `key`.
    ValueError
        If `side` is neither ``"decoder"`` nor ``"encoder"``.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> sg.get.metric_tensors(adata).shape
    (700, 2, 2)
    """
    check_option(side, "side", SIDES)
    return read_map(adata, key).metric(side)
