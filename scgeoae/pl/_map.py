"""What plots ask of a stored map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._anndata.results import (
    embedding_slot,
    has_own_decoder,
    map_key,
    read_embedding,
    read_metric,
    read_params,
    read_scores,
)
from .._arguments import check_flag

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


class Unit(NamedTuple):
    """What a length on the map is in the representation."""

    name: str
    """In the plural: ``units of X_pca``."""
    per_length: float
    """How many of them one unit of length on the map is."""
    is_mean: bool
    """Whether it is that on average only, and not by construction."""
    spread: float | None = None
    """By what share it is longer or shorter between two thirds of all pairs of cells, where that is known."""


def read_map(adata: AnnData, basis: str, caller: str) -> tuple[str, NDArray]:
    """Return under which name the results of the map are stored, and its (n, 2) coordinates."""
    basis = map_key(adata, basis, "basis")
    z = read_embedding(adata, basis)
    if z.ndim != 2 or z.shape[1] != 2:
        run = "run sg.tl.geoae(adata, n_components=2)" if has_own_decoder(adata, basis) else "make it with 2"
        slot = embedding_slot(adata, basis)
        msg = f"{caller} draws maps of 2 dimensions, and adata.obsm[{slot!r}] has {z.shape[1]}; {run}."
        raise ValueError(msg)
    return basis, z


def read_unit(adata: AnnData, basis: str) -> Unit:
    """Return what one unit of length on the map is.

    It is measured between cells: the distance on the map against that between the points that the decoder has there,
    in the median over pairs. Where that was not measured, a map of `scgeoae.tl.geoae` has the unit of its
    representation, and on any other the length of a step of 1 is the root of the mean of tr G/d over these cells.
    """
    name = _unit_name(read_params(adata, basis))
    scores = read_scores(adata, basis)
    if 0 < scores.get("chord", 0) < np.inf:
        spread = scores.get("chord_spread", np.nan)
        return Unit(name, 1 / scores["chord"], is_mean=True, spread=spread if np.isfinite(spread) else None)
    if has_own_decoder(adata, basis):
        return Unit(name, 1.0, is_mean=False)
    metric = read_metric(adata, basis)
    mean = np.trace(metric, axis1=1, axis2=2).mean(dtype=np.float64) / metric.shape[-1]
    return Unit(name, float(np.sqrt(mean)), is_mean=True)


def unit_of_ruler(adata: AnnData, basis: str, *, ruler: bool) -> Unit | None:
    """Return what a ruler is to measure in, or None if none is to be drawn."""
    check_flag(ruler, "ruler")
    return read_unit(adata, basis) if ruler else None


def _unit_name(params: Any) -> str:
    if "library_size" in params:
        return "units of the Fisher metric" if str(params.get("ambient")) == "fisher" else "units of log1p expression"
    representation = params.get("layer", params["use_rep"])
    if "ambient" not in params:
        return f"units of {representation}"
    if isinstance(params["ambient"], str) and params["ambient"] == "mahalanobis":
        return f"standard deviations of {representation}"
    return f"units of the ambient metric on {representation}"
