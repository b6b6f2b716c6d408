"""The parameters of a run, as stored in ``uns[key]["params"]``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from .._matrix import dense
from ..geometry import Ambient
from ..training import Settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..training import Fit


class Params(TypedDict, total=False):
    """What a map was made from, and how. Files cannot store None, so a missing parameter had its default."""

    # the representation
    use_rep: str
    n_pcs: int
    layer: str
    n_cells: int
    data: str
    """Digest of the rows that were trained on."""
    neighbors_key: str
    neighbors: str
    """Digest of the neighbor graph that was used."""
    # arguments of `scgeoae.tl.geoae`
    n_components: int
    regularizer: str | Mapping[str, float]
    strength: float
    tolerance: float
    side: str
    sampling: str
    ambient: str | NDArray[np.float32]
    init_pos: str
    neighbors_weight: float
    neighbors_scale: float
    refine: bool
    tsne_weight: float
    perplexity: float
    equal_room: float
    noise: float
    n_neighbors: int
    hidden: NDArray[np.int64]
    activation: str
    n_steps: int
    batch_size: int
    learning_rate: float
    random_state: int
    # a model fitted to an embedding, or an estimate of its metric
    basis: str
    method: str
    """``"decoder"`` or ``"laplacian"``; ``"gauss"`` for other maps, which Scanpy expects under a `neighbors_key`."""
    # a model of counts
    batch_key: str
    size_factor_key: str
    library_size: float
    gene_likelihood: str
    made_by: str
    # the run
    interrupted_at: str
    environment: dict[str, Any]


def without_none(**params: Any) -> Params:
    """Return the parameters that are not None."""
    return Params(**{name: value for name, value in params.items() if value is not None})  # type: ignore[typeddict-item]


def params_of_fit(
    settings: Settings, chosen: Mapping[str, Any], ambient: Any, init_pos: Any, *, n_neighbors: int, fitted: Fit
) -> Params:
    """Return the parameters of an autoencoder that was trained on the `chosen` representation."""
    params = asdict(settings)
    # what an interrupt would have done does not affect the result
    del params["on_interrupt"]
    params["random_state"] = params.pop("seed")
    if fitted.displacement is not None:
        params["refine"] = True
    elif settings.refine:
        # the run was interrupted before refinement
        params["refine"] = False
    if settings.is_auto:
        # the weights that were found; a stored `tolerance` marks them as such
        weights = {name: fitted.factor * weight for name, weight in settings.penalties.items()}
        if isinstance(settings.regularizer, str):
            params["strength"] = weights[settings.regularizer]
        else:
            params |= {"strength": None, "regularizer": weights}
    else:
        del params["tolerance"]
    if callable(ambient):
        params["ambient"] = Ambient(ambient).name
    elif ambient is not None:
        params["ambient"] = ambient if isinstance(ambient, str) else np.asarray(ambient, dtype=np.float32)
    params |= dict(chosen) | {
        "hidden": np.array(settings.hidden, dtype=np.int64),
        "n_neighbors": n_neighbors,
        "noise": fitted.noise,
        "init_pos": init_pos if isinstance(init_pos, str) else "array",
        "method": "gauss",
    }
    return without_none(**params, **_of_run(fitted))


def settings_of(params: Params, *, seed: int) -> Settings:
    """Return the settings that repeat a run of `scgeoae.tl.geoae` with another seed.

    Weights that were found are found again.

    Raises
    ------
    ValueError
        If a parameter is missing or not valid.
    """
    given: dict[str, Any] = {name: _plain(value) for name, value in params.items()}
    if missing := {"n_components", "batch_size", "perplexity", "hidden"} - given.keys():
        msg = f"The parameter {min(missing)!r} is missing."
        raise ValueError(msg)
    # a missing parameter had its default, which is None but for this one
    given = {"regularizer": None} | given
    if "tolerance" in given:
        given["strength"] = "auto"
    names = given["regularizer"] or ""
    if names == "denoising" or (isinstance(names, dict) and "denoising" in names):
        # whose strength is the noise
        del given["noise"]
    known = {each.name for each in fields(Settings)} - {"on_interrupt", "seed"}
    return Settings(**{name: value for name, value in given.items() if name in known}, seed=seed)


def _plain(value: Any) -> Any:
    """Return a number as Python has it, and an array as a list. Files return both as NumPy's, or lazy."""
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return dense(value).tolist() if hasattr(value, "dtype") else value


def params_of_fitted_decoder(
    settings: Settings, chosen: Mapping[str, Any], slot: str, *, n_neighbors: int, fitted: Fit
) -> Params:
    """Return the parameters of a model that was fitted to the embedding in ``obsm[slot]``."""
    return without_none(
        basis=slot,
        method="decoder",
        **chosen,
        n_neighbors=n_neighbors,
        hidden=np.array(settings.hidden, dtype=np.int64),
        activation=settings.activation,
        n_steps=settings.n_steps,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        random_state=settings.seed,
        **_of_run(fitted),
    )


def _of_run(fitted: Fit) -> dict[str, Any]:
    return {
        "n_cells": len(fitted.embedding),
        "data": fitted.digest,
        "interrupted_at": fitted.interrupted_at,
        "environment": fitted.environment,
    }
