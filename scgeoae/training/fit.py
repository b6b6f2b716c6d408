"""Fit a geometric autoencoder to a matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..geometry.frame import fit_frame
from .conclude import conclude
from .evaluate import evaluate
from .initialize import check_init, place, start_from
from .neighbors import find_neighbors
from .optimize import optimize
from .prepare import prepare
from .threads import threads_for

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from ..geometry import Ambient
    from .conclude import Fit
    from .settings import Settings


def default_steps(n_cells: int, batch_size: int) -> int:
    """Return the step budget: 50 epochs, but at least 200 and at most 700 steps.

    Beyond some 1,800 cells (at 128 a batch) it no longer grows.
    """
    return min(max(50 * n_cells // batch_size, 200), 700)


def fit(
    raw: NDArray,
    settings: Settings,
    *,
    init_pos: NDArray | None = None,
    ambient: Ambient | None = None,
    device: str | torch.device = "auto",
    progress_bar: bool = False,
) -> Fit:
    """Fit a geometric autoencoder to an (n, D) matrix of finite numbers.

    The stages are: standardise, start at PCA, or at the (n, d) positions `init_pos`, whose unit and pose
    do not matter, train, evaluate all cells, and lay latent space into its frame. A twentieth of the
    cells, at most 1,000, is held out of the gradients and chooses the state that is kept; below 20
    cells none is.

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
    neighbors = None
    if any(term.regularizer.of == "neighbors" for term in settings.terms):
        neighbors = find_neighbors(x, train, settings.n_neighbors)
    with threads_for(settings.batch_size, x.device):
        if init_pos is not None:
            start_from(
                model,
                x,
                place(init_pos, x, principal),
                train=train,
                terms=settings.terms,
                neighbors=neighbors,
                batch_size=settings.batch_size,
                seed=settings.seed,
            )
        history, step, factor = optimize(
            model,
            x,
            train=train,
            held_out=held_out,
            terms=settings.terms,
            tolerance=settings.tolerance if settings.is_auto else None,
            sampling=settings.sampling,
            neighbors=neighbors,
            n_steps=settings.n_steps or default_steps(len(x), settings.batch_size),
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            generator=generator,
            progress_bar=progress_bar,
        )

    model.ambient = ambient
    evaluation = evaluate(model, x)
    frame = fit_frame(evaluation.latent.cpu(), evaluation.metric.cpu(), principal.cpu())
    # the metric measures standardised units, of which one is `scale` units of the representation
    frame = frame._replace(unit=frame.unit * scale)
    return conclude(prepared, evaluation, frame, history=history, step=step, factor=factor)
