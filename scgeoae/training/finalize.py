"""Finish a run of training: evaluate all cells, and lay latent space onto the map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from .._matrix import blocks
from ..geometry.metric import cometric, inverse
from .device import environment

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ..geometry.chart import Chart
    from ..nn import Autoencoder
    from .setup import Setup
    from .train import Run

# Cells at a time, whose layers then fit into the cache.
BATCH_SIZE = 1024


class Fit(NamedTuple):
    """A model, and what it says about the cells it was fitted to."""

    model: Autoencoder
    """On the CPU, in the units of the representation and of the map."""
    embedding: NDArray[np.float32]
    """(n, d) positions, in units of the map."""
    metric: NDArray[np.float32]
    """(n, d, d) metric tensors of the decoder at the embedding."""
    encoder_metric: NDArray[np.float32]
    """(n, d, d) metric tensors that the encoder pushes forward from the cells."""
    error: NDArray[np.float32]
    """(n,) mean squared error of the standardized representation."""
    trained: NDArray[np.integer]
    """Row numbers of the cells that batches were drawn from."""
    held_out: NDArray[np.integer]
    """Row numbers of the validation cells, which chose when to stop and which no gradient has seen."""
    history: dict[str, NDArray[Any]]
    """Step and losses of every evaluation."""
    step: int
    """Step whose state was kept."""
    factor: float
    """What the weights of the regularizers were multiplied by: found for ``strength="auto"``, else 1."""
    digest: str
    """Digest of the rows that were trained on and held out, as float32, which tells them from others."""
    environment: dict[str, Any]
    """Versions, number of threads, device and kind of processor."""
    noise: float = 0.0
    """Standard deviation of the noise on the cells that were encoded."""
    displacement: NDArray[np.float32] | None = None
    """(n,) squared distance between the given position and the encoder's, in units of the variance of the embedding;
    None where no positions were given."""
    interrupted_at: str | None = None
    """The step at which an interrupt ended training, in words, if it did."""


class Evaluation(NamedTuple):
    """What a model says about n cells, in latent space and standardized units, on the CPU."""

    latent: Tensor
    """(n, d) codes of the encoder."""
    metric: Tensor
    """(n, d, d) metric tensors of the decoder at the codes, or at the given ones."""
    encoder_metric: Tensor
    """(n, d, d) metric tensors that the encoder pushes forward."""
    error: Tensor
    """(n,) mean squared error over the features."""
    principal: Tensor
    """(n, d) first principal components."""


@torch.no_grad()
def evaluate(setup: Setup, raw: Any, *, codes: Tensor | None = None) -> Evaluation:
    """Encode all cells of the (n, D) matrix `raw`, block by block, and evaluate both networks there.

    The decoder starts at the (n, d) `codes` if they are given, else at the codes of the encoder.
    """
    model, device = setup.model, setup.x.device
    n, d = raw.shape[0], model.n_components
    shapes = {"latent": (n, d), "metric": (n, d, d), "encoder_metric": (n, d, d), "error": (n,), "principal": (n, d)}
    found = Evaluation(**{name: torch.empty(shape, dtype=torch.float32) for name, shape in shapes.items()})
    for start, block in blocks(raw):
        cells = torch.from_numpy(setup.standardization.standardize(block))
        if device.type == "cuda":
            cells = cells.pin_memory()
        cells = cells.to(device, non_blocking=True)
        parts = []
        for first in range(0, len(cells), BATCH_SIZE):
            x = cells[first : first + BATCH_SIZE]
            rows = model.encoder.rows(x)
            at = start + first
            jet = model.decoder.jet(rows.values if codes is None else codes[at : at + len(x)].to(device))
            pushed = inverse(cometric(rows.first, model.ambient, model.restore(x)))
            error = (jet.values - x).square().mean(1)
            parts.append((rows.values, model.pullback(jet), pushed, error, x @ setup.axes.T))
        for whole, part in zip(found, zip(*parts, strict=True), strict=True):
            whole[start : start + len(cells)] = torch.cat(part).cpu()
    return found


def finalize(
    setup: Setup,
    evaluation: Evaluation,
    chart: Chart,
    run: Run,
    *,
    codes: Tensor | None = None,
    noise: float = 0.0,
    interrupted_at: str | None = None,
) -> Fit:
    """Return the result of training, laid out by `chart`. The embedding is the (n, d) `codes`, or the encoder's."""
    latent = evaluation.latent if codes is None else codes
    displacement = None
    if codes is not None:
        displacement = (evaluation.latent - codes).square().mean(1) / codes.var(0, correction=0).mean()
    model = setup.model.cpu().eval().requires_grad_(requires_grad=False)
    model.set_chart(chart)
    # how latent space changes along the map, in units of the representation
    jacobian = model.rotation * (model.scale / model.unit)
    return Fit(
        model=model,
        embedding=model.to_map(latent).numpy(),
        metric=(jacobian.T @ evaluation.metric @ jacobian).numpy(),
        encoder_metric=(jacobian.T @ evaluation.encoder_metric @ jacobian).numpy(),
        error=evaluation.error.numpy(),
        trained=setup.rows[setup.train.cpu().numpy()],
        held_out=setup.rows[setup.validation.cpu().numpy()],
        history={name: np.array(values) for name, values in run.history.items()},
        step=run.step,
        factor=run.factor,
        digest=setup.standardization.digest,
        environment=environment(setup.x.device),
        noise=noise,
        displacement=None if displacement is None else displacement.numpy(),
        interrupted_at=interrupted_at or run.interrupted_at,
    )
