from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scanpy import logging as logg

from .._anndata.assemble import assemble
from .._anndata.genes import genes_of
from .._anndata.neighbors import choose_graph, choose_neighbors
from .._anndata.paga import paga_positions
from .._anndata.representation import choose_representation
from .._anndata.results import check_writable, writable, write_results
from .._anndata.slots import Slots, checked_map_key
from .._matrix import digest
from .._runtime import default_torch_modes
from ..geometry import Ambient
from ..training import Settings, fit
from ..training.affinities import n_affinities
from ..training.ambient import choose_ambient
from ..training.isomap import MAX_UNROLLED
from ..training.neighbors import N_POSITIVES
from ._seed import seed_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch
    from anndata import AnnData
    from numpy.typing import ArrayLike, NDArray

    from ..training import Fit

# Values of the representation that the second stage holds in memory unless it is asked for: 2 GB.
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
    r"""Embed cells with a geometric autoencoder.

    Trains an autoencoder whose decoder (or encoder) is held close to an isometry (or to preserving
    areas, or angles), so that distances (areas, angles) on the map are those of the representation,
    and stores how far from it each cell still is. The networks start at PCA and bend from
    there. In a second stage each cell moves to a place of its own among its neighbors, and the
    networks follow. The map has the units of the representation and lies along its first
    principal components.

    Parameters
    ----------
    adata
        Annotated data.
    n_components
        Number d of dimensions of the map.
    regularizer
        What the networks are held to. Penalties on the metric tensors of the `side`:

        - ``"isometric"`` (``"irae"``): distances, up to one scale. The default, because it
          keeps areas and angles too. Lee et al., ICLR 2022.
        - ``"volume"`` (``"geomae"``): relative areas, so that density can be read from the
          map. Nazari, Damrich & Hamprecht 2023, arXiv 2306.17638.
        - ``"conformal"`` (``"confae"``): angles and shapes. Nazari, *Geometric Encoder
          Regularization*, Eq. 7.
        - ``"unit_isometric"`` (``"iae"``): distances with the scale fixed, and the encoder the
          orthogonal projection on the manifold. Gropp, Atzmon & Lipman 2020.

        Others:

        - ``"neighborhood"`` (``"nrae"``, ``"nrae_l"``) and ``"neighborhood_quadratic"``
          (``"nrae_q"``): the decoder's first- or second-order approximation at each cell
          reconstructs the cells around it too, which denoises. Lee, Kwon & Park, NeurIPS 2021.
        - ``"curvature"`` (``"mecae"``, ``"mcae"``): the surface bends least in the
          representation; combine it with another, since it leaves the map free to stretch.
          Lee & Park 2023, arXiv 2309.10237.
        - baselines that keep nothing of the geometry: ``"contractive"`` (``"cae"``), small
          derivatives of the encoder; ``"gradient_penalty"`` (``"rae_gp"``), of the decoder;
          ``"denoising"`` (``"dae"``), noise on the cells; ``"topological"`` (``"topoae"``), the
          lengths of the edges that hold a batch together, Moor et al., ICML 2020.
        - a mapping such as ``{"isometric": 0.2, "curvature": 0.01}``: several with their
          weights.
        - `None`: nothing; the vanilla autoencoder, for comparison.
    strength
        Weight of the regulariser against the mean squared error of the standardised
        representation. Higher is less distortion and more reconstruction error: by default
        ``"isometric"`` 0.2, ``"volume"`` 0.5, ``"conformal"`` 0.5, ``"curvature"`` 0.03, which cost 2 to 9%
        of it on three reference data sets (docs/defaults.md); of the others a customary one
        (`scgeoae.geometry.regularizers.REGULARIZERS`). Of ``"denoising"`` it is the standard
        deviation of the noise. A mapping has its weights in itself.
        ``"auto"``: the largest weight whose reconstruction error stays within `tolerance`, found while
        training at a third more time (`scgeoae.training.DualAscent`); of a mapping, one factor of
        all its weights. What was found is recorded in ``params``. With `refine`, the second stage
        multiplies any other weight by 5, which costs hardly any error there.
    tolerance
        For ``strength="auto"``: reconstruction error allowed, as a multiple of that of the vanilla
        autoencoder.
    side
        Which network the first three and ``"unit_isometric"`` hold: ``"decoder"``, whose metric says
        what is at a position of the map; ``"encoder"``, on M = BH⁻¹Bᵀ, which says how the cells
        come to lie there; or ``"both"``, each with the full weight. By default the decoder, and
        both for ``"unit_isometric"``, as its paper does. The other regularisers have no choice.
    sampling
        Where regularisers of the decoder are evaluated: ``"data"``, at the codes of the cells,
        which is where the map is read; ``"mixup"``, on and somewhat beyond the lines between
        pairs of codes, to hold the gaps between clusters too; ``"gaussian"`` or ``"uniform"``, at
        draws from the Gaussian of the codes or from the box around them. By default ``"data"``,
        and ``"gaussian"`` for ``"unit_isometric"``, as its paper does. Those of the encoder are
        always evaluated at the cells.
    ambient
        Metric H of the representation: how long a step in it is, √(vᵀHv). It changes what the
        regulariser holds, all tensors, and the unit of the map, but not the reconstruction error.

        - `None`: Euclidean, every feature counts by its own variation. For principal components
          this is the distance that Scanpy's neighbours use.
        - ``"mahalanobis"``: the inverse covariance of the representation, so that every direction
          counts by its standard deviations, the last component as much as the first.
        - (D,) positive numbers, a diagonal: weights of the features, for example a column of
          `var` when the representation is X (a pandas Series is aligned by name); or a (D, D)
          symmetric positive matrix.
        - a function from (n, D) float32 tensors in units of the representation to (n, D)
          diagonals or (n, D, D) matrices, which torch can differentiate. No file can hold it:
          the tensors at the cells are stored, elsewhere `scgeoae.tl.metric` must be given it again.
    init_pos
        Where training starts.

        - ``"pca"``: the first principal components of the representation.
        - ``"isomap"``: positions whose distances are those along the data, by landmark Isomap. It unrolls data
          that are rolled up, such as a curled trajectory, which no bending of a projection does. It follows the
          five nearest neighbors of each cell, in the graph that is there (see `neighbors_key`) or computed. Of more
          than 4,000 cells it unrolls a random 4,000, whose neighbors are computed among these, and places the others
          between them. What the graph does not connect is unrolled piece by piece.
        - ``"paga"``: around the positions of the groups in ``uns["paga"]``, as for `scanpy.tl.umap`. Run
          `scanpy.tl.paga` and `scanpy.pl.paga` first; for maps of two dimensions.
        - a layout to be made geometric: another key of `obsm`, such as ``"X_umap"``, or an (n, d) array, whose unit,
          position and orientation do not matter.

        All but ``"pca"`` cost a warm-up of 500 steps.
    neighbors_weight
        Weight of the neighbour term, which pulls each cell to its nearest ten in the representation and
        away from random others: −log q(z_i, z_j) + log Σ_k q(z_i, z_k), q = 1/(1 + ‖z_i − z_k‖²/τ²). By
        default 0.2 beside ``"isometric"``, ``"volume"`` and ``"conformal"``, where it sharpens neighbourhoods
        and clusters and the decoder still keeps the metric, and 0 beside the others, which stay
        what their papers describe. ``neighbors_weight=0`` is pure geometry.
    neighbors_scale
        Its length τ, in units of the standardised representation, in which features have a mean
        variance of 1. Cells much nearer to each other count as together.
    neighbors_key
        Key of `uns` of the neighbour graph to use for it, and for ``init_pos="isomap"``. By default that of
        `scanpy.pp.neighbors`, ``"neighbors"``, if it was made from the same representation; where there is none the
        neighbours are computed, beyond 10,000 cells those of a random 10,000 among these. The second
        stage follows the graph that you name here, and one in ``"neighbors"`` whose metric is not Euclidean.
        Otherwise it searches two neighbors for each of its `perplexity`, which Scanpy's graph does not have.
    refine
        Whether to run the second stage, in which the position of each cell is a parameter of its own. An
        encoder cannot place each of many cells exactly. The second stage minimizes the reconstruction error, the
        penalties of the `regularizer`, and t-SNE's divergence of the neighbors on the map from those in the
        representation, with kernels that are wider where cells are further apart. With ``"isometric"`` it also
        holds distances between far cells to those straight through the representation, and sets the unit of the
        map by them, unless `init_pos` gives it a layout to start at.
        It keeps the ten nearest neighbors as t-SNE does. By default it runs with ``"isometric"``, ``"volume"`` and
        ``"conformal"`` on the decoder, and its map is taken unless the encoder's keeps more of the ten nearest
        neighbors, as on a smooth surface without noise. ``refine=False`` is the map of the encoder alone, and the
        default for a representation of more than 5e8 values: the second stage holds all of it in memory as float32.
    tsne_weight
        Weight κ of t-SNE's divergence in the second stage, against the reconstruction error: a dial from
        geometry to t-SNE. At 0 each cell goes where the decoder reconstructs it best; up to 0.1 distances count most;
        from 1 on neighborhoods do, and far distances and the reconstruction error get worse.
    perplexity
        Of t-SNE's affinities: how many neighbors count. Fewer keep the very nearest better, more
        keep wider neighborhoods better. Useful values are 10 to 50.
    noise
        Standard deviation of the noise that is added to a cell before it is encoded, in the same
        units. It keeps the encoder from memorising cells, so that new ones find their place. With the
        neighbour term by default 0.25, or less where that would be longer than two thirds of the distance of a
        cell to its neighbours, as on points that fill a surface; 0 without.
    use_rep
        Representation to embed: a key of `obsm`, or ``"X"``. By default that of the neighbor graph in
        ``uns["neighbors"]``, as `scanpy.tl.umap` has it; where there is none, X if it has at most 50 variables, else
        ``"X_pca"``, computed if it is not there.
    n_pcs
        Use only the first so many columns of the representation; 0 means X.
    layer
        Take this layer in the place of X.
    n_neighbors
        Number k of neighbours on the map, the cell itself excluded, in the metric graph; and in
        the representation, for ``"neighborhood"``.
    hidden
        Widths of the hidden layers of the encoder; the decoder has them in reverse order.
    activation
        ``"silu"``, ``"elu"``, ``"tanh"`` or ``"softplus"``.
    n_steps
        Number of steps at most, of the training and of the second stage. By default 120 epochs, but at least 200
        and at most 1,200 steps, so that time does not grow with the number of cells, and 300 (beyond 10,000 cells
        450) in the second stage. Training ends earlier when the held-out loss no longer falls. Of more than 100,000
        cells it sees a random 100,000.
    batch_size
        Cells a step. The neighbour term acts on at most 256 of them.
    learning_rate
        Peak of the one-cycle schedule.
    device
        ``"auto"`` (CUDA, else MPS, else CPU) or a torch device.
    progress_bar
        Show progress and losses when training takes longer than a second.
    on_interrupt
        What Ctrl-C, or the stop button of a notebook, does. ``"raise"``: it stops, and `adata` stays as it was.
        ``"keep"``: it ends training, and what was reached is stored with a warning: the best state of the first stage,
        as the map of the encoder alone, or the positions in the second stage. ``params["interrupted_at"]`` then says at
        which step. Before the first evaluation of the first stage and outside of training nothing is stored, and it is
        raised, too.
    random_state
        Seed of initial weights, held-out cells and batches. The same seed, data, versions and
        number of threads give the same bits on a CPU.
    key_added
        Name of the results, ``"geoae"`` by default; see below.
    copy
        Return a copy instead of writing into `adata`.

    Returns
    -------
    `None`, or the copy with ``copy=True``. With ``key = key_added or "geoae"`` it sets:

    ``adata.obsm["X_{key}"]`` : (n, d) float32
        The map. One unit on it is one unit of the representation: of the distance between two cells straight through
        it, in the median over pairs of cells, where the second stage has held them; else along the surface of the
        decoder, on average.
    ``adata.obsm["{key}_metric"]`` : (n, d(d+1)/2) float32
        Metric tensor of the decoder at each cell, upper triangle row by row.
    ``adata.obsp["{key}_metric"]`` : (n, n) float32 csr, k a row
        Squared length of the edge to each neighbour as the cell measures it.
    ``adata.obsp["{key}_distances"]``, ``adata.obsp["{key}_connectivities"]`` : (n, n) float32 csr
        Riemannian edge lengths and Gaussian connectivities, symmetric, for
        ``neighbors_key="geoae"`` of `scanpy.tl.leiden`, `scanpy.tl.paga`, `scanpy.tl.dpt`.
    ``adata.obs["{key}_log_area"]`` : float32
        log10 of the generalised Jacobian determinant √det G relative to its mean over the
        cells: above 0 where the map shows the data too small, below 0 where too large.
    ``adata.obs["{key}_anisotropy"]`` : float32
        1 − σ_min/σ_max of G: 0 where shapes are kept, 1 where one direction has collapsed.
    ``adata.obs["{key}_reconstruction_error"]`` : float32
        Squared distance between the cell and its reconstruction, in squared units of the
        representation.
    ``adata.obsm["{key}_metric_encoder"]`` : (n, d(d+1)/2) float32
        Metric tensor P = (BH⁻¹Bᵀ)⁻¹ that the encoder pushes forward from each cell.
    ``adata.obs["{key}_log_area_encoder"]``, ``adata.obs["{key}_anisotropy_encoder"]`` : float32
        The distortion of each cell by that metric.
    ``adata.uns["{key}"]`` : dict
        ``params``, ``history``, ``scores``, ``model`` (see `scgeoae.get`) and the names of
        the graph's matrices.

    Raises
    ------
    KeyError
        If `use_rep`, `layer`, `init_pos` or `neighbors_key` does not exist, or there are no positions in
        ``uns["paga"]`` for ``init_pos="paga"``.
    ValueError
        If an argument is out of its range, the representation has NaN or infinite values,
        fewer than d + 2 cells or d features, or if all cells are equal.
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
        noise=noise,
        n_neighbors=n_neighbors,
        hidden=hidden,
        activation=activation,
        n_steps=n_steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        on_interrupt=on_interrupt,
        seed=seed_of(random_state),
    )
    key = checked_map_key(key_added, "geoae")
    representation = choose_representation(
        adata, use_rep=use_rep, n_pcs=n_pcs, layer=layer, neighbors_key=neighbors_key
    )
    if representation.params["use_rep"] == Slots(key).embedding:
        slot = Slots(key).embedding
        msg = f"The map would replace adata.obsm[{slot!r}], which it is made of; give another `key_added`."
        raise ValueError(msg)
    n_values = math.prod(representation.matrix.shape)
    if settings.refines and refine is None and n_values > MAX_HELD:
        logg.warning(
            f"The second stage would hold all {n_values:.1e} values of {representation.name} in memory, so it is left "
            "out: map components instead (sc.pp.pca(adata)), or give refine=True."
        )
        settings = replace(settings, refine=False)
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
        msg = f"neighbors_key={neighbors_key!r} has no effect without the neighbour term; give `neighbors_weight` > 0."
        raise ValueError(msg)

    check_writable(adata, copy=copy)
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
    params = _params(settings, chosen, ambient, init_pos, n_neighbors=k, fitted=fitted)
    fitted.model.genes = genes_of(adata, representation)
    results = assemble(fitted, representation=representation, params=params, n_neighbors=k, ours=True)
    adata = writable(adata, copy=copy)
    written = write_results(adata, key, results)
    logg.info("    finished", time=start, deep="added\n" + "\n".join(f"    {line}" for line in written))
    return adata if copy else None


def _positions(init_pos: Any, adata: AnnData, settings: Settings) -> Any:
    if not isinstance(init_pos, str) or init_pos == "isomap":
        return init_pos
    if init_pos == "pca":
        return None
    if init_pos == "paga":
        return paga_positions(adata, n_components=settings.n_components, seed=settings.seed)
    if init_pos not in adata.obsm:
        known = ", ".join(map(repr, adata.obsm)) or "nothing"
        msg = (
            f"Did not find {init_pos!r} in adata.obsm, which has {known}; "
            "give 'pca', 'isomap', 'paga', one of these or an array."
        )
        raise KeyError(msg)
    return adata.obsm[init_pos]


def _by_name(ambient: Any, adata: AnnData, matrix: NDArray) -> Any:
    """Bring a Series of weights of the variables into their order."""
    if not isinstance(ambient, pd.Series) or matrix.shape[1] != adata.n_vars:
        return ambient
    if missing := set(adata.var_names) - set(ambient.index):
        msg = f"`ambient` has no weight for {len(missing)} of {adata.n_vars} variables, such as {min(missing)!r}."
        raise ValueError(msg)
    return ambient.reindex(adata.var_names)


def _params(
    settings: Settings, chosen: dict[str, Any], ambient: Any, init_pos: Any, *, n_neighbors: int, fitted: Fit
) -> dict[str, Any]:
    params = asdict(settings)
    params["random_state"] = params.pop("seed")
    # how a run would have ended is no part of what it was
    del params["on_interrupt"]
    params["hidden"] = np.array(settings.hidden, dtype=np.int64)
    params |= chosen
    params["n_neighbors"] = n_neighbors
    params["noise"] = fitted.noise
    params["interrupted_at"] = fitted.interrupted_at
    if fitted.displacement is not None:
        params["refine"] = True
    elif settings.refine:
        # an interrupt ended the run before the second stage
        params["refine"] = False
    params["init_pos"] = init_pos if isinstance(init_pos, str) else "array"
    if settings.is_auto:
        # the weights that were found; that `tolerance` is there tells that they were
        weights = {term.name: fitted.factor * term.weight for term in settings.terms}
        if isinstance(settings.regularizer, str):
            params["strength"] = weights[settings.regularizer]
        else:
            params |= {"strength": None, "regularizer": weights}
    else:
        del params["tolerance"]
    if callable(ambient):
        params["ambient"] = Ambient(ambient).name
    elif ambient is not None:
        params["ambient"] = ambient if isinstance(ambient, str) else np.asarray(ambient, dtype=np.float32)
    # `method` is what Scanpy asks of whatever `neighbors_key` names
    params["method"] = "gauss"
    params |= {"n_cells": len(fitted.embedding), "data": fitted.digest, "environment": fitted.environment}
    # an h5ad file has no None; what is absent was the default
    return {name: value for name, value in params.items() if value is not None}
