"""Fit a geometric autoencoder to a matrix."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from scipy.spatial import KDTree

from .._arguments import check_flag
from .._matrix import blocks
from .._runtime import training_threads
from ..geometry.chart import fit_chart
from ..geometry.distortion_measures import chord_ratio
from .batches import Cells
from .conclude import conclude
from .device import compute_on
from .evaluate import evaluate
from .initialize import check_init, place, start_from
from .isomap import isomap
from .neighbors import MAX_SEARCHED, N_PARTNERS, find_neighbors, suitable_noise, within
from .optimize import optimize
from .prepare import prepare
from .search import Neighbors, nearest_neighbors
from .settle import N_COARSE, Effort, Weights, settle

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ..geometry import Ambient
    from .conclude import Fit
    from .prepare import Prepared
    from .settings import Settings

# Cells encoded at a time.
BLOCK = 4096
# Neighbors by which the maps of both stages are compared, and of how many cells.
N_JUDGED, MAX_JUDGED = 10, 1000


def default_steps(n_cells: int, batch_size: int) -> int:
    """Return the step budget: 120 epochs, but at least 200 and at most 1,200 steps.

    Beyond some 2,500 cells (at 256 a batch) it no longer grows.
    """
    return min(max(120 * n_cells // batch_size, 200), 1200)


def fit(
    raw: Any,
    settings: Settings,
    *,
    init_pos: NDArray | Literal["isomap"] | None = None,
    neighbors: NDArray[np.integer] | None = None,
    graph: Neighbors | None = None,
    ambient: Ambient | None = None,
    device: str | torch.device = "auto",
    progress_bar: bool = False,
    name: str = "the matrix",
) -> Fit:
    """Fit a geometric autoencoder to an (n, D) matrix of finite numbers.

    The stages are: standardise, start at PCA, or at the (n, d) positions `init_pos`, whose unit and pose
    do not matter, or with ``"isomap"`` at those of ``scgeoae.training.isomap``, train, evaluate all cells, and lay
    latent space into its frame. A twentieth of the
    cells, at most 1,000, is held out of the gradients and chooses the state that is kept; below 20
    cells none is. Training draws its batches from the others, from a random 100,000 of them where there are more.
    The neighbour term pulls each cell to those in its row of the (n, k) row numbers
    `neighbors`, −1 for none, by default to the ten nearest. Isomap follows them too.

    With `refine`, each cell then gets a position of its own (``scgeoae.training.settle``), which follows the neighbors
    in `graph`, by default the nearest in the representation. An interrupt is raised; with ``on_interrupt="keep"`` it
    ends training with what was reached, after an interrupt of the first stage without a second one.

    The matrix is read block by block: besides arrays of NumPy and SciPy it may be one of Dask, or a dataset on disk.
    With ``refine=False`` it is read twice and never held as a whole; the second stage holds all (n, D) cells as
    float32.

    Raises
    ------
    ValueError
        If there are more components than features, or fewer cells than components + 2, if all cells are equal or some
        are not finite (`name` is what the message calls the matrix), or if `init_pos` is neither ``"isomap"`` nor
        (n, d) finite numbers.
    RuntimeError
        If training diverges, or the `device` that was asked for has too little memory.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.training import Settings, fit
    >>> raw = np.random.default_rng(0).normal(size=(100, 5))
    >>> fit(raw, Settings(n_steps=10)).embedding.shape
    (100, 2)
    """
    given = {"init_pos": init_pos, "neighbors": neighbors, "graph": graph, "ambient": ambient}
    check_flag(progress_bar, "progress_bar")
    return compute_on(device, partial(_fit, raw, settings, progress_bar=progress_bar, name=name, **given))


def _fit(
    raw: Any,
    settings: Settings,
    device: torch.device,
    *,
    init_pos: NDArray | Literal["isomap"] | None,
    neighbors: NDArray[np.integer] | None,
    graph: Neighbors | None,
    ambient: Ambient | None,
    progress_bar: bool,
    name: str,
) -> Fit:
    prepared = prepare(raw, settings, device, name=name)
    model, x, train = prepared.model, prepared.x, prepared.train
    if isinstance(init_pos, str) and init_pos == "isomap":
        init_pos = isomap(x.cpu().numpy(), settings.n_components, neighbors=neighbors, seed=settings.seed, name=name)
    elif init_pos is not None:
        init_pos = check_init(init_pos, raw.shape[0], settings.n_components)[prepared.rows]
    if ambient is not None:
        # some regularisers depend on the unit of H, and the networks start at a unit of about 1
        model.ambient = ambient.divided_by(ambient.mean(model.restore(x[:1000])))
    all_cells = neighbors_of_all = None
    if settings.refines:
        all_cells = x.cpu() if len(x) == raw.shape[0] else standardized(prepared, raw)
        neighbors_of_all = graph
        if graph is None:
            k = min(settings.n_affinities, len(all_cells) - 1)
            neighbors_of_all = nearest_neighbors(all_cells.numpy(), k, seed=settings.seed)
    around = partners = pulled = None
    if any(term.regularizer.of == "neighbors" for term in settings.terms):
        around = find_neighbors(x, train, settings.n_neighbors)
    if settings.contrast is not None:
        if neighbors is None and neighbors_of_all is not None:
            # of a sample few cells have their nearest in it
            neighbors = neighbors_of_all.indices if raw.shape[0] > len(x) else neighbors_of_all.indices[:, :N_PARTNERS]
        if neighbors is not None:
            partners = within(neighbors, prepared.rows, train)
        else:
            some = train[:MAX_SEARCHED]
            pulled = some if len(train) > MAX_SEARCHED else None
            partners = find_neighbors(x, some, N_PARTNERS, of=torch.cat([some, prepared.held_out]))
    cells = Cells(x, neighbors=around, partners=partners, pulled=pulled)
    noise = settings.noise
    if noise is None:
        noise = suitable_noise(x, partners, train if pulled is None else pulled)
    n_steps = settings.n_steps or default_steps(len(x), settings.batch_size)
    if settings.n_steps is None and settings.refines and raw.shape[0] > N_COARSE:
        # what the second half would add is less than what the positions add
        n_steps //= 2
    objective = {"terms": settings.terms, "contrast": settings.contrast, "noise": noise}
    with training_threads(settings.batch_size, x.device):
        if init_pos is not None:
            start_from(
                model,
                cells,
                place(init_pos, x, prepared.principal),
                train=train,
                batch_size=settings.batch_size,
                seed=settings.seed,
                **objective,
            )
        run = optimize(
            model,
            cells,
            train=train,
            held_out=prepared.held_out,
            tolerance=settings.tolerance if settings.is_auto else None,
            sampling=settings.sampling,
            n_steps=n_steps,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            generator=prepared.generator,
            progress_bar=progress_bar,
            keeps_interrupted=settings.keeps_interrupted,
            rows=prepared.rows,
            **objective,
        )

    model.ambient = ambient
    # a layout to start at may have unrolled the data, and chords would roll them up again
    keeps_chords = settings.keeps_lengths and ambient is None and init_pos is None
    codes, interrupted_at = None, run.interrupted_at
    if settings.refines and interrupted_at is None:
        kept = {"factor": run.factor, "keeps_chords": keeps_chords, "noise": noise}
        prepared, codes, interrupted_at = _settled(
            prepared, raw, all_cells, neighbors_of_all, settings, progress_bar=progress_bar, **kept
        )
    evaluation = evaluate(prepared, raw, codes=codes)
    unit = displacement = None
    if codes is not None:
        if keeps_chords:
            # distances across the surface, not along it, are what a reader measures
            unit = 1 / chord_ratio(codes, model.decoder).median
        displacement = ((evaluation.latent - codes).square().mean(1) / codes.var(0, correction=0).mean()).numpy()
        evaluation = evaluation._replace(latent=codes)
    frame = fit_chart(evaluation.latent, evaluation.metric, evaluation.principal)
    # the metric measures standardised units, of which one is `scale` units of the representation
    frame = frame._replace(unit=(frame.unit if unit is None else unit) * prepared.standardization.scale)
    found = {"history": run.history, "step": run.step, "factor": run.factor, "noise": noise}
    fitted = conclude(prepared, evaluation, frame, **found)
    return fitted._replace(displacement=displacement, interrupted_at=interrupted_at)


def standardized(prepared: Prepared, raw: Any) -> Tensor:
    """Return all (n, D) cells of a matrix in standardized units, on the CPU."""
    x = torch.empty(raw.shape, dtype=torch.float32)
    for start, block in blocks(raw):
        x[start : start + len(block)] = torch.from_numpy(prepared.standardization.standardize(block))
    return x


def _settled(
    prepared: Prepared,
    raw: Any,
    x: Tensor,
    neighbors: Neighbors,
    settings: Settings,
    *,
    factor: float,
    keeps_chords: bool,
    noise: float,
    progress_bar: bool,
) -> tuple[Prepared, Tensor | None, str | None]:
    """Move each cell to a place of its own, and return what was trained, on the CPU, and the (n, d) codes.

    These are None, and the networks as they were, where `refine` was left out and the encoder keeps more neighbors.
    The last says at which step an interrupt ended it.
    """
    model = prepared.model.cpu()
    with torch.no_grad():
        codes = torch.cat([model.encoder(part) for part in x.split(BLOCK)]).numpy()
    train = torch.from_numpy(prepared.rows)[prepared.train.cpu()]
    weights = Weights(
        terms=settings.terms,
        factor=factor,
        is_found=settings.is_auto,
        n_around=settings.n_neighbors,
        divergence=settings.tsne_weight,
        perplexity=settings.perplexity,
        keeps_chords=keeps_chords,
    )
    effort = Effort(
        batch_size=settings.batch_size,
        noise=noise,
        seed=settings.seed,
        n_threads=torch.get_num_threads(),
        progress_bar=progress_bar,
        most_steps=settings.n_steps,
        keeps_interrupted=settings.keeps_interrupted,
    )
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found, interrupted_at = settle(model, x, codes, neighbors, train=train, weights=weights, effort=effort)
    on_cpu = prepared._replace(x=prepared.x.cpu(), axes=prepared.axes.cpu())
    if settings.refine is None and settings.tsne_weight > 0:
        # where the data are a surface the encoder places cells exactly, and t-SNE's forces move them
        start, end = (share_kept(z, neighbors, seed=settings.seed) for z in (codes, found))
        if start > end:
            model.load_state_dict(before)
            return on_cpu, None, interrupted_at
    return on_cpu, torch.from_numpy(found), interrupted_at


def share_kept(z: NDArray[np.float32], neighbors: Neighbors, *, seed: int = 0) -> float:
    """Return the share of the ten nearest cells in the representation that are so on the map, of at most 1,000 cells.

    Parameters
    ----------
    z
        (n, d) positions on the map.
    neighbors
        Of the cells in the representation.
    """
    n = len(z)
    k = min(N_JUDGED, neighbors.indices.shape[1], n - 1)
    cells = np.random.default_rng(seed).choice(n, min(MAX_JUDGED, n), replace=False)
    near = KDTree(z).query(z[cells], [*range(1, k + 2)])[1]
    expected = neighbors.indices[cells, :k]
    return float((expected[:, :, None] == near[:, None]).any(2).mean())
