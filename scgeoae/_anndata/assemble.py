"""Bring what a fit or an estimate found into the form in which it is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..geometry import anisotropy, chord_ratio, distortion, relative_log_area
from ..graphs import metric_graph, nearest_others
from ..nn.arrays import to_arrays
from .finite import check_finite
from .results import Results, Tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..nn import Autoencoder, CountDecoder
    from ..training import Fit
    from .representation import Representation


def assemble(
    fitted: Fit, *, representation: Representation, params: dict[str, Any], n_neighbors: int, ours: bool
) -> Results:
    """Return the results of a fit; the embedding is written only if it is `ours`."""
    unit_of_error = representation.matrix.shape[1] * float(fitted.model.scale) ** 2
    scores = _distortion(fitted.metric) | _distortion(fitted.encoder_metric, "_encoder")
    scores |= _errors(fitted.error, fitted)
    if fitted.displacement is not None:
        scores |= _errors(fitted.displacement, fitted, "_encoder")
    if fitted.model.ambient is None:
        scores |= _chords(fitted.embedding, fitted.model)
    return Results(
        tensors={"decoder": _tensors(fitted.metric), "encoder": _tensors(fitted.encoder_metric)},
        graph=_graph(fitted.embedding, fitted.metric, n_neighbors),
        params=params,
        scores=scores,
        embedding=fitted.embedding if ours else None,
        ours=ours,
        reconstruction_error=fitted.error * np.float32(unit_of_error),
        history=fitted.history,
        model=to_arrays(fitted.model),
        computed=representation.computed,
    )


def assemble_estimate(
    positions: NDArray, metric: NDArray, *, representation: Representation, params: dict[str, Any], n_neighbors: int
) -> Results:
    """Return the results of an estimate of metric tensors that has no model."""
    metric = metric.astype(np.float32)
    return Results(
        tensors={"decoder": _tensors(metric)},
        graph=_graph(positions, metric, n_neighbors),
        params=params,
        scores=_distortion(metric),
        ours=False,
        computed=representation.computed,
    )


def assemble_counts(
    positions: NDArray[np.float32],
    metric: NDArray[np.float32],
    *,
    model: CountDecoder,
    error: NDArray[np.float32] | None,
    scores: dict[str, float],
    history: dict[str, NDArray] | None,
    params: dict[str, Any],
    n_neighbors: int,
) -> Results:
    """Return what a model of counts says of its cells."""
    return Results(
        tensors={"decoder": _tensors(metric)},
        graph=_graph(positions, metric, n_neighbors),
        params=params,
        scores=_distortion(metric) | scores,
        embedding=positions,
        reconstruction_error=error,
        history=history,
        model=to_arrays(model),
    )


def _tensors(metric: NDArray[np.float32]) -> Tensors:
    tensors = torch.from_numpy(metric)
    return Tensors(metric, relative_log_area(tensors).numpy(), anisotropy(tensors).numpy())


def _graph(embedding: NDArray, metric: NDArray, k: int) -> Any:
    check_finite({"the map": embedding, "the metric tensors": metric})
    return metric_graph(embedding, metric, nearest_others(embedding, k))


def _distortion(metric: NDArray, suffix: str = "") -> dict[str, float]:
    measures = distortion(torch.from_numpy(metric))
    return {f"CN{suffix}": measures.cn, f"VPres{suffix}": measures.vpres, f"ISO{suffix}": measures.iso}


def _chords(embedding: NDArray, model: Autoencoder) -> dict[str, float]:
    found = chord_ratio(torch.from_numpy(np.asarray(embedding, dtype=np.float32)), model.decode)
    return {"chord": float(found.median), "chord_spread": float(found.spread)}


def _errors(error: NDArray, fitted: Fit, suffix: str = "") -> dict[str, float]:
    errors = {f"MSE{suffix}": float(error.mean())}
    if len(fitted.held_out):
        errors[f"MSE{suffix}_train"] = float(error[fitted.trained].mean())
        errors[f"MSE{suffix}_held_out"] = float(error[fitted.held_out].mean())
    return errors
