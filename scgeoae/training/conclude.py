"""What comes after training: evaluate all cells and lay latent space into its frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .environment import environment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..geometry.chart import Chart
    from ..nn import Autoencoder
    from .evaluate import Evaluation
    from .prepare import Prepared


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
    trained: NDArray[np.integer]
    """Row numbers of the cells that batches were drawn from."""
    held_out: NDArray[np.integer]
    """Row numbers of the cells that chose when to stop and that no gradient has seen."""
    history: dict[str, NDArray]
    """Step and losses of every evaluation."""
    step: int
    """The step whose state was kept."""
    factor: float
    """What the weights of the regularisers were multiplied by: found for strength="auto", else 1."""
    digest: str
    """By which the rows that were trained on and held out, as float32, are told from others."""
    environment: dict[str, Any]
    """See `scgeoae.training.environment`."""
    noise: float = 0.0
    """Standard deviation of the noise on the cells that were encoded."""
    displacement: NDArray[np.float32] | None = None
    """(n,) squared distance between the given position and that of the encoder, in units of the variance of the
    embedding; None where no positions were given."""
    interrupted_at: str | None = None
    """The step at which an interrupt ended training, in words, where what was reached is kept."""


def conclude(
    prepared: Prepared,
    evaluation: Evaluation,
    frame: Chart,
    *,
    history: dict[str, list[float]],
    step: int,
    factor: float = 1.0,
    noise: float = 0.0,
) -> Fit:
    """Return the result of training, with the codes of the `evaluation` as embedding, laid into `frame`."""
    latent, metric, encoder_metric, error, _ = evaluation
    model = prepared.model.cpu().eval().requires_grad_(requires_grad=False)
    model.set_chart(frame)
    # how latent space changes along the map, in units of the representation
    jacobian = model.rotation * (model.scale / model.unit)
    return Fit(
        model=model,
        embedding=model.to_map(latent).numpy(),
        metric=(jacobian.T @ metric @ jacobian).numpy(),
        encoder_metric=(jacobian.T @ encoder_metric @ jacobian).numpy(),
        error=error.numpy(),
        trained=prepared.rows[prepared.train.cpu().numpy()],
        held_out=prepared.rows[prepared.held_out.cpu().numpy()],
        history={name: np.array(values) for name, values in history.items()},
        step=step,
        factor=factor,
        noise=noise,
        digest=prepared.standardization.digest,
        environment=environment(prepared.x.device),
    )
