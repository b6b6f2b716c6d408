"""Fit a model to an embedding that stays unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._anndata.genes import genes_of
from .._anndata.map import read_map
from .._anndata.params import params_of_fitted_decoder
from .._anndata.representation import embedding_positions
from .._anndata.results import results_of_fit
from .._arguments import check_found
from .._matrix import dense
from ..training import fit_decoder

if TYPE_CHECKING:
    import torch
    from anndata import AnnData
    from numpy.typing import NDArray

    from .._anndata.map import Map
    from .._anndata.representation import Representation
    from .._anndata.results import Results
    from ..training import Settings

# Number of cells from which the scale of the data is estimated.
MAX_CELLS = 1000
# Largest difference between the scales of the data and the embedding, in powers of ten.
MAX_RATIO = 15


def find_embedding(adata: AnnData, basis: str) -> tuple[Map, str, NDArray[Any]]:
    """Return the map of an embedding, its key in `obsm` and its (n, d) positions, or raise if they cannot be used."""
    m = read_map(adata, basis, "basis")
    if not m.key or "/" in m.key:
        msg = f"Expected `basis` to be the name of an embedding in adata.obsm, such as 'X_umap', found {basis!r}."
        raise ValueError(msg)
    slot = m.slot or m.slots.embedding
    hint = "; run sc.pp.neighbors(adata) and sc.tl.umap(adata) first" if m.key == "umap" else ""
    check_found(slot, adata.obsm, "adata.obsm", hint)
    return m, slot, embedding_positions(adata, slot)


def check_fit(representation: Representation, slot: str, positions: NDArray[Any]) -> None:
    """Raise if there are too few features or cells for a metric, or if it would be out of range for float32."""
    n, d = positions.shape
    n_features = representation.matrix.shape[1]
    if d > n_features:
        msg = f"adata.obsm[{slot!r}] has {d} dimensions, more than {representation.name} has features, {n_features}."
        raise ValueError(msg)
    if n < d + 2:
        msg = f"A metric of {d} dimensions needs at least {d + 2} cells, found {n}."
        raise ValueError(msg)
    with np.errstate(all="ignore"):  # values that are not finite are reported elsewhere
        spread = dense(representation.matrix[:MAX_CELLS]).astype(np.float64).std()
        ratio = spread / positions.astype(np.float64).std()
    if np.isfinite(ratio) and spread > 0 and abs(np.log10(ratio)) > MAX_RATIO:
        msg = (
            f"{representation.name} varies by {spread:.2g}, {ratio:.2g} times as much as adata.obsm[{slot!r}]: float32 "
            "does not hold the square of this, which is the metric. Divide the larger of the two by one number."
        )
        raise ValueError(msg)


def fit_embedding(
    adata: AnnData,
    representation: Representation,
    slot: str,
    positions: NDArray[Any],
    settings: Settings,
    *,
    device: str | torch.device,
    progress_bar: bool,
) -> Results:
    """Fit a decoder and an encoder to the (n, d) positions in ``obsm[slot]``, and return the results."""
    k = min(settings.n_neighbors, len(positions) - 1)
    fitted = fit_decoder(
        representation.matrix,
        positions,
        settings,
        device=device,
        progress_bar=progress_bar,
        name=representation.name,
    )
    params = params_of_fitted_decoder(settings, representation.params, slot, n_neighbors=k, fitted=fitted)
    fitted.model.genes = genes_of(adata, representation)
    return results_of_fit(fitted, representation, params, n_neighbors=k, is_own=False)
