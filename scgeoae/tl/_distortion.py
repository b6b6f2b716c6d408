from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from scanpy import logging as logg
from sklearn.neighbors import NearestNeighbors

from .._anndata.assemble import assemble_estimate
from .._anndata.made_of import read_representation
from .._anndata.representation import choose_representation
from .._anndata.results import check_writable, has_own_decoder, writable, write_results, write_tears
from .._anndata.transaction import all_or_nothing
from .._runtime import default_torch_modes
from ..graphs import laplacian_metric, tears
from ..training import Settings
from ..training.device import environment
from ._fit_embedding import check_fit, find_embedding, fit_embedding
from ._seed import seed_of

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
    r"""Measure the distortion of an embedding that has no decoder, such as a UMAP, and find where it tears.

    Writes the same tensors, columns and graph as `scgeoae.tl.geoae`, under the name of the embedding, so
    that ``sg.pl.indicatrices(adata, basis="umap")`` and ``sg.pl.jacobian_heatmap(adata, basis="umap")`` draw them,
    and for the decoder ``sg.tl.curvature(adata, key="umap")`` and ``sg.get.model(adata, key="umap")`` work. The
    embedding itself stays as it is, and so does ``uns["umap"]``, which is Scanpy's.

    Parameters
    ----------
    adata
        Annotated data with the embedding.
    basis
        Name of the embedding in `obsm`, with ``X_`` or without: ``"X_umap"``, ``"umap"``, ``"tsne"``. Of a map that
        `scgeoae.tl.geoae` made the tensors are there already, and only the tears are added.
    method
        How metric tensors are found.

        - ``"decoder"``: of a decoder that is fitted to the coordinates by least squares, with an encoder beside
          it, so that there is a model: it decodes positions between cells, places new cells, and has a
          curvature. It averages over what lies on one spot, so that noise across the surface does not count. The
          default, since everything works with it and it comes nearer to the true metric of charts for which
          that is known: correlation of the anisotropy 0.99 instead of 0.98. A decoder is smooth: beside a tear it
          spans the gap.
        - ``"laplacian"``: the graph-Laplacian estimate of the cells themselves
          (`scgeoae.graphs.laplacian_metric`). It fits nothing and knows no gap, only neighbours, and takes a
          fraction of the time. For embeddings that tear much, or lay parts of the data over each other, where no
          smooth decoder exists: the decoder's ``scores["MSE_held_out"]`` is then near 1. There are tensors at
          the cells and nowhere else, no encoder and no curvature. Its lengths are between neighbours in
          the representation, with all their noise: in 50 components a unit of a UMAP comes out 1.5 to 2.5 times as
          long as by a decoder, and shapes rounder.

        On UMAPs of three data sets, three seeds each, the log areas of the two have rank correlations of 0.89
        (2,526 PBMCs), 0.82 to 0.85 (1,805 neurons of *C. elegans*) and 0.52 to 0.64 (800 lung cells, too few for the
        decoder: its held-out error is 0.52); their anisotropies have next to none, −0.1 to 0.2.
    use_rep, n_pcs, layer
        Representation that the embedding was made of, as in `scgeoae.tl.geoae`: by default that which a t-SNE
        recorded, else that of the neighbor graph in ``uns["neighbors"]``, of which a UMAP is, else X if it has at most
        50 variables, else ``"X_pca"``.
    n_neighbors
        Number k of neighbours, the cell itself excluded: in the embedding, for the metric graph; and in the
        representation, for the tears and the graph Laplacian.
    hidden, activation, batch_size, learning_rate, device, progress_bar, on_interrupt
        Of the decoder and the encoder, as in `scgeoae.tl.geoae`.
    n_steps
        Number of training steps at most, 2,000 unless given. Training ends earlier when the held-out error no
        longer falls.
    random_state
        Seed of initial weights, held-out cells and batches. The graph Laplacian has no randomness.
    copy
        Return a copy instead of writing into `adata`.

    Returns
    -------
    `None`, or the copy with ``copy=True``. With ``key`` the name without ``X_`` it sets:

    ``adata.obsm["{key}_metric"]`` : (n, d(d+1)/2) float32
        Metric tensor at each cell, upper triangle row by row, in squared units of the representation per squared
        unit of the embedding; the mean of tr G/d is not 1.
    ``adata.obsp["{key}_metric"]``, ``["{key}_distances"]``, ``["{key}_connectivities"]`` : (n, n) float32 csr
        The metric graph on neighbours in the embedding, for ``neighbors_key="{key}_distortion"`` of Scanpy.
    ``adata.obs["{key}_log_area"]``, ``adata.obs["{key}_anisotropy"]`` : float32
        As in `scgeoae.tl.geoae`: relative area, above 0 where the embedding shows the data too small, and
        1 − σ_min/σ_max.
    ``adata.obs["{key}_torn"]`` : float32
        Share of the edges of the cell, on the symmetric k-nearest-neighbour graph of the representation, that
        the embedding tears (`scgeoae.graphs.tears`).
    ``adata.obs["{key}_broken"]`` : bool
        Whether that is a tenth or more.
    ``adata.obsp["{key}_torn"]`` : (n, n) float32 csr, symmetric
        The torn edges: how many times longer each is in the embedding than those around it are.
    ``adata.uns["{key}_distortion"]`` : dict
        ``params``, ``scores``, the names of the graph's matrices, and ``torn``, by what measure.

    And with ``method="decoder"``:

    ``adata.obs["{key}_reconstruction_error"]`` : float32
        Squared distance between the cell and what is decoded at its position, in squared units of the representation.
    ``adata.obsm["{key}_metric_encoder"]`` : (n, d(d+1)/2) float32
        Metric tensor that the encoder pushes forward from each cell. How the encoder changes across the surface is
        known as far as cells scatter there: of points exactly on a surface in few dimensions trust the decoder's.
    ``adata.obs["{key}_log_area_encoder"]``, ``adata.obs["{key}_anisotropy_encoder"]`` : float32
        The distortion of each cell by that metric.
    ``adata.uns["{key}_distortion"]`` : dict
        ``history`` and ``model`` (`scgeoae.get.model`), whose ``encode`` and ``decode`` give and take positions in
        the embedding.

    Raises
    ------
    KeyError
        If the embedding, `use_rep` or `layer` does not exist.
    ValueError
        If an argument is out of its range, the embedding or the representation has NaN or infinite values, there are
        fewer than d + 2 cells, or ``method="laplacian"`` is asked for a map that has its own decoder.
    RuntimeError
        If training diverges.

    See Also
    --------
    scgeoae.pl.indicatrices, scgeoae.pl.jacobian_heatmap : Draw the distortion.
    scgeoae.pl.broken_neighborhoods : Draw the tears.
    scgeoae.tl.adopt : The same model without the tears.

    References
    ----------
    Perrault-Joncas & Meilă 2013, arXiv 1305.7255, for the graph Laplacian; Nazari, Damrich & Hamprecht 2023,
    arXiv 2306.17638, for the metric of a decoder.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.distortion(adata, method="laplacian")
    >>> sg.get.metric_tensors(adata, key="umap").shape
    (700, 2, 2)
    """
    if not isinstance(method, str) or method not in METHODS:
        msg = f"Expected `method` to be one of {', '.join(map(repr, METHODS))}, found {method!r}."
        raise ValueError(msg)
    key, slot, positions = find_embedding(adata, basis)
    own = has_own_decoder(adata, key)
    if own and method == "laplacian":
        msg = (
            f"The tensors of adata.obsm[{slot!r}] are there already: they are those of its own decoder "
            f"(sg.get.metric_tensors(adata, key={key!r})). For an estimate beside them copy the map: "
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
        seed=seed_of(random_state),
    )
    if own and use_rep is None and n_pcs is None and layer is None:
        representation = read_representation(adata, key)
    else:
        representation = choose_representation(adata, use_rep=use_rep, n_pcs=n_pcs, layer=layer, basis=key)
    check_fit(representation, slot, positions)
    if method == "laplacian" and settings.n_neighbors <= d:
        msg = f"Expected `n_neighbors` to be at least {d + 1} for a metric of {d} dimensions, found {n_neighbors}."
        raise ValueError(msg)

    check_writable(adata, copy=copy)
    start = logg.info(f"computing distortion of adata.obsm[{slot!r}] as a map of {representation.name}")
    k = min(settings.n_neighbors, n - 1)
    lengths, neighbors = NearestNeighbors(n_neighbors=k).fit(representation.dense()).kneighbors()
    found = tears(positions, neighbors, lengths)
    results = None
    if own:
        logg.info("    the map has a decoder of its own, and its tensors are there already: adding the tears only")
    elif method == "laplacian":
        metric = laplacian_metric(positions, neighbors, lengths)
        params = {"basis": slot, "method": method, **representation.params, "n_neighbors": k}
        params["environment"] = environment("cpu")
        results = assemble_estimate(positions, metric, representation=representation, params=params, n_neighbors=k)
    else:
        results = fit_embedding(
            adata, representation, slot, positions, settings, method=method, device=device, progress_bar=progress_bar
        )
    adata = writable(adata, copy=copy)
    with all_or_nothing(adata):
        written = [] if results is None else write_results(adata, key, results)
        written += write_tears(adata, key, found, {"n_neighbors": k, **representation.params})
    logg.info("    finished", time=start, deep="added\n" + "\n".join(f"    {line}" for line in written))
    return adata if copy else None
