"""Write the results of a run into an AnnData, and read them back."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scanpy import logging as logg

from .._arguments import check_adata, check_flag, check_name
from ..nn import Autoencoder
from ..nn.arrays import ModelArrays, NewerFormatError, from_arrays
from ..quality import MEASURES
from .columns import obs_numbers
from .finite import check_finite, check_positive
from .numbers import real_graph, real_matrix
from .slots import COLUMNS, SIDES, Slots
from .transaction import all_or_nothing

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from ..graphs import MetricGraph, Tears
    from ..nn import Framed
    from ..nn.arrays import CountArrays
    from .slots import Side

SMALLEST_SPAN, LARGEST_POSITION = 1e-18, 1e18
# What chooses the representation of a run, and what is a valid one.
PARAMS = {
    "use_rep": ("name", lambda value: isinstance(value, str)),
    "layer": ("name", lambda value: isinstance(value, str)),
    "size_factor_key": ("name", lambda value: isinstance(value, str)),
    "n_pcs": ("integer >= 1", lambda value: isinstance(value, Integral) and value >= 1),
    "n_cells": ("integer >= 1", lambda value: isinstance(value, Integral) and value >= 1),
    "library_size": ("finite number > 0", lambda value: isinstance(value, Real) and 0 < value < np.inf),
    "refine": ("truth value", lambda value: isinstance(value, bool | np.bool_)),
    "tsne_weight": ("finite number >= 0", lambda value: isinstance(value, Real) and 0 <= value < np.inf),
    "perplexity": ("finite number > 1", lambda value: isinstance(value, Real) and 1 < value < np.inf),
}


class Tensors(NamedTuple):
    """The metric of one network at the cells, and what it says of each."""

    metric: NDArray[np.float32]
    """(n, d, d)"""
    log_area: NDArray[np.float32]
    anisotropy: NDArray[np.float32]


@dataclass(frozen=True)
class Results:
    """Everything that one run writes. What is None is not there, and is removed if an earlier run left it."""

    tensors: dict[Side, Tensors]
    graph: MetricGraph | None
    params: dict[str, Any]
    scores: dict[str, float]
    embedding: NDArray[np.float32] | None = None
    """None for one that stays as it is."""
    ours: bool = True
    """Whether the embedding is. If not, ``uns[key]`` belongs to who made it."""
    reconstruction_error: NDArray[np.float32] | None = None
    history: dict[str, NDArray] | None = None
    model: ModelArrays | CountArrays | None = None
    outlier_score: NDArray[np.float32] | None = None
    outlier: NDArray[np.bool_] | None = None
    computed: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Further slots: attribute of the AnnData, key, value."""

    def per_cell(self, slots: Slots) -> dict[str, NDArray | None]:
        """Return every array that has a row for each cell, by its slot."""
        columns: dict[str, NDArray | None] = {
            slots.embedding: self.embedding,
            slots.reconstruction_error: self.reconstruction_error,
            slots.outlier_score: self.outlier_score,
        }
        for side, tensors in self.tensors.items():
            names = Slots(slots.key, side)
            columns |= dict(zip((names.metric, names.log_area, names.anisotropy), tensors, strict=True))
        return columns


def writable(adata: AnnData, *, copy: bool) -> AnnData:
    """Return the AnnData to write into: `adata`, or a copy in memory."""
    if not copy:
        return adata
    return adata.to_memory() if adata.isbacked or _is_lazy(adata) else adata.copy()


def check_writable(adata: AnnData, *, copy: bool) -> None:
    """Say if results cannot be written, before they are computed.

    Raises
    ------
    TypeError
        If it was read lazily, or `copy` is neither true nor false.
    """
    check_adata(adata)
    check_flag(copy, "copy")
    if _is_lazy(adata) and not copy:
        msg = (
            "This AnnData was read lazily, so that no results can be written into it; "
            "give copy=True, or run adata = adata.to_memory() first."
        )
        raise TypeError(msg)


def _is_lazy(adata: AnnData) -> bool:
    return not isinstance(adata.obs, pd.DataFrame)


def write_results(adata: AnnData, key: str, results: Results) -> list[str]:
    """Write all slots, and return a line for each that says what it holds."""
    slots = Slots(key)
    check_finite(results.per_cell(slots))
    check_positive({Slots(key, side).metric: tensors.metric for side, tensors in results.tensors.items()})
    with all_or_nothing(adata):
        return _write(adata, slots, results)


def _write(adata: AnnData, slots: Slots, results: Results) -> list[str]:
    rows, columns = np.triu_indices(results.tensors["decoder"].metric.shape[-1])
    for attribute, entries in results.computed.items():
        for name, value in entries.items():
            getattr(adata, attribute)[name] = value
    lines = [f"{attribute}[{name!r}], computed for it" for attribute, new in results.computed.items() for name in new]
    if results.embedding is not None:
        old = adata.obsm.get(slots.embedding)
        if old is not None and old.shape != results.embedding.shape:
            shapes = f"of shape {old.shape} by one of shape {results.embedding.shape}"
            logg.info(f"    replacing adata.obsm[{slots.embedding!r}] {shapes}")
        adata.obsm[slots.embedding] = results.embedding
        lines.append(f"obsm[{slots.embedding!r}], the map, in units of the representation")
    for side in SIDES:
        names, tensors = Slots(slots.key, side), results.tensors.get(side)
        _put(adata.obsm, names.metric, None if tensors is None else tensors.metric[:, rows, columns])
        _put(adata.obs, names.log_area, None if tensors is None else tensors.log_area)
        _put(adata.obs, names.anisotropy, None if tensors is None else tensors.anisotropy)
    lines += [
        f"obsm[{slots.metric!r}], metric tensors (upper triangles)",
        f"obs[{slots.log_area!r}], obs[{slots.anisotropy!r}], distortion of each cell",
    ]
    _put(adata.obs, slots.reconstruction_error, results.reconstruction_error)
    if results.reconstruction_error is not None:
        lines.append(f"obs[{slots.reconstruction_error!r}], the error of its reconstruction")
    _put(adata.obs, slots.outlier_score, results.outlier_score)
    _put(adata.obs, slots.outlier, results.outlier)
    if results.outlier is not None:
        lines.append(f"obs[{slots.outlier_score!r}], obs[{slots.outlier!r}], whether a cell belongs on this map")
    matrices = {slots.metric: "metric", slots.distances: "distances", slots.connectivities: "connectivities"}
    for name, which in matrices.items():
        _put(adata.obsp, name, None if results.graph is None else getattr(results.graph, which))
    if results.graph is not None:
        lines.append(f"{', '.join(f'obsp[{name!r}]' for name in matrices)}, metric graph")
    if "encoder" in results.tensors:
        lines.append(f"obsm[{Slots(slots.key, 'encoder').metric!r}] and obs, the same of the encoder")
    _remove_derived(adata, slots, embedding=results.embedding is not None)
    _put(adata.uns, slots.distortion, None)
    entry = slots.key if results.ours else slots.distortion
    optional = {"history": results.history, "model": results.model}
    if results.graph is not None:
        optional |= {"connectivities_key": slots.connectivities, "distances_key": slots.distances}
    adata.uns[entry] = {
        "params": results.params,
        "scores": results.scores,
        **{name: value for name, value in optional.items() if value is not None},
    }
    lines.append(f"uns[{entry!r}], {', '.join(name for name in adata.uns[entry] if not name.endswith('_key'))}")
    return lines


def _remove_derived(adata: AnnData, slots: Slots, *, embedding: bool) -> None:
    """Remove what was computed from an earlier map of this name, from its `embedding` too if there is a new one."""
    curvatures = (slots.gaussian_curvature, slots.mean_curvature, slots.extrinsic_curvature)
    named = (slots, Slots(slots.embedding)) if embedding else ()
    of_embedding = [column for each in named for column in (each.neighborhood_preservation, each.trust)]
    for name in (slots.torn, slots.broken, slots.pseudotime, *curvatures, *of_embedding):
        _put(adata.obs, name, None)
    _put(adata.obsp, slots.torn, None)
    _put(adata.uns, slots.rank_genes, None)
    for name, stored in list(adata.uns.items()):
        params = _stored_params(adata, name)
        if str(params.get("method")) == "jacobian" and str(params.get("key")) == slots.key:
            del adata.uns[name]
        elif isinstance(stored, pd.DataFrame) and set(COLUMNS) <= set(stored):
            _put(adata.uns, name, _of_others(stored, slots, embedding=embedding))


def _of_others(table: pd.DataFrame, slots: Slots, *, embedding: bool) -> pd.DataFrame | None:
    """Return a table of `scgeoae.tl.evaluate` without the measures of this `embedding`, else of its decoder.

    None where nothing is left.
    """
    # the whole key stands where another embedding has the short name
    name = slots.embedding if (table["basis"] == slots.embedding).any() else slots.key
    stale = table["basis"] == name
    if not embedding:
        stale &= table["measure"].isin([which for which, measure in MEASURES.items() if measure.about == "decoder"])
    if not stale.any():
        return table
    return None if stale.all() else table[~stale].reset_index(drop=True)


def write_tears(adata: AnnData, key: str, found: Tears, params: dict[str, Any]) -> list[str]:
    """Write where an embedding tears beside its results, and return a line for each slot that says what it holds."""
    slots, entry = Slots(key), _entry(adata, key)
    with all_or_nothing(adata):
        adata.obs[slots.torn] = found.share
        adata.obs[slots.broken] = found.broken
        adata.obsp[slots.torn] = found.stretch
        adata.uns[entry] = {**adata.uns[entry], "torn": {**params, "fence": found.fence}}
    edges = f"{found.stretch.nnz // 2} of the neighbour graph of the representation"
    return [
        f"obsp[{slots.torn!r}], torn edges, {edges}",
        f"obs[{slots.torn!r}], obs[{slots.broken!r}], their share; {int(found.broken.sum())} cells are broken",
    ]


def _put(mapping: Any, name: str, value: Any) -> None:
    """Set an entry, or remove it."""
    if value is not None:
        mapping[name] = value
    elif name in mapping:
        del mapping[name]


def map_key(adata: AnnData, name: Any, argument: str = "key") -> str:
    """Return under which name the results of a map are stored, whose key of `obsm` may be given too.

    ``"umap"`` and ``"X_umap"`` name the same map. As in Scanpy a whole key goes before one that lacks its ``X_``.
    """
    check_adata(adata)
    check_name(name, argument, required=True)
    slot = Slots(name).embedding
    return (slot if slot in adata.obsm and name not in adata.obsm else name).removeprefix("X_")


def embedding_slot(adata: AnnData, key: str) -> str | None:
    """Return the name of the embedding in `obsm`, if it is there: ``X_{key}`` or, as Scanpy is about to, `key`."""
    for name in (Slots(key).embedding, key):
        if name in adata.obsm:
            return name
    return None


def has_own_decoder(adata: AnnData, key: str) -> bool:
    """Return whether the map was made by an autoencoder of ours."""
    return "model" in _entries(adata.uns.get(key))


def has_model(adata: AnnData, key: str) -> bool:
    """Return whether there is a model behind the tensors, as there is none behind a graph-Laplacian estimate."""
    return "model" in _entries(adata.uns.get(_entry(adata, key)))


def read_embedding(adata: AnnData, key: str) -> NDArray:
    """Return a copy of the (n, d) map."""
    slot = embedding_slot(adata, key)
    if slot is None:
        raise KeyError(_missing(adata, f"adata.obsm[{Slots(key).embedding!r}]", key))
    z = real_matrix(adata.obsm[slot], f"adata.obsm[{slot!r}]")
    if not len(z):
        msg = f"There are no cells in adata, so that adata.obsm[{slot!r}] shows nothing."
        raise ValueError(msg)
    if bad := np.count_nonzero(~(np.abs(z) < LARGEST_POSITION).all(1)):
        problem = "beyond 1e18, whose square float32 does not hold," if np.isfinite(z).all() else "not finite"
        raise ValueError(_not_finite(adata, key, slot, bad, "positions", problem))
    if 0 < np.ptp(z, axis=0).max(initial=0) < SMALLEST_SPAN:
        problem = "within 1e-18, whose square float32 does not hold,"
        raise ValueError(_not_finite(adata, key, slot, len(z), "positions", problem))
    return z


def read_metric(adata: AnnData, key: str, side: Side = "decoder") -> NDArray:
    """Return the (n, d, d) metric tensors."""
    slots = Slots(key, side)
    if slots.metric not in adata.obsm:
        raise KeyError(_missing(adata, f"adata.obsm[{slots.metric!r}]", key))
    triangle = real_matrix(adata.obsm[slots.metric], f"adata.obsm[{slots.metric!r}]")
    d = int((np.sqrt(8 * triangle.shape[1] + 1) - 1) / 2)
    if d * (d + 1) // 2 != triangle.shape[1]:
        msg = (
            f"adata.obsm[{slots.metric!r}] has {triangle.shape[1]} columns, which is no upper triangle "
            f"of a square matrix: it was changed after it was written; run {_call(adata, key)} again."
        )
        raise ValueError(msg)
    metric = np.empty((len(triangle), d, d), dtype=triangle.dtype)
    rows, columns = np.triu_indices(d)
    metric[:, rows, columns] = metric[:, columns, rows] = triangle
    is_finite = (np.abs(triangle) <= np.finfo(np.float32).max).all(1)
    if bad := np.count_nonzero(~(is_finite & (np.trace(metric, axis1=1, axis2=2) > 0))):
        raise ValueError(_not_finite(adata, key, slots.metric, bad, "tensors", "zero or not finite"))
    return metric


def read_graph(adata: AnnData, key: str) -> Any:
    """Return the (n, n) sparse matrix of Riemannian edge lengths."""
    slots = Slots(key)
    if slots.distances not in adata.obsp:
        raise KeyError(_missing(adata, f"adata.obsp[{slots.distances!r}]", key))
    graph = real_graph(adata.obsp[slots.distances], f"adata.obsp[{slots.distances!r}]")
    if not (np.isfinite(graph.data) & (graph.data >= 0)).all():
        msg = (
            f"adata.obsp[{slots.distances!r}] has lengths that are negative or not finite, as none was when they were "
            f"written: run {_call(adata, key)} again."
        )
        raise ValueError(msg)
    return graph


def read_column(adata: AnnData, name: str, key: str, *, call: str | None = None) -> NDArray:
    """Return a column of finite numbers of `obs`; `call` writes it, by default what makes or measures the map."""
    if name not in adata.obs:
        raise KeyError(_missing(adata, f"adata.obs[{name!r}]", key, call))
    values = obs_numbers(adata, name)
    if bad := np.count_nonzero(~np.isfinite(values)):
        msg = (
            f"{bad} of {adata.n_obs} cells have no finite number in adata.obs[{name!r}], as all had when it was "
            f"written: drop these cells or run {call or _call(adata, key)} again."
        )
        raise ValueError(msg)
    return values


def read_torn(adata: AnnData, key: str) -> Any:
    """Return the (n, n) sparse matrix of torn edges."""
    slots = Slots(key)
    if slots.torn not in adata.obsp:
        call = f"sg.tl.distortion(adata, basis={key!r})"
        raise KeyError(_missing(adata, f"adata.obsp[{slots.torn!r}]", key, call))
    return real_graph(adata.obsp[slots.torn], f"adata.obsp[{slots.torn!r}]")


def read_uns(adata: AnnData, key: str, entry: str) -> Any:
    """Return one entry of ``uns["{key}_distortion"]``, or without that of ``uns[key]``."""
    name = _entry(adata, key)
    # what made an embedding may have left its own parameters there, as sc.tl.umap does
    if name not in adata.uns or (name == key and _is_foreign(adata, key)):
        lost = ""
        if Slots(key).metric in adata.obsm:
            lost = " Its tensors are there: anndata.concat drops uns, unless uns_merge='first' tells it not to."
        raise KeyError(_missing(adata, f"adata.uns[{name!r}]", key) + lost)
    stored = adata.uns[name]
    if not isinstance(stored, Mapping) or entry not in stored:
        if entry == "model" and name != key:
            raise ValueError(_no_model(adata, key))
        raise ValueError(_damaged(adata, key, f"the entry {entry!r} is missing"))
    return stored[entry]


def read_params(adata: AnnData, key: str) -> dict[str, Any]:
    """Return the parameters of a run, of which those that choose its representation are what they should be.

    ``n_features`` stands among them where there is a model: the number of columns that the representation had.
    """
    params = read_uns(adata, key, "params")
    if not isinstance(params, Mapping):
        problem = f"'params' is no dictionary: {reprlib.repr(params)}"
        raise ValueError(_damaged(adata, key, problem))  # noqa: TRY004
    params = dict(params)
    for name, (kind, is_valid) in PARAMS.items():
        if (name in params and not is_valid(params[name])) or (name == "use_rep" and name not in params):
            found = reprlib.repr(params.get(name))
            raise ValueError(_damaged(adata, key, f"in 'params', {name!r} is no {kind}: {found}"))
    return params | ({"n_features": read_model(adata, key).n_features} if has_model(adata, key) else {})


def read_scores(adata: AnnData, key: str) -> dict[str, float]:
    """Return the scores."""
    scores = read_uns(adata, key, "scores")
    if not isinstance(scores, Mapping):
        problem = f"'scores' is no dictionary: {reprlib.repr(scores)}"
        raise ValueError(_damaged(adata, key, problem))  # noqa: TRY004
    for name, value in scores.items():
        if not isinstance(value, Real):
            raise ValueError(_damaged(adata, key, f"in 'scores', {name!r} is no number: {reprlib.repr(value)}"))  # noqa: TRY004
    return {name: float(value) for name, value in scores.items()}


def read_model(adata: AnnData, key: str) -> Framed:
    """Rebuild the model."""
    arrays = read_uns(adata, key, "model")
    try:
        model = from_arrays(arrays)
    except NewerFormatError as error:
        msg = f"The model in adata.uns[{_entry(adata, key)!r}] cannot be read: {error}."
        raise ValueError(msg) from None
    except ValueError as error:
        raise ValueError(_damaged(adata, key, f"in 'model', {error}")) from None
    slot = embedding_slot(adata, key)
    shape = (0, model.n_components) if slot is None else adata.obsm[slot].shape
    if shape[1:] != (model.n_components,):
        problem = f"'model' is of {model.n_components} dimensions, and adata.obsm[{slot!r}] of shape {shape}"
        raise ValueError(_damaged(adata, key, problem))
    return model


def read_encoder(adata: AnnData, key: str) -> Autoencoder:
    """Rebuild a model that has an encoder, or say why this one has none."""
    model = read_model(adata, key)
    if isinstance(model, Autoencoder):
        return model
    msg = (
        f"The encoder of adata.obsm[{Slots(key).embedding!r}] takes counts, and stays with its model: place cells "
        "by GeoSCVI.to_anndata(adata_new), after GeoSCVI.load_query_data where their batches are new."
    )
    raise ValueError(msg)


def _entries(stored: Any) -> Mapping[str, Any]:
    """Return what should be a dictionary, an empty one if it is none."""
    return stored if isinstance(stored, Mapping) else {}


def _entry(adata: AnnData, key: str) -> str:
    name = Slots(key).distortion
    return name if name in adata.uns else key


def _is_foreign(adata: AnnData, key: str) -> bool:
    """Whether ``uns[key]`` was written by somebody else, for an embedding of theirs."""
    stored = adata.uns.get(key)
    if stored is None:
        return embedding_slot(adata, key) is not None and Slots(key).metric not in adata.obsm
    return isinstance(stored, Mapping) and bool(stored) and not {"history", "scores", "model"} & set(stored)


def _call(adata: AnnData, key: str) -> str:
    if key == "geoscvi" or "GeoSCVI" in _stored_params(adata, key).get("made_by", ""):
        return "the method to_anndata() of a trained sg.model.GeoSCVI"
    if Slots(key).distortion in adata.uns or (embedding_slot(adata, key) is not None and _is_foreign(adata, key)):
        return f"sg.tl.distortion(adata, basis={key!r})"
    return "sg.tl.geoae(adata)" if key == "geoae" else f"sg.tl.geoae(adata, key_added={key!r})"


def _stored_params(adata: AnnData, key: str) -> Any:
    """Return what is recorded of the run, as far as there is something."""
    stored = adata.uns.get(key)
    params = stored.get("params") if isinstance(stored, Mapping) else None
    return params if isinstance(params, Mapping) else {}


def _missing(adata: AnnData, slot: str, key: str, call: str | None = None) -> str:
    return f"Did not find {slot}; run {call or _call(adata, key)} first."


def _no_model(adata: AnnData, key: str) -> str:
    return (
        f"The tensors of adata.obsm[{embedding_slot(adata, key)!r}] were estimated by the graph Laplacian, which has "
        f"no model: they are there at the cells and nowhere else. Run sg.tl.distortion(adata, basis={key!r}, "
        "method='decoder') for a model."
    )


def _not_finite(adata: AnnData, key: str, slot: str, n: int, what: str, problem: str) -> str:
    return (
        f"{n} of {adata.n_obs} {what} in adata.obsm[{slot!r}] are {problem}, as none was when they were written: "
        f"drop these cells or run {_call(adata, key)} again."
    )


def _damaged(adata: AnnData, key: str, problem: str) -> str:
    return f"adata.uns[{_entry(adata, key)!r}] is damaged: {problem}. Run {_call(adata, key)} again."
