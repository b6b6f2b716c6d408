from __future__ import annotations

from typing import TYPE_CHECKING

from .._anndata.results import read_metric

if TYPE_CHECKING:
    import numpy as np
    from anndata import AnnData
    from numpy.typing import NDArray


def metric_tensors(adata: AnnData, *, key: str = "geoae") -> NDArray[np.float32]:
    r"""Return the metric tensors of the decoder at the cells.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae` was run.
    key
        The `key_added` of that run.

    Returns
    -------
    Array of shape (n, d, d), symmetric. The squared length, in units of the representation, of
    a small step v on the map at cell i is ``v @ G[i] @ v``.

    Raises
    ------
    KeyError
        If there are no tensors under `key`.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> sg.get.metric_tensors(adata).shape
    (700, 2, 2)
    """
    return read_metric(adata, key)
