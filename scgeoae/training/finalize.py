"""Finish a run of training: evaluate all cells, and lay latent space onto the map."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from .._matrix import blocks
from .._runtime import one_torch_thread, parallel_blocks
from ..geometry.metric import cometric, inverse
from .device import environment

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from ..geometry.chart import Chart
    from ..nn import Autoencoder
    from .setup import Setup
    from .train import Run

# Cells at a time, whose layers then fit into the cache; on a device, starting an operation takes longer than computing
# so few.
BATCH_SIZE, BATCH_SIZE_ON_DEVICE = 1024, 65536


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
    """(n, d) first principal components, if these were asked for."""


def evaluate(setup: Setup, raw: Any, *, codes: Tensor | None = None) -> Evaluation:
    """Evaluate a trained model at all cells of the (n, D) matrix `raw`; see `evaluate_model`."""
    return evaluate_model(setup.model, raw, setup.standardization.standardize, codes=codes, axes=setup.axes)


def evaluate_model(
    model: Autoencoder,
    raw: Any,
    standardize: Callable[[NDArray[Any]], NDArray[np.float32]],
    *,
    codes: Tensor | None = None,
    axes: Tensor | None = None,
) -> Evaluation:
    """Encode all cells of the (n, D) matrix `raw`, block by block, and evaluate both networks there.

    On the CPU, each thread takes one batch of fixed size after the other: what is found for a cell does not depend on
    the number of threads, nor on the cells around it.

    Parameters
    ----------
    model
        On any device.
    raw
        Any matrix that can be read in `blocks`.
    standardize
        Brings rows of it to the units of the networks.
    codes
        (n, d) where the decoder starts, by default at the codes of the encoder.
    axes
        (d, D) first principal axes. Without them there are no principal components.
    """
    device = model.center.device
    n, d = raw.shape[0], model.n_components
    shapes = {"latent": (n, d), "metric": (n, d, d), "encoder_metric": (n, d, d), "error": (n,)}
    shapes["principal"] = (0 if axes is None else n, d)
    found = Evaluation(**{name: torch.empty(shape, dtype=torch.float32) for name, shape in shapes.items()})
    on_cpu = device.type == "cpu"
    batch_size = BATCH_SIZE if on_cpu else BATCH_SIZE_ON_DEVICE
    for at, block in blocks(raw):

        def work(start: int, stop: int, at: int = at, block: NDArray[Any] = block) -> None:
            cells = torch.from_numpy(standardize(block[start:stop]))
            rows = slice(at + start, at + stop)
            given = None if codes is None else codes[rows]
            if on_cpu:
                # a matrix product of another size may round differently
                filled = torch.arange(batch_size).clamp(max=stop - start - 1)
                cells, given = cells[filled], None if given is None else given[filled]
            elif device.type == "cuda":
                cells = cells.pin_memory()
            # both modes belong to the thread
            with torch.no_grad(), one_torch_thread() if on_cpu else nullcontext():
                x = cells.to(device, non_blocking=True)
                encoded = model.encoder.rows(x)
                jet = model.decoder.jet(encoded.values if given is None else given.to(device))
                found.latent[rows] = encoded.values[: stop - start].cpu()
                found.metric[rows] = model.pullback(jet)[: stop - start].cpu()
                pushed = inverse(cometric(encoded.first, model.ambient, model.restore(x)))
                found.encoder_metric[rows] = pushed[: stop - start].cpu()
                found.error[rows] = (jet.values - x).square().mean(1)[: stop - start].cpu()
                if axes is not None:
                    found.principal[rows] = (x @ axes.T)[: stop - start].cpu()

        parallel_blocks(work, len(block), block=batch_size, n_threads=None if on_cpu else 1)
    return found


def on_map(model: Autoencoder, latent: Tensor, *metrics: Tensor) -> tuple[NDArray[np.float32], ...]:
    """Return (n, d) codes and (n, d, d) metric tensors in units of the map."""
    # how latent space changes along the map, in units of the representation
    jacobian = model.rotation * (model.scale / model.unit)
    return model.to_map(latent).numpy(), *((jacobian.T @ metric @ jacobian).numpy() for metric in metrics)


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
    embedding, metric, encoder_metric = on_map(model, latent, evaluation.metric, evaluation.encoder_metric)
    return Fit(
        model=model,
        embedding=embedding,
        metric=metric,
        encoder_metric=encoder_metric,
        error=evaluation.error.numpy(),
        trained=setup.rows[setup.train.cpu().numpy()],
        held_out=setup.rows[setup.validation.cpu().numpy()],
        history={name: np.array(values) for name, values in run.history.items()},
        step=run.step,
        factor=run.factor,
        digest=setup.standardization.digest,
        environment=environment(setup.on_device.device),
        noise=noise,
        displacement=None if displacement is None else displacement.numpy(),
        interrupted_at=interrupted_at or run.interrupted_at,
    )
