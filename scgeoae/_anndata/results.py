"""The results of a run, in the form in which they are stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scanpy import logging as logg

from ..geometry import anisotropy, chord_ratio, distortion, relative_log_area
from ..graphs import metric_graph, nearest_others
from ..quality import MEASURES
from .evaluation import read_evaluations
from .representation import recorded_params
from .slots import SIDES, Slots, VectorSlots
from .write import Changes

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

    from ..geometry.distortion_measures import Distortion
    from ..graphs.metric import MetricGraph
    from ..graphs.torn_edges import Tears
    from ..nn import Autoencoder, CountDecoder
    from ..training import Fit
    from .params import Params
    from .representation import Representation
    from .slots import Side


class Tensors(NamedTuple):
    """The metric of one network at the cells, and the distortion there."""

    metric: NDArray[np.float32]
    """(n, d, d)"""
    log_area: NDArray[np.float32]
    """(n,)"""
    anisotropy: NDArray[np.float32]
    """(n,)"""


@dataclass(frozen=True)
class Results:
    """Everything that a run writes. Leftovers of an earlier run under the same name are removed."""

    tensors: dict[Side, Tensors]
    params: Params
    scores: dict[str, float]
    is_own: bool
    """Whether scgeoae computed the embedding. Otherwise, ``uns[key]`` belongs to the package that did."""
    embedding: NDArray[np.float32] | None = None
    """(n, d), None if the embedding stays as it is."""
    graph: MetricGraph | None = None
    reconstruction_error: NDArray[np.float32] | None = None
    history: dict[str, NDArray[Any]] | None = None
    model: Mapping[str, Any] | None = None
    outlier_score: NDArray[np.float32] | None = None
    outlier: NDArray[np.bool_] | None = None
    computed: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Other slots, by attribute of the AnnData and key, such as a PCA that had to be computed."""


def tensors_of(metric: NDArray[np.float32]) -> Tensors:
    """Return (n, d, d) metric tensors with the distortion of each cell."""
    tensors = torch.from_numpy(metric)
    return Tensors(metric, relative_log_area(tensors).numpy(), anisotropy(tensors).numpy())


def distortion_scores(metric: NDArray[np.float32], side: Side = "decoder") -> dict[str, float]:
    """Return ``CN``, ``VPres`` and ``ISO`` of (n, d, d) tensors, named as in `uns`."""
    return named_scores(distortion(torch.from_numpy(metric)), "_encoder" if side == "encoder" else "")


def named_scores(measures: Distortion, suffix: str = "") -> dict[str, float]:
    """Return the measures of distortion under their names in `uns`."""
    return {f"CN{suffix}": measures.cn, f"VPres{suffix}": measures.vpres, f"ISO{suffix}": measures.iso}


def results_of_fit(
    fitted: Fit, representation: Representation, params: Params, *, n_neighbors: int, is_own: bool
) -> Results:
    """Return the results of a trained autoencoder. The embedding is included only if it is the model's own."""
    unit_of_error = representation.matrix.shape[1] * float(fitted.model.scale) ** 2
    scores = distortion_scores(fitted.metric) | distortion_scores(fitted.encoder_metric, "encoder")
    scores |= _errors(fitted.error, fitted)
    if fitted.displacement is not None:
        scores |= _errors(fitted.displacement, fitted, "_encoder")
    if fitted.model.ambient is None:
        scores |= _chords(fitted.embedding, fitted.model)
    return Results(
        tensors={"decoder": tensors_of(fitted.metric), "encoder": tensors_of(fitted.encoder_metric)},
        graph=_graph(fitted.embedding, fitted.metric, n_neighbors),
        params=params,
        scores=scores,
        embedding=fitted.embedding if is_own else None,
        is_own=is_own,
        reconstruction_error=fitted.error * np.float32(unit_of_error),
        history=fitted.history,
        model=fitted.model.to_arrays(),
        computed=representation.computed,
    )


def results_of_estimate(
    positions: NDArray[Any], metric: NDArray[Any], representation: Representation, params: Params, *, n_neighbors: int
) -> Results:
    """Return the results of a metric that was estimated without a model."""
    metric = metric.astype(np.float32)
    return Results(
        tensors={"decoder": tensors_of(metric)},
        graph=_graph(positions, metric, n_neighbors),
        params=params,
        scores=distortion_scores(metric),
        is_own=False,
        computed=representation.computed,
    )


def results_of_counts(
    positions: NDArray[np.float32],
    metric: NDArray[np.float32],
    *,
    model: CountDecoder,
    error: NDArray[np.float32] | None,
    scores: dict[str, float],
    history: dict[str, NDArray[Any]] | None,
    params: Params,
    n_neighbors: int,
) -> Results:
    """Return the results of a model of counts."""
    return Results(
        tensors={"decoder": tensors_of(metric)},
        graph=_graph(positions, metric, n_neighbors),
        params=params,
        scores=distortion_scores(metric) | scores,
        embedding=positions,
        is_own=True,
        reconstruction_error=error,
        history=history,
        model=model.to_arrays(),
    )


def _graph(embedding: NDArray[Any], metric: NDArray[Any], k: int) -> MetricGraph | None:
    # there is no graph of values that are not finite, which are refused when writing
    if not (np.isfinite(embedding).all() and np.isfinite(metric).all()):
        return None
    return metric_graph(embedding, metric, nearest_others(embedding, k))


def _chords(embedding: NDArray[Any], model: Autoencoder) -> dict[str, float]:
    found = chord_ratio(torch.from_numpy(np.asarray(embedding, dtype=np.float32)), model.decode)
    return {"chord": float(found.median), "chord_spread": float(found.spread)}


def _errors(error: NDArray[Any], fitted: Fit, suffix: str = "") -> dict[str, float]:
    errors = {f"MSE{suffix}": float(error.mean())}
    if len(fitted.held_out):
        errors[f"MSE{suffix}_train"] = float(error[fitted.trained].mean())
        errors[f"MSE{suffix}_held_out"] = float(error[fitted.held_out].mean())
    return errors


def changes_of_map(adata: AnnData, key: str, results: Results) -> Changes:
    """Return all slots of a map, including the removal of what was derived from an earlier map of this name."""
    slots = Slots(key)
    for side, written in results.tensors.items():
        _check_positive(Slots(key, side).metric, written.metric)
    rows, columns = np.triu_indices(results.tensors["decoder"].metric.shape[-1])
    changes = Changes()
    for attribute, entries in results.computed.items():
        for name, value in entries.items():
            changes.slots[attribute, name] = value
            changes.lines.append(f"{attribute}[{name!r}], computed for it")
    if results.embedding is not None:
        old = adata.obsm.get(slots.embedding)
        if old is not None and old.shape != results.embedding.shape:
            shapes = f"of shape {old.shape} by one of shape {results.embedding.shape}"
            logg.info(f"    replacing adata.obsm[{slots.embedding!r}] {shapes}")
        changes.slots["obsm", slots.embedding] = results.embedding
        changes.lines.append(f"obsm[{slots.embedding!r}], the map, in units of the representation")
    for side in SIDES:
        names, tensors = Slots(key, side), results.tensors.get(side)
        changes.slots |= {
            ("obsm", names.metric): None if tensors is None else tensors.metric[:, rows, columns],
            ("obs", names.log_area): None if tensors is None else tensors.log_area,
            ("obs", names.anisotropy): None if tensors is None else tensors.anisotropy,
        }
    changes.lines += [
        f"obsm[{slots.metric!r}], metric tensors (upper triangles)",
        f"obs[{slots.log_area!r}], obs[{slots.anisotropy!r}], distortion of each cell",
    ]
    changes.slots |= {
        ("obs", slots.reconstruction_error): results.reconstruction_error,
        ("obs", slots.outlier_score): results.outlier_score,
        ("obs", slots.outlier): results.outlier,
    }
    if results.reconstruction_error is not None:
        changes.lines.append(f"obs[{slots.reconstruction_error!r}], the error of its reconstruction")
    if results.outlier is not None:
        changes.lines.append(
            f"obs[{slots.outlier_score!r}], obs[{slots.outlier!r}], whether a cell belongs on this map"
        )
    matrices = {slots.metric: "metric", slots.distances: "distances", slots.connectivities: "connectivities"}
    for name, which in matrices.items():
        changes.slots["obsp", name] = None if results.graph is None else getattr(results.graph, which)
    if results.graph is not None:
        changes.lines.append(f"{', '.join(f'obsp[{name!r}]' for name in matrices)}, metric graph")
    if "encoder" in results.tensors:
        changes.lines.append(f"obsm[{Slots(key, 'encoder').metric!r}] and obs, the same of the encoder")
    changes.slots |= removals(adata, slots, embedding=results.embedding is not None)
    entry = key if results.is_own else slots.distortion
    stored: dict[str, Any] = {name: getattr(results, name) for name in ("params", "scores", "history", "model")}
    if results.graph is not None:
        stored |= {"connectivities_key": slots.connectivities, "distances_key": slots.distances}
    changes.slots["uns", entry] = {name: value for name, value in stored.items() if value is not None}
    shown = ", ".join(name for name in changes.slots["uns", entry] if not name.endswith("_key"))
    changes.lines.append(f"uns[{entry!r}], {shown}")
    return changes


def changes_of_tears(
    key: str, found: Tears, params: Mapping[str, Any], entry: str, stored: Mapping[str, Any]
) -> Changes:
    """Return the slots that describe where an embedding tears, with parameters added to what is `stored` in ``uns``."""
    slots = Slots(key)
    edges = f"{found.stretch.nnz // 2} of the neighbor graph of the representation"
    return Changes(
        {
            ("obs", slots.torn): found.share,
            ("obs", slots.broken): found.broken,
            ("obsp", slots.torn): found.stretch,
            ("uns", entry): {**stored, "torn": {**params, "fence": found.fence}},
        },
        [
            f"obsp[{slots.torn!r}], torn edges, {edges}",
            f"obs[{slots.torn!r}], obs[{slots.broken!r}], their share; {int(found.broken.sum())} cells are broken",
        ],
    )


def removals_of_density(adata: AnnData, slots: Slots) -> dict[tuple[str, str], Any]:
    """Return the removal of everything that an earlier `scgeoae.tl.density` of this map wrote."""
    stored = adata.uns.get(slots.density)
    conditions = stored.get("conditions", ()) if isinstance(stored, Mapping) else ()
    names = [slots.density]
    names += [f"{each}_{name}" for name in conditions for each in (slots.density, slots.log_ratio, slots.fdr)]
    return {("uns", slots.density): None} | {("obs", name): None for name in names}


def _check_positive(slot: str, metric: NDArray[Any]) -> None:
    zero = np.trace(metric, axis1=1, axis2=2) < np.finfo(np.float32).tiny
    if zero.any():
        msg = (
            f"{zero.sum()} of {len(zero)} cells, the first of them in row {zero.argmax()}, would have tensors in "
            f"{slot} that are zero in float32, and nothing was written: the data do not vary there, or less than "
            "1e-19 times as much as the map. Divide the larger of the two by a number."
        )
        raise RuntimeError(msg)


def removals(adata: AnnData, slots: Slots, *, embedding: bool) -> dict[tuple[str, str], Any]:
    """Return the slots to remove: those derived from an earlier map of this name or, if new, from its embedding."""
    derived = [slots.torn, slots.broken, slots.pseudotime, slots.region, slots.residual]
    derived += [slots.uncertainty, slots.stable_neighbors]
    derived += [slots.gaussian_curvature, slots.mean_curvature, slots.extrinsic_curvature]
    for each in (slots, Slots(slots.embedding)) if embedding else ():
        derived += [each.neighborhood_preservation, each.trust]
    gone: dict[tuple[str, str], Any] = {("obs", name): None for name in derived}
    gone |= removals_of_density(adata, slots)
    gone |= {("obsp", slots.torn): None, ("uns", slots.rank_genes): None, ("uns", slots.distortion): None}
    gone |= {("uns", slots.residual): None, ("uns", slots.residual_params): None}
    gone |= {(attribute, slots.stability): None for attribute in ("obsm", "obsp", "uns")}
    for name, table in read_evaluations(adata):
        if (left := _without(table, slots, embedding=embedding)) is not table:
            gone["uns", name] = left
    for name in adata.uns:
        params = recorded_params(adata, name)
        if str(params.get("key")) != slots.key:
            continue
        if str(params.get("method")) in ("jacobian", "projection"):
            gone["uns", name] = None
        if str(params.get("method")) == "projection":
            vectors = VectorSlots(name.removesuffix(f"_{slots.key}"), slots.key)
            gone |= {("obsm", vectors.vectors): None, ("obs", vectors.length): None, ("obs", vectors.off_surface): None}
    return gone


def _without(table: pd.DataFrame, slots: Slots, *, embedding: bool) -> pd.DataFrame | None:
    """Return a table of `scgeoae.tl.evaluate` without the rows of this map, or without those of its decoder only."""
    # the table has the full key if another embedding has the short name
    name = slots.embedding if (table["basis"] == slots.embedding).any() else slots.key
    stale = table["basis"] == name
    if not embedding:
        stale &= table["measure"].isin([which for which, measure in MEASURES.items() if measure.about == "decoder"])
    if not stale.any():
        return table
    return None if stale.all() else table[~stale].reset_index(drop=True)
