from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from scanpy import logging as logg

from .._anndata.representation import choose_representation
from .._anndata.results import changes_of_map
from .._anndata.write import check_writable, write
from .._arguments import checked_seed
from .._runtime import default_torch_modes
from ..training import Settings
from ._fit_embedding import check_fit, find_embedding, fit_embedding

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import torch
    from anndata import AnnData


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
    r"""Turn somebody's two-dimensional map, such as a published UMAP, into a model.

    Fits an encoder that reproduces the coordinates of the cells and a decoder back to the representation, without
    access to what made the map. The map stays as it is. Afterwards, with ``key="umap"``, `scgeoae.tl.transform` places
    new cells on it, `scgeoae.tl.decode` says what is at any place of it, `scgeoae.tl.geodesic` measures on it, and all
    plots draw it. `scgeoae.tl.distortion` fits the same model and finds where the map tears besides.

    Parameters
    ----------
    adata
        Annotated data with the map and the representation that it was made of, or one like it.
    basis
        Name of the map in `obsm`, with ``X_`` or without: ``"X_umap"``, ``"umap"``, ``"tsne"``.
    use_rep, n_pcs, layer
        Representation, as in `scgeoae.tl.geoae`: by default that which a t-SNE recorded, else that of the neighbor
        graph in ``uns["neighbors"]``, else X if it has at most 50 variables, else ``"X_pca"``.
    n_neighbors
        Number k of neighbours on the map, the cell itself excluded, in the metric graph.
    hidden, activation, batch_size, learning_rate, device, progress_bar, on_interrupt
        Of the decoder and the encoder, as in `scgeoae.tl.geoae`.
    n_steps
        Number of training steps at most, 2,000 unless given. Training ends earlier when the held-out error no
        longer falls.
    random_state
        Seed of initial weights, held-out cells and batches.
    copy
        Return a copy instead of writing into `adata`.

    Returns
    -------
    `None`, or the copy with ``copy=True``. With ``key`` the name without ``X_`` it sets what `scgeoae.tl.distortion`
    does with ``method="decoder"``, but for the tears: tensors, distortion and reconstruction error of each cell, the
    metric graph, and ``adata.uns["{key}_distortion"]`` with ``params``, ``history``, ``model`` and ``scores``, of which

    ``MSE_held_out`` is the squared error of the decoder, and ``MSE_encoder_held_out`` that of the encoder's positions,
    in units of their variance, both of the twentieth of the cells that were not trained on.

    Raises
    ------
    KeyError
        If the map, `use_rep` or `layer` does not exist.
    ValueError
        If an argument is out of its range, the map has a model of its own, it or the representation has NaN or infinite
        values, or there are fewer than d + 2 cells.
    RuntimeError
        If training diverges.

    See Also
    --------
    scgeoae.tl.transform : Place new cells on the map.
    scgeoae.tl.distortion : The same model, and the tears.

    References
    ----------
    The idea of a model behind any map: MEDAL, arXiv 2605.24244.

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
        msg = f"The map in adata.obsm[{slot!r}] has a model of its own; sg.get.model(adata, key={m.key!r}) returns it."
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
    check_writable(adata, copy=copy)
    start = logg.info(f"fitting a model to adata.obsm[{slot!r}] as a map of {representation.name}")
    results = fit_embedding(adata, representation, slot, positions, settings, device=device, progress_bar=progress_bar)
    return write(adata, changes_of_map(adata, m.key, results), start=start, copy=copy)
