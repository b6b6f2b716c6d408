from __future__ import annotations

from typing import TYPE_CHECKING

from .._anndata.map import read_map

if TYPE_CHECKING:
    from anndata import AnnData


def scores(adata: AnnData, *, key: str = "geoae") -> dict[str, float]:
    """Return the scores of a map.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae` or `scgeoae.tl.distortion` was run.
    key
        The `key_added` of that run, or ``"umap"`` for a UMAP.

    Returns
    -------
    Dictionary with

    - ``CN``, ``VPres``, ``ISO``: distance of the decoder from conformal, area-preserving and
      isometric at the cells (`scgeoae.geometry.distortion`); 0 is perfect
    - ``CN_encoder``, ``VPres_encoder``, ``ISO_encoder``: the same of the encoder
    - ``chord``, ``chord_spread``: how distances between cells on the map compare with those, straight through the
      representation, between what the decoder has there: the median of the ratio over pairs of cells, 1 by
      construction where the second stage of `scgeoae.tl.geoae` has set the unit, and by what share of it two
      thirds of the pairs are off at most (`scgeoae.geometry.chord_ratio`). The ruler of the plots is made of them
    - ``MSE``, ``MSE_train``, ``MSE_held_out``: mean squared error of the standardised
      representation over all cells, those trained on, and those held out (absent below 20
      cells); 1 is what predicting the mean gives
    - ``MSE_encoder``, ``MSE_encoder_train``, ``MSE_encoder_held_out``: where cells have positions of their own, the
      mean squared distance of the encoder's positions from these, in units of their variance

    A graph-Laplacian estimate has the first three only.

    Raises
    ------
    KeyError
        If there is nothing under `key`.
    ValueError
        If what is there was damaged.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> sg.get.scores(adata)["ISO"] < 0.1
    True
    """
    return read_map(adata, key).scores
