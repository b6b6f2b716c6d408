"""Fit a geometric autoencoder to a matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from sklearn.decomposition import PCA

from ..geometry.frame import fit_frame
from ..nn import Autoencoder
from .device import choose_device
from .evaluate import evaluate
from .initialize import check_init, place, start_from
from .neighbors import MAX_SEARCHED, N_PARTNERS, find_neighbors, within
from .optimize import optimize
from .standardize import standardize
from .threads import threads_for

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..geometry import Ambient
    from .settings import Settings


class Fit(NamedTuple):
    """A model and what it says of the cells it was fitted to."""

    model: Autoencoder
    """On the CPU, in the units of the representation and of the map."""
    embedding: NDArray[np.float32]
    """(n, d), in units of the map."""
    metric: NDArray[np.float32]
    """(n, d, d) metric tensors of the decoder at the embedding."""
    encoder_metric: NDArray[np.float32]
    """(n, d, d) metric tensors that the encoder pushes forward from the cells."""
    error: NDArray[np.float32]
    """(n,) mean squared error of the standardised representation."""
    held_out: NDArray[np.bool_]
    """(n,) the cells that chose when to stop and that no gradient has seen."""
    history: dict[str, NDArray]
    """Step and losses of every evaluation."""
    step: int
    """The step whose state was kept."""
    factor: float
    """What the weights of the regularisers were multiplied by: found for strength="auto", else 1."""


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
    d = settings.n_components
    n, n_features = raw.shape
    if d > n_features:
        msg = f"Expected `n_components` to be at most {n_features}, the number of features, found {d}."
        raise ValueError(msg)
    if n < d + 2:
        msg = f"A map of {d} dimensions needs at least {d + 2} cells, found {n}."
        raise ValueError(msg)
    if init_pos is not None:
        init_pos = check_init(init_pos, n, d)
    generator = torch.Generator().manual_seed(settings.seed)
    device = choose_device(device)
    x, center, scale = standardize(raw)
    # sklearn fixes the signs of the axes; its own seed is fixed, so that every seed of ours
    # starts at the same map
    axes = PCA(d, random_state=0).fit(x).components_
    model = Autoencoder(n_features, d, hidden=settings.hidden, activation=settings.activation, generator=generator)
    model.start_at(center=torch.as_tensor(center), scale=torch.as_tensor(scale), axes=torch.as_tensor(axes))

    order = torch.randperm(n, generator=generator)
    n_held_out = min(n // 20, 1000)
    held_out, train = order[:n_held_out], order[n_held_out:]
    x = torch.from_numpy(x)
    if device.type == "cuda":
        x = x.pin_memory()
    x = x.to(device, non_blocking=True)
    model.to(device)
    principal = x @ model.encoder.linear.detach().T
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
            partners = within(neighbors, train).to(device)
    objective = {
        "terms": settings.terms,
        "neighbors": around,
        "contrast": settings.contrast,
        "partners": partners,
        "noise": settings.noise,
    }
    with threads_for(settings.batch_size, device):
        if init_pos is not None:
            start_from(
                model,
                x,
                place(init_pos, x, principal),
                train=train.to(device),
                batch_size=settings.batch_size,
                seed=settings.seed,
                **objective,
            )
        history, step, factor = optimize(
            model,
            x,
            train=train.to(device),
            held_out=held_out.to(device),
            tolerance=settings.tolerance if settings.is_auto else None,
            sampling=settings.sampling,
            n_steps=settings.n_steps or default_steps(n, settings.batch_size),
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            generator=generator,
            progress_bar=progress_bar,
            **objective,
        )

    model.ambient = ambient
    latent, metric, encoder_metric, error = (part.cpu() for part in evaluate(model, x))
    model = model.cpu().eval().requires_grad_(requires_grad=False)
    frame = fit_frame(latent, metric, principal.cpu())
    # `metric` measures standardised units, of which one is `scale` units of the representation
    model.set_frame(frame._replace(unit=frame.unit * scale))
    # how latent space changes along the map, in units of the representation
    jacobian = model.rotation * (model.scale / model.unit)
    is_held_out = np.zeros(n, dtype=bool)
    is_held_out[held_out.numpy()] = True
    return Fit(
        model=model,
        embedding=model.to_map(latent).numpy(),
        metric=(jacobian.T @ metric @ jacobian).numpy(),
        encoder_metric=(jacobian.T @ encoder_metric @ jacobian).numpy(),
        error=error.numpy(),
        held_out=is_held_out,
        history={name: np.array(values) for name, values in history.items()},
        step=step,
        factor=factor,
    )
