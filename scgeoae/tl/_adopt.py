from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scanpy import logging as logg

from .._anndata.genes import genes_of
from .._anndata.map import read_map
from .._anndata.params import params_of_fitted_decoder
from .._anndata.representation import choose_representation, embedding_positions
from .._anndata.results import changes_of_map, results_of_fit
from .._anndata.write import write
from .._arguments import check_found, checked_seed
from .._matrix import dense
from .._runtime import default_torch_modes
from ..training import Settings, fit_decoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from anndata import AnnData
    from numpy.typing import NDArray

    from .._anndata.map import Map
    from .._anndata.representation import Representation
    from .._anndata.results import Results

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


@default_torch_modes
def adopt(
    adata: AnnData,
    *,
    basis: str = "X_umap",
    use_rep: str | None = None,
    n_pcs: int | None = None,
    layer: str | None = None,
    n_neighbors: int = 15,
    hidden: Sequence[int] = (128, 128),
    activation: str = "silu",
    n_steps: int | None = None,
    batch_size: int = 128,
    learning_rate: float = 5e-3,
    device: str | torch.device = "auto",
    progress_bar: bool = True,
    on_interrupt: Literal["raise", "keep"] = "raise",
    random_state: int | np.random.RandomState | None = 0,
    copy: bool = False,
) -> AnnData | None:
    r"""Turn an existing map, such as a published UMAP, into a model that places new cells and decodes positions.

    Fits an encoder that reproduces the coordinates of the cells, and a decoder from the map back to the representation
    (the matrix that the map was made from, such as ``X_pca``). Only the coordinates are needed, not the method that
    made them, and they do not change. Afterwards, pass ``key="umap"`` to place new cells on the map
    (`scgeoae.tl.transform`), decode any position (`scgeoae.tl.decode`) or measure paths (`scgeoae.tl.geodesic`). All
    plots work, too.

    Parameters
    ----------
    adata
        Annotated data with the map and the representation that it was made from, or a similar representation.
    basis
        Name of the map in `obsm`, with or without ``X_``: ``"X_umap"``, ``"umap"``, ``"tsne"``.
    use_rep, n_pcs, layer
        The representation that the map was made from, as in `scgeoae.tl.geoae`. Default: the one recorded for a t-SNE;
        else the default of `scgeoae.tl.geoae`, first of all the one of the neighbor graph.
    n_neighbors
        Number k of neighbors of each cell, without the cell itself, in the metric graph: the neighbor graph on the map
        whose edges have their lengths in the data.
    hidden, activation, batch_size, learning_rate, device, progress_bar, on_interrupt
        Settings of the networks and their training, as in `scgeoae.tl.geoae`.
    n_steps
        Largest number of training steps. Default: 2,000. Training ends earlier if the validation error stops falling.
    random_state
        Seed of the initial weights, the validation cells and the batches.
    copy
        Return a copy instead of writing into `adata`.

    Returns
    -------
    `None`, or the copy with ``copy=True``. It sets the slots that `scgeoae.tl.distortion` sets with
    ``method="decoder"``, except those for tears. In ``adata.uns["{key}_distortion"]["scores"]``, with ``key`` the name
    of the map without ``X_``, ``MSE_held_out`` is the squared error of the decoder and ``MSE_encoder_held_out`` the one
    of the encoder's positions, relative to the variance, over the validation cells (a twentieth of the cells, not used
    for training).

    Raises
    ------
    KeyError
        If the map, `use_rep` or `layer` does not exist.
    ValueError
        If an argument is out of range, the map already has a model, the map or the representation has NaN or infinite
        values, or there are fewer than d + 2 cells.
    RuntimeError
        If training diverges.

    See Also
    --------
    scgeoae.tl.transform : Place new cells on the map.
    scgeoae.tl.distortion : Fit the same model and find where the map tears.

    References
    ----------
    MEDAL, arXiv 2605.24244, for the idea of fitting a model to any map.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.adopt(adata, basis="X_umap", n_steps=200)
    >>> sg.tl.decode(adata, adata.obsm["X_umap"][:5], key="umap", genes=[]).obsm["X_pca"].shape
    (5, 50)
    """
    m, slot, positions = find_embedding(adata, basis)
    if m.is_own:
        msg = (
            f"The map in adata.obsm[{slot!r}] already has its own model; sg.get.model(adata, key={m.key!r}) returns it."
        )
        raise ValueError(msg)
    settings = Settings(
        n_components=positions.shape[1],
        regularizer=None,
        n_neighbors=n_neighbors,
        hidden=hidden,
        activation=activation,
        n_steps=n_steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        on_interrupt=on_interrupt,
        seed=checked_seed(random_state),
    )
    representation = choose_representation(adata, use_rep=use_rep, n_pcs=n_pcs, layer=layer, basis=m.key)
    check_fit(representation, slot, positions)
    start = logg.info(f"fitting a model to adata.obsm[{slot!r}] as a map of {representation.name}")
    results = fit_embedding(adata, representation, slot, positions, settings, device=device, progress_bar=progress_bar)
    return write(adata, changes_of_map(adata, m.key, results), start=start, copy=copy)
