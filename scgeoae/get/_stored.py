"""Read what a run stored: the model, the metric tensors and the scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._anndata.map import read_map
from .._anndata.slots import SIDES
from .._arguments import check_option
from .._runtime import default_torch_modes

if TYPE_CHECKING:
    import numpy as np
    from anndata import AnnData
    from numpy.typing import NDArray

    from .._anndata.slots import Side
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
