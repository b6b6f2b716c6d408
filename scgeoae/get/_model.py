from __future__ import annotations

from typing import TYPE_CHECKING

from .._anndata.map import read_map
from .._runtime import default_torch_modes

if TYPE_CHECKING:
    from anndata import AnnData

    from ..nn import MapDecoder


@default_torch_modes
def model(adata: AnnData, *, key: str = "geoae") -> MapDecoder:
    """Return the trained model of a map, which encodes cells and decodes positions.

    It is rebuilt from the arrays in ``adata.uns``, so this also works on a file from another machine.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae` or `scgeoae.tl.distortion` was run.
    key
        The `key_added` of that run, or ``"umap"`` for a UMAP.

    Returns
    -------
    A torch module on the CPU. Its methods ``encode(x)``, ``decode(z)``, ``jacobian(z)`` and ``metric(z)`` take and
    return float32 tensors, in the units of the representation and of the map.

    Raises
    ------
    KeyError
        If there is no map under `key`.
    ValueError
        If the stored model was damaged, or there is none because the tensors are a graph-Laplacian estimate.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg, torch
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> model = sg.get.model(adata)
    >>> model.decode(torch.zeros(1, 2)).shape
    torch.Size([1, 50])
    """
    return read_map(adata, key).model
