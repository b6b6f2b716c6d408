"""Fit a geometric autoencoder to a matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch

from .._arguments import check_flag
from .._matrix import blocks
from .._runtime import training_threads
from ..geometry.chart import fit_chart
from ..geometry.distortion_measures import chord_ratio
from .affinities import n_affinities
from .batches import Cells
from .device import DEVICE_ERRORS, choose_device, falls_back, native
from .finalize import evaluate, finalize
from .initialize import placed, start_from
from .isomap import isomap
from .neighbors import MAX_SEARCHED, N_POSITIVES, find_neighbors, nearest_neighbors, suitable_noise, within
from .objective import Objective
from .refine import N_COARSE, Refinement, refine, share_kept
from .sampling import SAMPLINGS
from .setup import check_init, set_up
from .train import train

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from ..geometry import Ambient
    from .finalize import Fit
    from .neighbors import Neighbors
    from .settings import Settings
    from .setup import Setup

# Steps of the first stage at most, where the second one follows.
MAX_STEPS_BEFORE_REFINEMENT = 800
# Cells encoded at a time.
BLOCK = 4096
# Cells whose mean ambient metric sets its unit.
MAX_MEASURED = 1000


def default_steps(n_cells: int, batch_size: int) -> int:
    """Return the default number of steps: 120 epochs, but at least 200 and at most 1,200 steps.

    Beyond some 2,500 cells (at 256 a batch) it no longer grows.
    """
    return min(max(120 * n_cells // batch_size, 200), 1200)


def fit(
    raw: Any,
    settings: Settings,
    *,
    init_pos: NDArray[Any] | Literal["isomap"] | None = None,
    neighbors: NDArray[np.integer] | None = None,
    graph: Neighbors | None = None,
    ambient: Ambient | None = None,
    device: str | torch.device = "auto",
    progress_bar: bool = False,
    name: str = "the matrix",
) -> Fit:
    """Fit a geometric autoencoder to an (n, D) matrix of finite numbers.

    The matrix is standardized. Training starts at PCA, or at the (n, d) positions `init_pos`, whose unit and pose do
    not matter, or with ``"isomap"`` at those of landmark Isomap. Then all cells are evaluated, and latent space gets
    its chart. A twentieth of the cells, at most 1,000, are validation cells, which choose the state that is kept and
    which no gradient sees; below 20 cells there are none. Batches are drawn from the other cells, or from a random
    100,000 of these.

    The contrastive loss pulls each cell to those in its row of the (n, k) row numbers `neighbors`, −1 for none, by
    default to the ten nearest. Isomap follows them as well.

    With `refine`, each cell then gets a position of its own, which follows the neighbors in `graph`, by default the
    nearest in the representation. An interrupt is raised. With ``on_interrupt="keep"`` it ends training with what was
    reached; after an interrupt of the first stage there is no second one.

    The matrix is read block by block: besides arrays of NumPy and SciPy it may be a Dask array or a dataset on disk.
    With ``refine=False`` it is read twice and never held as a whole. The second stage holds all (n, D) cells as
    float32.

    Raises
    ------
    ValueError
        If there are more components than features, or fewer cells than components + 2, if all cells are equal or some
        are not finite (`name` is what the message calls the matrix), or if `init_pos` is neither ``"isomap"`` nor
        (n, d) finite numbers.
    RuntimeError
        If training diverges, or if the `device` that was asked for fails, for example for want of memory.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.training import Settings, fit
    >>> raw = np.random.default_rng(0).normal(size=(100, 5))
    >>> fit(raw, Settings(n_steps=10)).embedding.shape
    (100, 2)
    """
    check_flag(progress_bar, "progress_bar")
    chosen = choose_device(device)
    try:
        setup = set_up(raw, settings, chosen, name=name)
        layout = _layout(setup, settings, init_pos, raw.shape[0], neighbors=neighbors, name=name)
        if ambient is not None:
            # some regularizers depend on the unit of H, and the networks start at a unit of about 1
            unit_of_h = ambient.mean(setup.model.restore(setup.x[:MAX_MEASURED]))
            setup.model.ambient = ambient.divided_by(unit_of_h).on(chosen)
        all_x, near, pulled_to = None, graph, neighbors
        # MPS lacks some of the operations of what follows the first stage
        refined_on = chosen if chosen.type == "cuda" else torch.device("cpu")
        if settings.refines:
            all_x = setup.x.to(refined_on) if len(setup.x) == raw.shape[0] else _standardized(setup, raw, refined_on)
            if near is None:
                k = min(n_affinities(settings.perplexity), len(all_x) - 1)
                near = nearest_neighbors(native(all_x), k, seed=settings.seed)
            if pulled_to is None:
                # few cells of a sample have their nearest neighbors in it
                pulled_to = near.indices if len(all_x) > len(setup.x) else near.indices[:, :N_POSITIVES]
        cells, noise = _cells(setup, settings, pulled_to)

        n_steps = settings.n_steps or default_steps(len(setup.x), settings.batch_size)
        if settings.n_steps is None and settings.refines:
            # the other steps would add less than the refinement adds (docs/defaults.md)
            n_steps = n_steps // 2 if raw.shape[0] > N_COARSE else min(n_steps, MAX_STEPS_BEFORE_REFINEMENT)
        draw = SAMPLINGS[settings.sampling or "data"]
        objective = Objective(
            settings.terms,
            settings.contrastive,
            sampler=None if draw is None else lambda z: draw(z, setup.on_device),
            interval=settings.penalty_interval(n_steps),
        )
        with training_threads(settings.batch_size, chosen):
            if layout is not None:
                start_from(setup, cells, layout, objective, settings, noise=noise)
            run = train(setup, cells, objective, settings, noise=noise, n_steps=n_steps, progress_bar=progress_bar)

        setup = setup._replace(
            model=setup.model.to(refined_on), x=setup.x.to(refined_on), axes=setup.axes.to(refined_on)
        )
        setup.model.ambient = None if ambient is None else ambient.on(refined_on)
        codes, unit, interrupted_at = None, None, None
        if all_x is not None and near is not None and run.interrupted_at is None:
            # a layout to start at may have unrolled the data, and chords would roll them up again
            keeps_chords = settings.keeps_lengths and ambient is None and layout is None
            stage = Refinement(
                settings=settings,
                factor=run.factor,
                noise=noise,
                keeps_chords=keeps_chords,
                progress_bar=progress_bar,
                n_threads=torch.get_num_threads(),
            )
            codes, interrupted_at = _refined(setup, all_x, near, stage)
            if codes is not None and keeps_chords:
                # a reader measures distances straight through the representation, not along the surface
                unit = 1 / chord_ratio(codes, setup.model.decoder).median.cpu()
            codes = None if codes is None else codes.cpu()
        evaluation = evaluate(setup, raw, codes=codes)
        chart = fit_chart(evaluation.latent if codes is None else codes, evaluation.metric, evaluation.principal)
        # the metric measures standardized units, each of which is `scale` units of the representation
        chart = chart._replace(unit=(chart.unit if unit is None else unit) * setup.standardization.scale)
        setup.model.ambient = ambient
        return finalize(setup, evaluation, chart, run, codes=codes, noise=noise, interrupted_at=interrupted_at)
    except DEVICE_ERRORS as error:
        if not falls_back(error, device, chosen):
            raise
    return fit(
        raw, settings, init_pos=init_pos, neighbors=neighbors, graph=graph, ambient=ambient, device="cpu",
        progress_bar=progress_bar, name=name,
    )  # fmt: skip


def _layout(
    setup: Setup,
    settings: Settings,
    init_pos: NDArray[Any] | str | None,
    n_cells: int,
    *,
    neighbors: NDArray[np.integer] | None,
    name: str,
) -> Tensor | None:
    """Return the codes at which training starts, (m, d), if it does not start at PCA."""
    if init_pos is None:
        return None
    d = settings.n_components
    if isinstance(init_pos, str) and init_pos == "isomap":
        y = isomap(setup.x.cpu().numpy(), d, neighbors=neighbors, seed=settings.seed, name=name)
    else:
        y = check_init(init_pos, n_cells, d)[setup.rows]
    return placed(y, setup.x, setup.principal)


def _cells(setup: Setup, settings: Settings, neighbors: NDArray[np.integer] | Tensor | None) -> tuple[Cells, float]:
    """Return the cells to train on with their neighbors, and the standard deviation of the noise on them."""
    x, train = setup.x, setup.train
    around = positives = anchors = None
    if any(term.regularizer.of == "neighbors" for term in settings.terms):
        around = find_neighbors(x, train, settings.n_neighbors)
    if settings.contrastive is not None:
        if neighbors is not None:
            positives = within(neighbors, setup.rows, train)
        else:
            some = train[:MAX_SEARCHED]
            anchors = some if len(train) > MAX_SEARCHED else None
            positives = find_neighbors(x, some, N_POSITIVES, of=torch.cat([some, setup.validation]))
    noise = settings.noise
    if noise is None:
        noise = 0.0 if positives is None else suitable_noise(x, positives, train if anchors is None else anchors)
    return Cells(x, neighbors=around, positives=positives, anchors=anchors), noise


def _standardized(setup: Setup, raw: Any, device: torch.device) -> Tensor:
    """Return all (n, D) cells of a matrix in standardized units."""
    x = torch.empty(raw.shape, dtype=torch.float32, device=device)
    for start, block in blocks(raw):
        x[start : start + len(block)] = torch.from_numpy(setup.standardization.standardize(block))
    return x


def _refined(setup: Setup, x: Tensor, neighbors: Neighbors, stage: Refinement) -> tuple[Tensor | None, str | None]:
    """Return the refined (n, d) codes, and at which step an interrupt ended the stage.

    The codes are None, and the networks stay as they were, where `refine` was left out and the encoder's map keeps more
    neighbors: where the data are a smooth surface, the encoder places cells exactly, and t-SNE's gradient moves them.
    Only the refinement gives cells equal room, so where that was asked for, its map is used.
    """
    model, settings = setup.model, stage.settings
    with torch.no_grad():
        codes = torch.cat([model.encoder(part) for part in x.split(BLOCK)])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train = torch.from_numpy(setup.rows)[setup.train.cpu()].to(x.device)
    found, interrupted_at = refine(model, x, codes, neighbors, train=train, stage=stage)
    if settings.refine is None and settings.tsne_weight > 0 and settings.equal_room == 0:
        start, end = (share_kept(z, neighbors, seed=settings.seed) for z in (codes, found))
        if start > end:
            model.load_state_dict(before)
            return None, interrupted_at
    return found, interrupted_at
