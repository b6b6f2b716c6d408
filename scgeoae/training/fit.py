"""Fit a geometric autoencoder to a matrix."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch

from .._arguments import check_flag
from ..geometry.frame import fit_frame
from .batches import Cells
from .conclude import conclude
from .device import compute_on
from .evaluate import evaluate
from .initialize import check_init, place, start_from
from .isomap import isomap
from .neighbors import MAX_SEARCHED, N_PARTNERS, find_neighbors, suitable_noise, within
from .optimize import optimize
from .prepare import prepare
from .tuning import tuned_for

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..geometry import Ambient
    from .conclude import Fit
    from .settings import Settings


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
    ambient: Ambient | None = None,
    device: str | torch.device = "auto",
    progress_bar: bool = False,
    name: str = "the matrix",
) -> Fit:
    """Fit a geometric autoencoder to an (n, D) matrix of finite numbers.

    The stages are: standardise, start at PCA, or at the (n, d) positions `init_pos`, whose unit and pose
    do not matter, or with ``"isomap"`` at those of `scgeoae.training.isomap`, train, evaluate all cells, and lay
    latent space into its frame. A twentieth of the
    cells, at most 1,000, is held out of the gradients and chooses the state that is kept; below 20
    cells none is. Training draws its batches from the others, from a random 100,000 of them where there are more.
    The neighbour term pulls each cell to those in its row of the (n, k) row numbers
    `neighbors`, −1 for none, by default to the ten nearest. Isomap follows them too.

    The matrix is read twice, block by block, and never held as a whole: besides arrays of NumPy and SciPy it may be
    one of Dask, or a dataset on disk.

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
    given = {"init_pos": init_pos, "neighbors": neighbors, "ambient": ambient}
    check_flag(progress_bar, "progress_bar")
    return compute_on(device, partial(_fit, raw, settings, progress_bar=progress_bar, name=name, **given))


def _fit(
    raw: Any,
    settings: Settings,
    device: torch.device,
    *,
    init_pos: NDArray | Literal["isomap"] | None,
    neighbors: NDArray[np.integer] | None,
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
    around = partners = pulled = None
    if any(term.regularizer.of == "neighbors" for term in settings.terms):
        around = find_neighbors(x, train, settings.n_neighbors)
    if settings.contrast is not None:
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
    objective = {"terms": settings.terms, "contrast": settings.contrast, "noise": noise}
    with tuned_for(settings.batch_size, x.device):
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
        history, step, factor = optimize(
            model,
            cells,
            train=train,
            held_out=prepared.held_out,
            tolerance=settings.tolerance if settings.is_auto else None,
            sampling=settings.sampling,
            n_steps=settings.n_steps or default_steps(len(x), settings.batch_size),
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            generator=prepared.generator,
            progress_bar=progress_bar,
            rows=prepared.rows,
            **objective,
        )

    model.ambient = ambient
    evaluation = evaluate(prepared, raw)
    frame = fit_frame(evaluation.latent, evaluation.metric, evaluation.principal)
    # the metric measures standardised units, of which one is `scale` units of the representation
    frame = frame._replace(unit=frame.unit * prepared.standardization.scale)
    return conclude(prepared, evaluation, frame, history=history, step=step, factor=factor, noise=noise)
