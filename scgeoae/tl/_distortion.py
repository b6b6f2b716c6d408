from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from scanpy import logging as logg

from .._anndata.neighbors import neighbors_of
from .._anndata.params import without_none
from .._anndata.representation import choose_representation
from .._anndata.results import changes_of_map, changes_of_tears, results_of_estimate
from .._anndata.write import Changes, write
from .._arguments import check_option, checked_seed
from .._runtime import default_torch_modes
from ..graphs import laplacian_metric, tears
from ..training import Settings
from ..training.device import environment
from ._adopt import check_fit, find_embedding, fit_embedding

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import torch
    from anndata import AnnData

METHODS = ("decoder", "laplacian")


@default_torch_modes
def distortion(
    adata: AnnData,
    *,
    basis: str = "X_umap",
    method: Literal["decoder", "laplacian"] = "decoder",
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
    r"""Measure how a UMAP or any other embedding distorts the data, and find where it tears.

    Estimates the metric tensor of each cell, a small matrix that says how long a step on the map is in the data, and
    finds tears: neighbors in the data that the embedding pulls far apart. The results have the same form as those of
    `scgeoae.tl.geoae`: ``sg.pl.indicatrices(adata, basis="umap")`` and ``sg.pl.jacobian_heatmap(adata, basis="umap")``
    draw them. With a decoder, the functions of `scgeoae.tl` and `scgeoae.get` accept ``key="umap"``, too. The embedding
    and Scanpy's ``uns["umap"]`` do not change.

    The search for neighbors holds the representation of all cells in memory, also if it is lazy or on disk, and so
    does the graph Laplacian. If that is too much, measure a sample of the cells.

    Parameters
    ----------
    adata
        Annotated data with the embedding.
    basis
        Name of the embedding in `obsm`, with or without ``X_``: ``"X_umap"``, ``"umap"``, ``"tsne"``. A map made by
        `scgeoae.tl.geoae` has its tensors already, so only the tears are added.
    method
        How the metric tensors are found.

        - ``"decoder"`` fits a decoder and an encoder to the fixed coordinates by least squares. They are a model that
          decodes positions between cells, places new cells and has a curvature. The decoder averages over cells at the
          same position, so noise perpendicular to the surface does not count. It is closer to metrics that are known
          (correlation of the anisotropy 0.99 instead of 0.98), but it is smooth, so it bridges the gap at a tear.
        - ``"laplacian"`` estimates the metric at the cells from their graph Laplacian
          (`scgeoae.graphs.laplacian_metric`) in a fraction of the time, without a model. Use it for embeddings that
          tear a lot or lay parts of the data over each other, so that no smooth decoder exists
          (``scores["MSE_held_out"]`` of the decoder is near 1). Its lengths include the noise between neighbors: with
          50 components, one unit of a UMAP comes out 1.5 to 2.5 times as long as with a decoder, and shapes are
          rounder.

        On three UMAPs, log areas from the two have rank correlations of 0.89 (2,526 cells) down to 0.52 (800 cells, too
        few for the decoder: its validation error is 0.52), anisotropies only of −0.1 to 0.2 (docs/quality.md).
    use_rep, n_pcs, layer
        The representation that the map was made from, as in `scgeoae.tl.geoae`. Default: the one recorded for a t-SNE;
        else the default of `scgeoae.tl.geoae`, first of all the one of the neighbor graph.
    n_neighbors
        Number k of neighbors of each cell, without the cell itself: in the embedding, for the metric graph; and in the
        representation, for the tears and the graph Laplacian. Up to 20,000 cells, the search in the representation is
        exact. Beyond, the graph of `scanpy.pp.neighbors` is used if its lengths are Euclidean distances in the same
        representation and it has at least k − 1 neighbors of each cell; otherwise, a search finds nearly all of them.
    hidden, activation, batch_size, learning_rate, device, progress_bar, on_interrupt
        Settings of the networks and their training, as in `scgeoae.tl.geoae`.
    n_steps
        Largest number of training steps. Default: 2,000. Training ends earlier if the validation error stops falling.
    random_state
        Seed of the initial weights, the validation cells and the batches. The graph Laplacian has no randomness.
    copy
        Return a copy instead of writing into `adata`.

    Returns
    -------
    `None`, or the copy with ``copy=True``. It sets, with ``key`` the name of the embedding without ``X_``:

    ``adata.obsm["{key}_metric"]`` : (n, d(d+1)/2) float32
        Metric tensor at each cell, upper triangle row by row, in squared units of the representation per squared unit
        of the embedding. An embedding has a unit of its own, so the mean of tr G/d is not 1.
    ``adata.obsp["{key}_metric"]``, ``["{key}_distances"]``, ``["{key}_connectivities"]`` : (n, n) float32 csr
        The metric graph of neighbors in the embedding; pass ``neighbors_key="{key}_distortion"`` to Scanpy to use it.
    ``adata.obs["{key}_log_area"]``, ``adata.obs["{key}_anisotropy"]`` : float32
        As in `scgeoae.tl.geoae`: above 0 where the embedding shows the data too small; 0 where it preserves shapes.
    ``adata.obs["{key}_torn"]`` : float32
        Share of the edges of the cell in the symmetric k-nearest-neighbor graph of the representation that the
        embedding tears (`scgeoae.graphs.tears`).
    ``adata.obs["{key}_broken"]`` : bool
        Whether this share is a tenth or more.
    ``adata.obsp["{key}_torn"]`` : (n, n) float32 csr, symmetric
        The torn edges: how many times longer each of them is in the embedding than the edges around it.
    ``adata.uns["{key}_distortion"]`` : dict
        ``params``, ``scores``, the names of the matrices of the graph, and ``torn``, how tears were measured.

    With ``method="decoder"`` it also sets:

    ``adata.obs["{key}_reconstruction_error"]`` : float32
        Squared distance between the cell and what is decoded at its position, in squared units of the representation.
    ``adata.obsm["{key}_metric_encoder"]`` : (n, d(d+1)/2) float32
        Metric tensor that the encoder pushes forward from each cell. For points exactly on a surface in few dimensions,
        trust the decoder's instead: the encoder learns directions off the surface only from cells that scatter there.
    ``adata.obs["{key}_log_area_encoder"]``, ``adata.obs["{key}_anisotropy_encoder"]`` : float32
        Distortion of each cell by the metric of the encoder.
    ``adata.uns["{key}_distortion"]`` : dict
        Also ``history`` and ``model`` (`scgeoae.get.model`), which encodes cells to positions in the embedding and
        decodes them.

    Raises
    ------
    KeyError
        If the embedding, `use_rep` or `layer` does not exist.
    ValueError
        If an argument is out of range, the embedding or the representation has NaN or infinite values, there are fewer
        than d + 2 cells, or ``method="laplacian"`` is given for a map that has its own decoder.
    RuntimeError
        If training diverges.

    See Also
    --------
    scgeoae.pl.indicatrices, scgeoae.pl.jacobian_heatmap : Draw the distortion.
    scgeoae.pl.broken_neighborhoods : Draw the tears.
    scgeoae.tl.adopt : Fit the same model without the tears.

    References
    ----------
    Perrault-Joncas & Meilă 2013, arXiv 1305.7255, for the graph Laplacian; Nazari, Damrich & Hamprecht 2023, arXiv
    2306.17638, for the metric of a decoder.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.distortion(adata, method="laplacian")
    >>> sg.get.metric_tensors(adata, key="umap").shape
    (700, 2, 2)
    """
    check_option(method, "method", METHODS)
    m, slot, positions = find_embedding(adata, basis)
    if m.is_own and method == "laplacian":
        msg = (
            f"The tensors of adata.obsm[{slot!r}] exist already: they belong to its own decoder "
            f"(sg.get.metric_tensors(adata, key={m.key!r})). For an additional estimate, copy the map: "
            f"adata.obsm['X_copy'] = adata.obsm[{slot!r}]; sg.tl.distortion(adata, basis='copy', method='laplacian')."
        )
        raise ValueError(msg)
    n, d = positions.shape
    settings = Settings(
        n_components=d,
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
    if m.is_own and use_rep is None and n_pcs is None and layer is None:
        representation = m.representation
    else:
        representation = choose_representation(adata, use_rep=use_rep, n_pcs=n_pcs, layer=layer, basis=m.key)
    check_fit(representation, slot, positions)
    if method == "laplacian" and settings.n_neighbors <= d:
        msg = f"Expected `n_neighbors` to be at least {d + 1} for a metric of {d} dimensions, found {n_neighbors}."
        raise ValueError(msg)

    start = logg.info(f"computing distortion of adata.obsm[{slot!r}] as a map of {representation.name}")
    k = min(settings.n_neighbors, n - 1)
    neighbors, lengths = neighbors_of(adata, representation, k=k)
    found = tears(positions, neighbors, lengths)
    changes, entry, stored = Changes(), m.entry, adata.uns.get(m.entry, {})
    if m.is_own:
        logg.info("    the map has its own decoder and tensors: only the tears are added")
    else:
        if method == "laplacian":
            params = without_none(
                basis=slot, method=method, **representation.params, n_neighbors=k, environment=environment("cpu")
            )
            metric = laplacian_metric(positions, neighbors, lengths)
            results = results_of_estimate(positions, metric, representation, params, n_neighbors=k)
        else:
            results = fit_embedding(
                adata, representation, slot, positions, settings, device=device, progress_bar=progress_bar
            )
        changes, entry = changes_of_map(adata, m.key, results), m.slots.distortion
        stored = changes.slots["uns", entry]
    torn_params = {"n_neighbors": neighbors.shape[1], **representation.params}
    changes += changes_of_tears(m.key, found, torn_params, entry, stored)
    return write(adata, changes, start=start, copy=copy)
