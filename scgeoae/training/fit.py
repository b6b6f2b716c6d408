"""Fit a geometric autoencoder to a matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..geometry.frame import fit_frame
from .batches import Cells
from .conclude import conclude
from .evaluate import evaluate
from .initialize import check_init, place, start_from
from .neighbors import MAX_SEARCHED, N_PARTNERS, find_neighbors, suitable_noise, within
from .optimize import optimize
from .prepare import prepare
from .threads import threads_for

if TYPE_CHECKING:
    import numpy as np
    import torch
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
    raw: NDArray,
    settings: Settings,
    *,
    init_pos: NDArray | None = None,
    neighbors: NDArray[np.integer] | None = None,
    ambient: Ambient | None = None,
    device: str | torch.device = "auto",
    progress_bar: bool = False,
) -> Fit:
    """Fit a geometric autoencoder to an (n, D) matrix of finite numbers.

    The stages are: standardise, start at PCA, or at the (n, d) positions `init_pos`, whose unit and pose
    do not matter, train, evaluate all cells, and lay latent space into its frame. A twentieth of the
    cells, at most 1,000, is held out of the gradients and chooses the state that is kept; below 20
    cells none is. The neighbour term pulls each cell to those in its row of the (n, k) row numbers
    `neighbors`, −1 for none, by default to the ten nearest.

    Raises
    ------
    ValueError
        If there are more components than features, or fewer cells than components + 2, or if `init_pos`
        is not (n, d) finite numbers.
    RuntimeError
        If training diverges.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.training import Settings, fit
    >>> raw = np.random.default_rng(0).normal(size=(100, 5))
    >>> fit(raw, Settings(n_steps=10)).embedding.shape
    (100, 2)
    """
    prepared = prepare(raw, settings, device)
    model, x, scale, principal, train, held_out, generator = prepared
    if init_pos is not None:
        init_pos = check_init(init_pos, len(raw), settings.n_components)
    if ambient is not None:
        # some regularisers depend on the unit of H, and the networks start at a unit of about 1
        model.ambient = ambient.divided_by(ambient.mean(model.restore(x[:1000])))
    around = partners = None
    if any(term.regularizer.of == "neighbors" for term in settings.terms):
        around = find_neighbors(x, train, settings.n_neighbors)
    if settings.contrast is not None:
        if neighbors is None:
            partners = find_neighbors(x, train[:MAX_SEARCHED], N_PARTNERS)
        else:
            partners = within(neighbors, train).to(x.device)
    cells = Cells(x, neighbors=around, partners=partners)
    noise = suitable_noise(x, partners) if settings.noise is None else settings.noise
    objective = {"terms": settings.terms, "contrast": settings.contrast, "noise": noise}
    with threads_for(settings.batch_size, x.device):
        if init_pos is not None:
            start_from(
                model,
                cells,
                place(init_pos, x, principal),
                train=train,
                batch_size=settings.batch_size,
                seed=settings.seed,
                **objective,
            )
        history, step, factor = optimize(
            model,
            cells,
            train=train,
            held_out=held_out,
            tolerance=settings.tolerance if settings.is_auto else None,
            sampling=settings.sampling,
            n_steps=settings.n_steps or default_steps(len(x), settings.batch_size),
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            generator=generator,
            progress_bar=progress_bar,
            **objective,
        )

    model.ambient = ambient
    evaluation = evaluate(model, x)
    frame = fit_frame(evaluation.latent.cpu(), evaluation.metric.cpu(), principal.cpu())
    # the metric measures standardised units, of which one is `scale` units of the representation
    frame = frame._replace(unit=frame.unit * scale)
    return conclude(prepared, evaluation, frame, history=history, step=step, factor=factor, noise=noise)
