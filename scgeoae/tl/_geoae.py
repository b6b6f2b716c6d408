from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
from scanpy import logging as logg

from .._anndata.genes import genes_of
from .._anndata.neighbors import choose_graph, choose_neighbors
from .._anndata.paga import paga_positions
from .._anndata.params import params_of_fit
from .._anndata.representation import choose_representation
from .._anndata.results import changes_of_map, results_of_fit
from .._anndata.slots import Slots
from .._anndata.write import write
from .._arguments import check_found, checked_map_key, checked_seed
from .._matrix import digest
from .._runtime import default_torch_modes
from ..training import Settings, fit
from ..training.affinities import n_affinities
from ..training.ambient import choose_ambient
from ..training.isomap import MAX_UNROLLED
from ..training.neighbors import N_POSITIVES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    import torch
    from anndata import AnnData
    from numpy.typing import ArrayLike, NDArray


# Largest number of values of the representation that refinement holds in memory by default: 2 GB as float32.
MAX_HELD = 2**29


@default_torch_modes
def geoae(
    adata: AnnData,
    *,
    n_components: int = 2,
    regularizer: str | Mapping[str, float] | None = "isometric",
    strength: float | Literal["auto"] | None = None,
    tolerance: float = 1.1,
    side: Literal["decoder", "encoder", "both"] | None = None,
    sampling: Literal["data", "mixup", "gaussian", "uniform"] | None = None,
    ambient: str | ArrayLike | Callable[[torch.Tensor], torch.Tensor] | None = None,
    init_pos: str | ArrayLike = "pca",
    neighbors_weight: float | None = None,
    neighbors_scale: float = 0.3,
    neighbors_key: str | None = None,
    refine: bool | None = None,
    tsne_weight: float = 0.25,
    perplexity: float = 25,
    equal_room: float = 0.0,
    noise: float | None = None,
    use_rep: str | None = None,
    n_pcs: int | None = None,
    layer: str | None = None,
    n_neighbors: int = 15,
    hidden: Sequence[int] = (128, 128),
    activation: str = "silu",
    n_steps: int | None = None,
    batch_size: int = 256,
    learning_rate: float = 1e-2,
    device: str | torch.device = "auto",
    progress_bar: bool = True,
    on_interrupt: Literal["raise", "keep"] = "raise",
    random_state: int | np.random.RandomState | None = 0,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Make a map of cells that has a scale, and measure its remaining distortion.

    Use it instead of `scanpy.tl.umap`. It trains an autoencoder: an encoder turns cells of the representation (such as
    ``X_pca``) into positions on the map, and a decoder turns positions back into cells. By default the decoder is
    regularized toward an isometry, a mapping that preserves lengths, so a small step has nearly the same length
    everywhere on the map. In a second stage, the refinement, each cell moves to its own position among its neighbors,
    and the networks follow. The networks start at PCA; the map lies along the first principal components of the
    representation and has its units.

    Parameters
    ----------
    adata
        Annotated data.
    n_components
        Number d of dimensions of the map.
    regularizer
        What the map preserves (docs/regularizers.md). These act on the metric tensors of the network given by `side`:

        - ``"isometric"`` (``"irae"``), the default: lengths up to one scale, so areas and angles, too. Lee et al., ICLR
          2022.
        - ``"volume"`` (``"geomae"``): relative areas, so that you can read densities off the map. Nazari, Damrich &
          Hamprecht 2023, arXiv 2306.17638.
        - ``"conformal"`` (``"confae"``): angles and shapes. Nazari, *Geometric Encoder Regularization*, Eq. 7.
        - ``"unit_isometric"`` (``"iae"``): lengths with the scale fixed, and the encoder projects orthogonally onto the
          surface of the decoder. Gropp, Atzmon & Lipman 2020.

        Others:

        - ``"neighborhood"`` (``"nrae"``, ``"nrae_l"``), ``"neighborhood_quadratic"`` (``"nrae_q"``): the first- or
          second-order approximation of the decoder at a cell also reconstructs its neighbors, which denoises. Lee et
          al., NeurIPS 2021.
        - ``"curvature"`` (``"mecae"``, ``"mcae"``): bends the surface as little as possible. Combine it with another
          one, since it leaves the map free to stretch. Lee & Park 2023, arXiv 2309.10237.
        - Baselines that preserve no geometry: ``"contractive"`` (``"cae"``), small derivatives of the encoder;
          ``"gradient_penalty"`` (``"rae_gp"``), of the decoder; ``"denoising"`` (``"dae"``), noise on the cells;
          ``"topological"`` (``"topoae"``), lengths of the edges that connect a batch, Moor et al., ICML 2020.
        - A mapping of names to weights, such as ``{"isometric": 0.2, "curvature": 0.01}``, combines several.
        - `None`: a plain autoencoder without regularizer, for comparison.
    strength
        Weight of the regularizer relative to the mean squared error of the standardized representation. A higher weight
        gives less distortion and more reconstruction error. Default: 0.2 for ``"isometric"``, 0.5 for ``"volume"`` and
        ``"conformal"``, 0.03 for ``"curvature"``, which raise the error by 2 to 9% (docs/defaults.md); for others see
        `scgeoae.geometry.regularizers.REGULARIZERS`. For ``"denoising"`` it is the standard deviation of the noise. A
        mapping has its own weights, so leave `strength` out, or give ``"auto"``. ``"auto"`` finds the largest weight
        (for a mapping: one factor for all weights) whose error stays within `tolerance`, takes a third more time
        (`scgeoae.training.DualAscent`), and records the result in ``params``. Refinement multiplies all weights not
        found by ``"auto"`` by 5, which costs hardly any error there.
    tolerance
        For ``strength="auto"``: largest reconstruction error, as a multiple of the error without a regularizer.
    side
        Network that the first three regularizers and ``"unit_isometric"`` act on: ``"decoder"``, whose metric describes
        a position on the map; ``"encoder"``, whose metric M = BH⁻¹Bᵀ (B is its Jacobian) describes how cells come to
        lie there; or ``"both"``, each with the full weight. Default: the decoder; both for ``"unit_isometric"``, as in
        its paper. The other regularizers have no choice.
    sampling
        Where regularizers of the decoder are evaluated: ``"data"``, at the cells, where the map is read; ``"mixup"``,
        on and somewhat beyond the lines between pairs of cells, to include the gaps between clusters; ``"gaussian"`` or
        ``"uniform"``, at draws from the Gaussian of the cells or from the box around them, all in latent space.
        Default: ``"data"``; ``"gaussian"`` for ``"unit_isometric"``, as in its paper. Those of the encoder always use
        the cells.
    ambient
        Ambient metric H: the length of a step v in the representation is √(vᵀHv). It changes what the regularizer
        preserves, all tensors, and the unit of the map, but not the reconstruction error (docs/regularizers.md).

        - `None`: Euclidean. For principal components, this is the distance that Scanpy's neighbors use.
        - ``"mahalanobis"``: the inverse covariance of the representation, so that every direction is measured in its
          standard deviations and the last component counts as much as the first.
        - (D,) positive weights of the features, such as a column of `var` if the representation is X (a pandas Series
          is aligned by name); or a symmetric positive (D, D) matrix.
        - A function from (n, D) float32 tensors in units of the representation to (n, D) diagonals or (n, D, D)
          matrices that torch can differentiate. Files cannot hold it: the tensors at the cells are stored, and
          `scgeoae.tl.metric` needs it again elsewhere.
    init_pos
        Where training starts (docs/regularizers.md). All but ``"pca"`` cost a warm-up of 500 steps.

        - ``"pca"``: the first principal components of the representation.
        - ``"isomap"``: positions from distances along the data (landmark Isomap). Use it for data that are rolled up,
          such as a curled trajectory. It follows the five nearest neighbors of each cell, in the existing graph (see
          `neighbors_key`) or computed. Of more than 4,000 cells, it unrolls a random 4,000, with neighbors among these,
          and places the others between them. Parts that the graph does not connect are unrolled separately.
        - ``"paga"``: around the positions of the groups in ``uns["paga"]``, as in `scanpy.tl.umap`. Run
          `scanpy.tl.paga` and `scanpy.pl.paga` first. Only for maps of two dimensions.
        - An existing layout: another key of `obsm`, such as ``"X_umap"``, or an (n, d) array. Its unit, position and
          orientation do not matter.
    neighbors_weight
        Weight of the contrastive (InfoNCE) loss, which pulls each cell toward its ten nearest neighbors in the
        representation and away from random others: −log q(z_i, z_j) + log Σ_k q(z_i, z_k), with
        q = 1/(1 + ‖z_i − z_k‖²/τ²). It sharpens neighborhoods and clusters. Default: 0.2 with ``"isometric"``,
        ``"volume"`` and ``"conformal"``, and 0 with the others, as in their papers. ``neighbors_weight=0`` leaves pure
        geometry, by default also without refinement.
    neighbors_scale
        Length scale τ of this loss, in units of the standardized representation, in which features have a mean variance
        of 1. Cells much closer than this count as together.
    neighbors_key
        Key in `uns` of the neighbor graph for this loss and for ``init_pos="isomap"``. Default: ``"neighbors"``, from
        `scanpy.pp.neighbors`, if it was made from the same representation; else neighbors are computed, beyond 10,000
        cells only among a random 10,000. Refinement uses a graph named here, or one in ``"neighbors"`` whose metric is
        not Euclidean; else it searches for two neighbors per unit of `perplexity`, more than Scanpy's graph has.
    refine
        Whether to run the refinement, which optimizes the position of each cell as a parameter of its own, because an
        encoder cannot place many cells exactly. It minimizes the reconstruction error, the penalties of the
        `regularizer`, and t-SNE's divergence between neighbors in the data and on the map, with wider kernels where
        cells are further apart. With ``"isometric"``, the Euclidean metric and ``init_pos="pca"``, it also fits
        distances between far cells to the straight distances through the representation, and sets the unit of the map
        by them. The map then keeps nearly as many of the ten nearest neighbors as t-SNE (docs/quality.md). Default:
        refine with ``"isometric"``, ``"volume"`` and ``"conformal"`` on the decoder, but use the map of the encoder if
        it keeps more of the ten nearest neighbors, as on a smooth surface without noise, unless `equal_room` is given.
        ``refine=False`` leaves the map of the encoder, and is the default beyond 5e8 values of the representation, all
        of which refinement holds in memory as float32.
    tsne_weight
        Weight κ of t-SNE's divergence in the refinement, relative to the reconstruction error: the balance between
        geometry and t-SNE. At 0, each cell goes where the decoder reconstructs it best. Up to 0.1, distances dominate.
        From 1 on, neighborhoods dominate, and far distances and the reconstruction error get worse.
    perplexity
        How many neighbors of each cell count in t-SNE's affinities. A lower value keeps the very nearest better, a
        higher value wider neighborhoods. Useful values are 10 to 50.
    equal_room
        How evenly cells share the map, from 0 to 1 (docs/regularizers.md). At 0, the default, groups that are dense in
        the data are dense on the map, and the map has one scale. At 1, cells share the map much more evenly, if not
        quite as on a UMAP: small shapes are still preserved, but not lengths. The same length on the map is a shorter
        one in the data where cells are dense; ``obs["{key}_log_area"]`` tells by how much. In between, cells are spaced
        more evenly within groups, and up to about 0.75 small steps keep one length everywhere. It changes the
        refinement, which must not be skipped: the kernels of t-SNE's divergence go from local widths to one width for
        all cells, ``"conformal"`` replaces this share of ``"isometric"``, and distances between far cells are fitted
        that much less. Not for ``"volume"`` and ``"unit_isometric"``, which preserve areas.
    noise
        Standard deviation of the noise added to a cell before it is encoded, in units of the standardized
        representation. It keeps the encoder from memorizing cells, so that new cells find their place. Default: 0.25
        with the contrastive loss (less if that is longer than two thirds of the distance from a cell to its neighbors,
        as for points that fill a surface), and 0 without it.
    use_rep
        Representation to embed: a key of `obsm`, or ``"X"``. Default: the one of the neighbor graph in
        ``uns["neighbors"]``, as in `scanpy.tl.umap`. Without a graph, X if it has at most 50 variables, else
        ``"X_pca"``, which is computed if it does not exist.
    n_pcs
        Use only this many columns of the representation; 0 means X.
    layer
        Use this layer instead of X.
    n_neighbors
        Number k of neighbors of each cell, without the cell itself: on the map, for the metric graph (the neighbor
        graph whose edges have their lengths in the data); and in the representation, for ``"neighborhood"``.
    hidden
        Widths of the hidden layers of the encoder; the decoder has them in reverse order.
    activation
        ``"silu"``, ``"elu"``, ``"tanh"`` or ``"softplus"``.
    n_steps
        Largest number of steps, for training and for refinement. Default: for training, 120 epochs, but at least 200
        and at most 1,200 steps, so that time does not grow with the number of cells; if refinement follows, at most
        800, or beyond 10,000 cells half as many. For refinement, 400 steps, or beyond 10,000 cells 200 on a sample and
        200 or fewer on all cells.
        Training ends earlier if the validation loss stops falling. With more than 100,000 cells, it uses a random
        100,000.
    batch_size
        Number of cells per step. The contrastive loss uses at most 256 of them.
    learning_rate
        Peak of the one-cycle learning-rate schedule.
    device
        Where to train: ``"auto"`` (CUDA, else MPS, else CPU) or a torch device. If the device that ``"auto"`` has
        chosen fails, a warning says why, and the CPU computes instead.
    progress_bar
        Show progress and losses if training takes longer than a second.
    on_interrupt
        What happens on Ctrl-C or the stop button of a notebook. ``"raise"``: the run stops, and `adata` is unchanged.
        ``"keep"``: what training has reached is stored with a warning (the best state of the first stage, as the map of
        the encoder, or the current positions of the refinement), and the step in ``params["interrupted_at"]``. Before
        the first evaluation of the first stage, and outside of training, ``"keep"`` does the same as ``"raise"``.
    random_state
        Seed of the initial weights, the validation cells and the batches. On a CPU, the same seed, data, versions and
        number of threads give the same bits.
    key_added
        Name of the results, used for all slots below. Default: ``"geoae"``.
    copy
        Return a copy instead of writing into `adata`.

    Returns
    -------
    `None`, or the copy with ``copy=True``. It sets, with ``key = key_added or "geoae"``:

    ``adata.obsm["X_{key}"]`` : (n, d) float32
        The map. If refinement has fitted distances, a distance on the map equals the straight distance between the
        decoded points, in the median over pairs of cells. Otherwise one unit of the map is, on average, one unit along
        the surface of the decoder (docs/distances.md).
    ``adata.obsm["{key}_metric"]`` : (n, d(d+1)/2) float32
        Metric tensor G of the decoder at each cell, upper triangle row by row. A small step v on the map has the length
        √(vᵀGv) in the representation.
    ``adata.obsp["{key}_metric"]`` : (n, n) float32 csr, k entries per row
        Squared length of the edge to each neighbor, by the metric tensor of the cell.
    ``adata.obsp["{key}_distances"]``, ``adata.obsp["{key}_connectivities"]`` : (n, n) float32 csr
        The metric graph: Riemannian edge lengths and Gaussian connectivities, symmetric. Pass ``neighbors_key="geoae"``
        to `scanpy.tl.leiden`, `scanpy.tl.paga` or `scanpy.tl.dpt` to use it.
    ``adata.obs["{key}_log_area"]`` : float32
        log10 of the generalized Jacobian determinant √det G, relative to its mean over the cells: above 0 where the map
        shows the data too small, below 0 where it shows them too large.
    ``adata.obs["{key}_anisotropy"]`` : float32
        1 − σ_min/σ_max of G: 0 where shapes are preserved, 1 where one direction has collapsed.
    ``adata.obs["{key}_reconstruction_error"]`` : float32
        Squared distance between the cell and its reconstruction, in squared units of the representation.
    ``adata.obsm["{key}_metric_encoder"]`` : (n, d(d+1)/2) float32
        Metric tensor P = (BH⁻¹Bᵀ)⁻¹ that the encoder pushes forward from each cell.
    ``adata.obs["{key}_log_area_encoder"]``, ``adata.obs["{key}_anisotropy_encoder"]`` : float32
        Distortion of each cell by the metric of the encoder.
    ``adata.uns["{key}"]`` : dict
        ``params``, ``history``, ``scores``, ``model`` (see `scgeoae.get`) and the names of the matrices of the graph.

    Raises
    ------
    KeyError
        If `use_rep`, `layer`, `init_pos` or `neighbors_key` does not exist, or ``uns["paga"]`` has no positions for
        ``init_pos="paga"``.
    ValueError
        If an argument is out of range, the representation has NaN or infinite values, fewer than d + 2 cells or fewer
        than d features, or if all cells are equal.
    RuntimeError
        If training diverges.

    See Also
    --------
    scgeoae.pl.indicatrices, scgeoae.pl.jacobian_heatmap : Draw the distortion.
    scgeoae.get.model, scgeoae.get.metric_tensors, scgeoae.get.scores : Read the results.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> adata.obsm["X_geoae"].shape
    (700, 2)
    """
    settings = Settings(
        n_components=n_components,
        regularizer=regularizer,
        strength=strength,
        tolerance=tolerance,
        side=side,
        sampling=sampling,
        neighbors_weight=neighbors_weight,
        neighbors_scale=neighbors_scale,
        refine=refine,
        tsne_weight=tsne_weight,
        perplexity=perplexity,
        equal_room=equal_room,
        noise=noise,
        n_neighbors=n_neighbors,
        hidden=hidden,
        activation=activation,
        n_steps=n_steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        on_interrupt=on_interrupt,
        seed=checked_seed(random_state),
    )
    key = checked_map_key(key_added, "geoae")
    representation = choose_representation(
        adata, use_rep=use_rep, n_pcs=n_pcs, layer=layer, neighbors_key=neighbors_key
    )
    if representation.params["use_rep"] == Slots(key).embedding:
        slot = Slots(key).embedding
        msg = f"The map would replace adata.obsm[{slot!r}], which it is made from; give another `key_added`."
        raise ValueError(msg)
    n_values = math.prod(representation.matrix.shape)
    if settings.refines and refine is None and n_values > MAX_HELD:
        # which raises where `equal_room` needs the refinement
        settings = replace(settings, refine=False)
        logg.warning(
            f"The refinement would hold all {n_values:.1e} values of {representation.name} in memory, so it is "
            "skipped: map components instead (sc.pp.pca(adata)), or give refine=True."
        )
    measure = choose_ambient(_by_name(ambient, adata, representation.matrix), representation.matrix)

    positions = _positions(init_pos, adata, settings)
    neighbors = None
    unrolls_graph = isinstance(init_pos, str) and init_pos == "isomap" and adata.n_obs <= MAX_UNROLLED
    graph = None
    if settings.refines:
        k = min(n_affinities(settings.perplexity), adata.n_obs - 1)
        graph = choose_graph(adata, representation, key=neighbors_key, k=k)
    if settings.contrastive is not None or unrolls_graph:
        neighbors = choose_neighbors(adata, representation, key=neighbors_key, k=N_POSITIVES)
    elif graph is None and neighbors_key is not None:
        msg = (
            f"neighbors_key={neighbors_key!r} has no effect without the contrastive loss; give `neighbors_weight` > 0."
        )
        raise ValueError(msg)

    start = logg.info(f"computing geometric autoencoder of {representation.name}")
    fitted = fit(
        representation.matrix,
        settings,
        init_pos=positions,
        neighbors=neighbors,
        graph=graph,
        ambient=measure,
        device=device,
        progress_bar=progress_bar,
        name=representation.name,
    )
    k = min(settings.n_neighbors, adata.n_obs - 1)
    chosen = representation.params
    if neighbors_key is not None:
        chosen = chosen | {"neighbors_key": neighbors_key}
    followed = neighbors if graph is None else graph.indices
    if followed is not None:
        chosen = chosen | {"neighbors": digest(followed)}
    params = params_of_fit(settings, chosen, ambient, init_pos, n_neighbors=k, fitted=fitted)
    fitted.model.genes = genes_of(adata, representation)
    results = results_of_fit(fitted, representation, params, n_neighbors=k, is_own=True)
    return write(adata, changes_of_map(adata, key, results), start=start, copy=copy)


def _positions(init_pos: Any, adata: AnnData, settings: Settings) -> Any:
    if not isinstance(init_pos, str) or init_pos == "isomap":
        return init_pos
    if init_pos == "pca":
        return None
    if init_pos == "paga":
        return paga_positions(adata, n_components=settings.n_components, seed=settings.seed)
    check_found(init_pos, adata.obsm, "adata.obsm", "; give 'pca', 'isomap', 'paga', one of these or an array")
    return adata.obsm[init_pos]


def _by_name(ambient: Any, adata: AnnData, matrix: NDArray[Any]) -> Any:
    """Reorder a Series of weights to match the variables."""
    if not isinstance(ambient, pd.Series) or matrix.shape[1] != adata.n_vars:
        return ambient
    if missing := set(adata.var_names) - set(ambient.index):
        msg = f"`ambient` has no weight for {len(missing)} of {adata.n_vars} variables, such as {min(missing)!r}."
        raise ValueError(msg)
    return ambient.reindex(adata.var_names)
