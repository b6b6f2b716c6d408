"""Write the results of a run into an AnnData, and read them back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scanpy import logging as logg

from .model_arrays import ModelArrays, from_arrays
from .slots import SIDES, Slots

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from ..geometry.graph import MetricGraph
    from ..nn import Autoencoder
    from .slots import Side


class Tensors(NamedTuple):
    """The metric of one network at the cells, and what it says of each."""

    metric: NDArray[np.float32]
    """(n, d, d)"""
    log_area: NDArray[np.float32]
    anisotropy: NDArray[np.float32]


@dataclass(frozen=True)
class Results:
    """Everything that one run writes."""

    embedding: NDArray[np.float32]
    decoder: Tensors
    encoder: Tensors
    reconstruction_error: NDArray[np.float32]
    graph: MetricGraph
    params: dict[str, Any]
    history: dict[str, NDArray]
    scores: dict[str, float]
    model: ModelArrays
    computed: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Further slots: attribute of the AnnData, key, value."""


def writable(adata: AnnData, *, copy: bool) -> AnnData:
    """Return the AnnData to write into: `adata`, or a copy in memory."""
    if not copy:
        return adata
    return adata.to_memory() if adata.isbacked else adata.copy()


def write_results(adata: AnnData, key: str, results: Results) -> list[str]:
    """Write all slots, and return a line for each that says what it holds."""
    slots = Slots(key)
    old = adata.obsm.get(slots.embedding)
    if old is not None and old.shape != results.embedding.shape:
        shapes = f"of shape {old.shape} by one of shape {results.embedding.shape}"
        logg.info(f"    replacing adata.obsm[{slots.embedding!r}] {shapes}")
    rows, columns = np.triu_indices(results.decoder.metric.shape[-1])
    for attribute, entries in results.computed.items():
        getattr(adata, attribute).update(entries)
    adata.obsm[slots.embedding] = results.embedding
    for side in SIDES:
        names, tensors = Slots(key, side), getattr(results, side)
        adata.obsm[names.metric] = tensors.metric[:, rows, columns]
        adata.obs[names.log_area] = tensors.log_area
        adata.obs[names.anisotropy] = tensors.anisotropy
    adata.obsp[slots.metric] = results.graph.metric
    adata.obsp[slots.distances] = results.graph.distances
    adata.obsp[slots.connectivities] = results.graph.connectivities
    adata.obs[slots.reconstruction_error] = results.reconstruction_error
    adata.uns[key] = {
        "params": results.params,
        "history": results.history,
        "scores": results.scores,
        "model": results.model,
        "connectivities_key": slots.connectivities,
        "distances_key": slots.distances,
    }
    return [
        *(f"{attribute}[{name!r}], computed for it" for attribute, new in results.computed.items() for name in new),
        f"obsm[{slots.embedding!r}], the map, in units of the representation",
        f"obsm[{slots.metric!r}], metric tensors (upper triangles)",
        f"obs[{slots.log_area!r}], obs[{slots.anisotropy!r}], distortion of each cell",
        f"obs[{slots.reconstruction_error!r}], its squared distance from its reconstruction",
        f"obsp[{slots.metric!r}], obsp[{slots.distances!r}], obsp[{slots.connectivities!r}], metric graph",
        f"obsm[{Slots(key, 'encoder').metric!r}] and obs, the same of the encoder",
        f"uns[{key!r}], parameters, history, scores and model",
    ]


def read_embedding(adata: AnnData, key: str) -> NDArray:
    """Return the (n, d) map."""
    slots = Slots(key)
    if slots.embedding not in adata.obsm:
        raise KeyError(_missing(f"adata.obsm[{slots.embedding!r}]", key))
    return np.asarray(adata.obsm[slots.embedding])


def read_metric(adata: AnnData, key: str, side: Side = "decoder") -> NDArray:
    """Return the (n, d, d) metric tensors."""
    slots = Slots(key, side)
    if slots.metric not in adata.obsm:
        raise KeyError(_missing(f"adata.obsm[{slots.metric!r}]", key))
    triangle = np.asarray(adata.obsm[slots.metric])
    d = int((np.sqrt(8 * triangle.shape[1] + 1) - 1) / 2)
    if d * (d + 1) // 2 != triangle.shape[1]:
        msg = (
            f"adata.obsm[{slots.metric!r}] has {triangle.shape[1]} columns, which is no upper triangle "
            f"of a square matrix: it was changed after sg.tl.geoae; run that again."
        )
        raise ValueError(msg)
    metric = np.empty((len(triangle), d, d), dtype=triangle.dtype)
    rows, columns = np.triu_indices(d)
    metric[:, rows, columns] = metric[:, columns, rows] = triangle
    return metric


def read_column(adata: AnnData, name: str, key: str, *, call: str | None = None) -> NDArray:
    """Return one column of `obs`; `call` is what writes it, by default `scgeoae.tl.geoae`."""
    if name not in adata.obs:
        raise KeyError(_missing(f"adata.obs[{name!r}]", key, call))
    return adata.obs[name].to_numpy()


def read_uns(adata: AnnData, key: str, entry: str) -> Any:
    """Return one entry of ``uns[key]``."""
    if key not in adata.uns:
        raise KeyError(_missing(f"adata.uns[{key!r}]", key))
    stored = adata.uns[key]
    if not hasattr(stored, "keys") or entry not in stored:
        raise ValueError(_damaged(key, f"the entry {entry!r} is missing"))
    return stored[entry]


def read_model(adata: AnnData, key: str) -> Autoencoder:
    """Rebuild the model."""
    arrays = read_uns(adata, key, "model")
    try:
        return from_arrays(arrays)
    except ValueError as error:
        raise ValueError(_damaged(key, f"in 'model', {error}")) from None


def _missing(slot: str, key: str, call: str | None = None) -> str:
    if call is None:
        call = "sg.tl.geoae(adata)" if key == "geoae" else f"sg.tl.geoae(adata, key_added={key!r})"
    return f"Did not find {slot}; run {call} first."


def _damaged(key: str, problem: str) -> str:
    return f"adata.uns[{key!r}] is damaged: {problem}. Run sg.tl.geoae(adata, key_added={key!r}) again."
