from __future__ import annotations

from typing import TYPE_CHECKING

from .._anndata.map import read_map

if TYPE_CHECKING:
    from anndata import AnnData


def scores(adata: AnnData, *, key: str = "geoae") -> dict[str, float]:
    """Return the scores of a map: its distortion, the accuracy of distances, and reconstruction errors.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae` or `scgeoae.tl.distortion` was run.
    key
        The `key_added` of that run, or ``"umap"`` for a UMAP.

    Returns
    -------
    Dictionary of floats:

    - ``CN``, ``VPres``, ``ISO``: how far the decoder is from preserving angles, areas and lengths at the cells
      (`scgeoae.geometry.distortion`). 0 is perfect.
    - ``CN_encoder``, ``VPres_encoder``, ``ISO_encoder``: the same for the encoder.
    - ``chord``, ``chord_spread``: distances between cells on the map, divided by the straight distances between their
      decoded points (chords; `scgeoae.geometry.chord_ratio`). ``chord`` is the median over pairs of cells, 1 if the
      refinement of `scgeoae.tl.geoae` has set the unit. ``chord_spread`` is the share of it by which two thirds of the
      pairs are off at most. The ruler of the plots uses both (docs/distances.md).
    - ``MSE``, ``MSE_train``, ``MSE_held_out``: mean squared error of the standardized representation over all cells,
      the training cells, and the validation cells (absent below 20 cells). Predicting the mean gives 1.
    - ``MSE_encoder``, ``MSE_encoder_train``, ``MSE_encoder_held_out``: for refined and adopted maps, the mean squared
      distance between the encoder's positions and those of the cells, in units of their variance.

    A graph-Laplacian estimate has only the first three.

    Raises
    ------
    KeyError
        If there is no map under `key`.
    ValueError
        If the stored scores were damaged.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> sg.get.scores(adata)["ISO"] < 0.1
    True
    """
    return read_map(adata, key).scores
