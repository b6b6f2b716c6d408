"""How each public function is called in the battery, found by its signature."""

from __future__ import annotations

import contextlib
import inspect
import warnings
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from anndata import AnnData

import scgeoae as sg

if TYPE_CHECKING:
    from collections.abc import Callable

FUNCTIONS: dict[str, Callable[..., Any]] = {
    f"{floor}.{name}": getattr(getattr(sg, floor), name)
    for floor in ("tl", "pl", "get")
    for name in getattr(sg, floor).__all__
    # writes into a store, and not into an AnnData (tests/tl/test_atlas.py)
    if name != "atlas"
}
# Which AnnData of a function the cases are applied to: those of two are tried one after the other.
ROLES = {
    f"{name}({role})": (name, role)
    for name, function in FUNCTIONS.items()
    for role in ("adata", "adata_new")
    if role in inspect.signature(function).parameters
}
# The same with arguments beside the defaults, which other code meets.
VARIANTS = {
    f"{name}({', '.join(['adata', *(f'{option}={value!r}' for option, value in options.items())])})": (name, options)
    for name, options in [
        ("tl.geoae", {"ambient": "mahalanobis"}),
        ("tl.geoae", {"strength": "auto", "side": "both"}),
        ("tl.geoae", {"regularizer": "curvature", "sampling": "gaussian", "init_pos": "X_umap"}),
        ("tl.geoae", {"init_pos": "isomap"}),
        ("tl.geoae", {"regularizer": "nrae", "neighbors_weight": 0}),
        ("tl.geoae", {"regularizer": "topoae", "n_components": 1}),
        ("tl.geoae", {"use_rep": "X_umap", "n_components": 1}),
        ("tl.distortion", {"method": "laplacian"}),
        ("tl.distortion", {"basis": "geoae"}),
        ("tl.adopt", {"use_rep": "X", "copy": True}),
        ("tl.evaluate", {"groupby": "group", "local_scores": True}),
        ("tl.evaluate", {"basis": ["umap", "geoae"], "use_rep": "X"}),
        ("tl.metric", {"at": "grid", "side": "encoder", "n_grid": 4}),
        ("tl.metric", {"ambient": "mahalanobis"}),
        ("tl.metric", {"ambient": "mahalanobis", "side": "encoder"}),
        ("tl.curvature", {"key": "umap"}),
        ("tl.density", {"groupby": "group", "key": "umap"}),
        ("tl.geodesic", {"groupby": "group", "genes": []}),
        ("tl.pseudotime", {"groupby": "group", "key": "umap"}),
        ("tl.rank_genes_by_jacobian", {"direction": "into", "key": "umap"}),
        ("tl.residual", {"groupby": "group", "key": "umap"}),
        ("pl.embedding", {"basis": "umap", "color": None}),
        ("pl.indicatrices", {"where": "grid", "side": "both", "n_tiles": 4}),
        ("pl.indicatrices", {"where": "cells", "basis": "umap", "color": None}),
        ("pl.jacobian_heatmap", {"side": "both", "background": True}),
        ("pl.jacobian_heatmap", {"basis": "umap"}),
        ("pl.curvature_heatmap", {"kind": "mean", "background": True}),
        ("pl.decoded_genes", {"basis": "umap"}),
        ("get.metric_tensors", {"side": "encoder", "key": "umap"}),
        ("get.provenance", {"key": "umap"}),
        ("get.card", {"groupby": "group", "key": "umap"}),
    ]
}
# What makes a call take milliseconds.
QUICK = {"n_steps": 6, "hidden": (8, 8), "n_neighbors": 4, "progress_bar": False, "show": False, "resolution": 12}
QUICK |= {"n_fits": 4}  # of sg.tl.stability
# What an argument is beside its default.
QUICK |= {"color": "group"}
# The value of each argument that has no default, and of the root, which by default is that of Scanpy.
EXAMPLES: dict[str, Callable[[AnnData], Any]] = {
    "adata": lambda _: good(),
    "adata_new": lambda _: placed(good()),
    "tl.gap.source": lambda _: "a",
    "tl.gap.target": lambda _: "c",
    "found": lambda _: found(),
    "coordinates": lambda _: [[0.0, 0.0], [1.0, 0.5]],
    "genes": lambda adata: list(getattr(adata, "var_names", [])[:1]),
    "group": lambda _: "a",
    "groupby": lambda _: "group",
    "path": lambda _: path(),
    "paths": lambda _: path(),
    "root": lambda adata: cell_of(adata, 0),
    "source": lambda adata: cell_of(adata, 0),
    "target": lambda adata: cell_of(adata, -1),
    "vectors": lambda adata: np.ones((getattr(adata, "n_obs", 3), getattr(adata, "n_vars", 3))),
}


def raw(n: int = 40, n_features: int = 8) -> AnnData:
    """Three groups on a bent sheet, with a layout that somebody else made."""
    rng = np.random.default_rng(0)
    t = rng.uniform(-1, 1, size=(n, 2))
    x = 0.05 * rng.normal(size=(n, n_features)) + 3
    x[:, 0] += 2 * t[:, 0]
    x[:, 1 % n_features] += 2 * t[:, 1]
    x[:, 2 % n_features] += t[:, 0] ** 2
    adata = AnnData(x.astype(np.float32))
    adata.obs["group"] = pd.Categorical(np.array(["a", "b", "c"])[np.digitize(t[:, 0], [-0.3, 0.3])])
    adata.obs["value"] = t[:, 1]
    adata.obsm["X_umap"] = (t @ [[2.0, 0.3], [0.0, 1.0]]).astype(np.float32)
    return adata


def call(name: str, adata: AnnData, role: str = "adata", **changed: Any) -> Any:
    """Call a function with `adata` in a role."""
    function = FUNCTIONS[name]
    given: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == role:
            given[role] = adata
        elif parameter.name in QUICK:
            given[parameter.name] = QUICK[parameter.name]
        elif parameter.name == "root" or (
            parameter.default is parameter.empty and parameter.kind != parameter.VAR_KEYWORD
        ):
            own = f"{name}.{parameter.name}"
            if parameter.name not in EXAMPLES:
                msg = f"Say in EXAMPLES of {__file__} what `{parameter.name}` of {name} is in the battery."
                raise NotImplementedError(msg)
            given[parameter.name] = EXAMPLES.get(own, EXAMPLES[parameter.name])(adata)
    return function(**(given | changed))


# What stands behind a map, in the order in which a user would call it.
MAKERS = ("tl.geoae", "tl.distortion", "tl.evaluate")


def made(adata: AnnData) -> AnnData:
    """Make maps on it as far as that can be done."""
    for maker in (*MAKERS, "tl.curvature", "tl.density", "tl.project_vectors", "tl.stability"):
        given = {"key_added": "velocity"} if maker == "tl.project_vectors" else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                call(maker, adata, **given)
            except Exception:  # noqa: BLE001 -- the maker itself is judged elsewhere
                continue
    return adata


@cache
def good() -> AnnData:
    """Data with maps, on which nothing is wrong. Do not change: take a copy."""
    return made(raw())


def placed(adata: AnnData) -> AnnData:
    """Return a copy whose cells are placed on the good map, if they can be."""
    adata = adata.to_memory() if adata.isbacked else adata.copy()
    with contextlib.suppress(Exception):
        sg.tl.transform(adata, good())
    return adata


@cache
def path() -> Any:
    return call("tl.geodesic", good())


@cache
def found() -> Any:
    return call("tl.gap", good())


def cell_of(adata: AnnData, i: int) -> str:
    """Return the name of a cell; of one that is not there where there is none."""
    return adata.obs_names[i] if getattr(adata, "n_obs", 0) else "nobody"
