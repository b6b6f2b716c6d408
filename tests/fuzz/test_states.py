"""AnnData to which everything happens, in any order: what is stored fits together, or the package says what does not.

    SCGEOAE_FUZZ_MINUTES=30 python -m pytest -n 0 -s -m slow tests/fuzz

runs it with new seeds until the time is over, and says how many calls that were.
"""

from __future__ import annotations

import functools
import os
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import anndata
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from scipy import sparse

import scgeoae as sg
from scgeoae._anndata.map import read_map
from scgeoae._anndata.representation import stored_representation
from scgeoae._anndata.slots import SIDES, Slots
from scgeoae.geometry import anisotropy, gaussian_curvature, relative_log_area
from scgeoae.geometry.regularizers import REGULARIZERS

from ..checks.calls import FUNCTIONS
from ..checks.judge import COMPUTED, check_error
from ..checks.slots import fingerprints
from .damage import TURNS

MINUTES = float(os.environ.get("SCGEOAE_FUZZ_MINUTES", "0"))
COUNTS: Counter = Counter()
KEYS = ("geoae", "mine", "umap")
NAMES = (*KEYS, "X_geoae", "X_mine", "X_umap", "X_pca", "X", "counts", "group", "spam", "")
JUNK = st.one_of(
    st.sampled_from(NAMES),
    st.sampled_from([
        *(None, True, -1, 0, 1, 7, 2.5, float("nan"), float("inf"), -1e30, b"X", "a/b", "auto", (), [], {}, {"spam": 1.0}),
        *([0, 0], [1.0, float("nan")], ["a", "b"], [[0, 0]], [[1, 2, 3]], "0", "a", ["g0"], np.array(3), np.eye(2), 1j),
        *(np.array(["a"]), np.array([None, 1]), pd.Series([1.0]), pd.DataFrame({"a": [1.0]}), object(), len),
    ]),
)  # fmt: skip
NETWORK = {
    "n_neighbors": st.integers(1, 20),
    "hidden": st.sampled_from([(4,), (), (3, 2), 5]),
    "activation": st.sampled_from(["silu", "elu", "tanh", "softplus"]),
    "n_steps": st.integers(1, 10),
    "batch_size": st.integers(2, 32),
    "learning_rate": st.sampled_from([1e-3, 1e-2, 0.3]),
    "random_state": st.sampled_from([0, 1, None]),
    "device": st.just("cpu"),
    "progress_bar": st.just(False),
    "copy": st.booleans(),
}
REPRESENTATION = {
    "use_rep": st.sampled_from([None, "X", "X_pca", "X_umap", "X_geoae"]),
    "n_pcs": st.sampled_from([None, None, 0, 2, 3]),
    "layer": st.sampled_from([None, None, "counts"]),
}
QUICK = {"n_steps": 5, "hidden": (4,), "n_neighbors": 4, "batch_size": 16, "progress_bar": False}
PLACE = st.one_of(st.sampled_from(["0", "a", "b", "5"]), st.just([0.0, 0.0]))
GENES = st.one_of(st.none(), st.just([]), st.lists(st.sampled_from(["g0", "g1", "g3"]), max_size=2))
CALLS = {
    "tl.geoae": NETWORK
    | REPRESENTATION
    | {
        "n_components": st.sampled_from([1, 2, 2, 3]),
        "regularizer": st.one_of(
            st.sampled_from(sorted(REGULARIZERS)),
            st.sampled_from([None, {"isometric": 0.2, "curvature": 0.01}]),
        ),
        "strength": st.sampled_from([None, 0.0, 0.1, "auto"]),
        "side": st.sampled_from([None, "decoder", "encoder", "both"]),
        "sampling": st.sampled_from(["data", "mixup", "gaussian", "uniform"]),
        "ambient": st.sampled_from([None, "mahalanobis", np.ones(4), np.eye(4)]),
        "neighbors_weight": st.sampled_from([None, 0.0, 1.0]),
        "noise": st.sampled_from([None, 0.0, 0.5]),
        "key_added": st.sampled_from([None, "mine"]),
    },
    "tl.distortion": NETWORK | REPRESENTATION | {
        "basis": st.sampled_from(["X_umap", *KEYS]), "method": st.sampled_from(["decoder", "laplacian"])
    },
    "tl.adopt": NETWORK | REPRESENTATION | {"basis": st.sampled_from(["X_umap", *KEYS])},
    "tl.curvature": {"copy": st.booleans()},
    "tl.decode": {"coordinates": st.sampled_from([[0, 0], [[1, 0], [0, 1.0]]]), "genes": GENES},
    "tl.density": {"groupby": st.sampled_from([None, "group"]), "reference": st.sampled_from([None, "a"]),
                   "copy": st.booleans()},
    "tl.evaluate": REPRESENTATION | {
        "basis": st.sampled_from([None, "umap", ["umap", "geoae"]]), "groupby": st.sampled_from([None, "group"]),
        "local_scores": st.booleans(),
    },
    "tl.geodesic": {"source": PLACE, "target": PLACE, "groupby": st.sampled_from([None, "group"]), "genes": GENES,
                    "n_points": st.integers(3, 9)},
    "tl.geodesic_distances": {"groupby": st.just("group")},
    "tl.metric": {"at": st.sampled_from(["cells", "grid", [[0, 0]]]), "side": st.sampled_from(SIDES),
                  "ambient": st.sampled_from([None, "mahalanobis", "euclidean"]), "n_grid": st.integers(2, 9)},
    "tl.project_vectors": {"vectors": st.sampled_from(["X_pca", "counts", "nothing"]), "side": st.sampled_from(SIDES),
                           "copy": st.booleans()},
    "tl.pseudotime": {"root": PLACE, "groupby": st.sampled_from([None, "group"]), "copy": st.booleans()},
    "tl.rank_genes_by_jacobian": {"groupby": st.just("group"), "genes": GENES, "copy": st.booleans(),
                                  "direction": st.sampled_from([None, "into", "first", [1.0, 0.0]])},
    "tl.residual": {"groupby": st.sampled_from([None, "group"]), "n_regions": st.sampled_from([None, 1, 3]),
                    "n_draws": st.just(5), "copy": st.booleans()},
    "get.card": {"groupby": st.sampled_from([None, "group"])},
    "tl.stability": {"n_fits": st.just(4), "groupby": st.sampled_from([None, "group"]), "copy": st.booleans()},
    "get.model": {},
    "get.scores": {},
    "get.provenance": {},
    "get.metric_tensors": {"side": st.sampled_from(SIDES)},
    "pl.indicatrices": {"side": st.sampled_from([*SIDES, "both"]), "where": st.sampled_from(["data", "grid", "cells"]),
                        "color": st.sampled_from([None, "group", "g0"]), "n_tiles": st.integers(1, 5)},
    "pl.jacobian_heatmap": {"side": st.sampled_from([*SIDES, "both"]), "resolution": st.integers(2, 9)},
    "pl.curvature_heatmap": {"resolution": st.integers(2, 9)},
    "pl.broken_neighborhoods": {},
    "pl.density": {},
    "pl.decoded_genes": {"genes": st.just("g0"), "resolution": st.integers(2, 9)},
    "pl.gene_compass": {"groupby": st.just("group"), "group": st.sampled_from(["a", "b", "z"]), "genes": GENES,
                        "n_genes": st.integers(1, 9)},
    "pl.embedding": {"color": st.sampled_from([None, "group", "g0"]), "outliers": st.booleans()},
    "pl.stability": {"color": st.sampled_from([None, "group"]), "n_tiles": st.integers(1, 5)},
    "pl.vectors": {"vectors": st.just("X_pca"), "color": st.sampled_from([None, "group"]), "n_tiles": st.integers(1, 5)},
    "pl.interactive": {"color": st.sampled_from([None, "group", "g0"])},
    "pl.evaluation": {"sort": st.sampled_from([None, "rank", "basis", "Trust"])},
}  # fmt: skip
MAKERS = ("tl.geoae", "tl.distortion", "tl.adopt")
REQUIRED = {
    "coordinates", "source", "target", "root", "genes", "group", "n_neighbors", "hidden", "n_steps", "batch_size", "device",
    "progress_bar", "resolution", "n_tiles", "n_grid", "n_fits", "vectors",
}  # fmt: skip
# those whose `groupby` has no default
GROUPED = {"tl.geodesic_distances", "tl.rank_genes_by_jacobian", "pl.gene_compass"}
# the rules `place`, `draw_path` and `look_between` call the others
PAIRED = {"tl.transform", "pl.transform", "pl.geodesics", "pl.geodesic_genes", "tl.gap", "pl.gap"}


@st.composite
def arguments(draw: Any, name: str) -> dict[str, Any]:
    """Draw arguments for a function, most of them valid."""
    options = dict(CALLS[name])
    if name.startswith("pl.") and name != "pl.evaluation":
        options["basis"] = st.sampled_from(KEYS)
    elif name not in (*MAKERS, "tl.evaluate"):
        options["key"] = st.sampled_from(KEYS)
    optional = sorted(set(options) - REQUIRED - ({"groupby"} if name in GROUPED else set()))
    given = set(draw(st.lists(st.sampled_from(optional), unique=True, max_size=4))) if optional else set()
    found = {option: draw(values) for option, values in options.items() if option in given or option not in optional}
    # a number of steps, cells or pixels that is too large is no mistake, but takes its time
    spoilt = sorted(set(found) - {"progress_bar", "device", "copy", "local_scores"})
    if spoilt and draw(st.integers(0, 3)) == 0:
        found[draw(st.sampled_from(spoilt))] = draw(JUNK)
    return found


def state_of(adata: AnnData) -> dict[str, Any]:
    """Return a fingerprint of each slot; the colors of a column are Scanpy's way to remember them."""
    return {path: value for path, value in fingerprints(adata).items() if not path.endswith("_colors']")}


@functools.cache
def cells(n: int, n_vars: int, seed: int, adopt: bool) -> AnnData:  # noqa: FBT001
    """Return cells with a map. Take a copy."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, n_vars)) * np.geomspace(3, 0.3, n_vars) + rng.normal(size=n_vars)
    adata = AnnData(x.astype(np.float32))
    adata.var_names = [f"g{i}" for i in range(n_vars)]
    adata.obs["group"] = pd.Categorical(np.resize(["a", "b", "c"], n))
    adata.layers["counts"] = rng.poisson(3, size=x.shape).astype(np.float32)
    axes = np.linalg.svd(x - x.mean(0), full_matrices=False)[2][:4]
    adata.obsm["X_pca"], adata.varm["PCs"] = ((x - x.mean(0)) @ axes.T).astype(np.float32), axes.T
    adata.obsm["X_umap"] = rng.normal(size=(n, 2))
    sg.tl.geoae(adata, use_rep=("X", "X_pca")[seed % 2], **QUICK)
    if adopt:
        sg.tl.distortion(adata, **QUICK)
    return adata


class Lives(RuleBasedStateMachine):
    """One AnnData, what was run on it, and whether that is as it was written."""

    @initialize(
        n=st.sampled_from([10, 24, 60]), n_vars=st.sampled_from([4, 10]), seed=st.integers(0, 3), adopt=st.booleans()
    )
    def start(self, n, n_vars, seed, adopt):
        self.adata = cells(n, n_vars, seed, adopt).copy()
        # keys whose slots, and whose representation, are those that were written
        self.written = {"geoae", "umap"} if adopt else {"geoae"}
        self.encoded, self.storable = set(self.written), True
        COUNTS["machines"] += 1

    def attempt(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a function: it works, or says what is wrong and leaves the AnnData as it was."""
        COUNTS["calls"] += 1
        floor, verb = name.split(".")
        before = state_of(self.adata)
        try:
            with warnings.catch_warnings(action="ignore"):
                return getattr(getattr(sg, floor), verb)(*args, **kwargs)
        except Exception as error:  # noqa: BLE001
            COUNTS["refused"] += 1
            check_error(error)
            after = state_of(self.adata)
            changed = {slot for slot in before | after if before.get(slot) != after.get(slot)}
            assert not changed, f"{name} failed, and changed {changed}"
            return error
        finally:
            plt.close("all")

    @rule(data=st.data(), name=st.sampled_from(MAKERS))
    def fit(self, data, name):
        self.call(data, name)

    @rule(data=st.data(), name=st.sampled_from(["tl.decode", "tl.metric", "tl.evaluate"]))
    def look_up(self, data, name):
        self.call(data, name)

    @rule(
        data=st.data(),
        name=st.sampled_from(
            ["tl.curvature", "tl.density", "tl.pseudotime", "tl.rank_genes_by_jacobian", "tl.stability"]
        ),
    )
    def annotate(self, data, name):
        self.call(data, name)

    @rule(data=st.data(), name=st.sampled_from(["tl.geodesic", "tl.geodesic_distances"]))
    def walk(self, data, name):
        self.call(data, name)

    @rule(data=st.data(), name=st.sampled_from([name for name in CALLS if name.startswith("get.")]))
    def get(self, data, name):
        self.call(data, name)

    @rule(data=st.data(), name=st.sampled_from([name for name in CALLS if name.startswith("pl.")]))
    def draw(self, data, name):
        self.call(data, name)

    def call(self, data, name):
        kwargs = data.draw(arguments(name), label=name)
        if name.startswith("pl.") and name != "pl.interactive":
            kwargs["show"] = False
        first = {"coordinates", "source", "target", "root", "group"} | ({"groupby"} if name in GROUPED else set())
        if name == "pl.decoded_genes":
            first.add("genes")
        args = [kwargs.pop(option) for option in list(kwargs) if option in first]
        before = state_of(self.adata)
        # what is written to becomes a copy first, and that has the masks of arrays which anndata's views lack
        copied = state_of(self.adata.copy()) if self.adata.is_view else before
        found = self.attempt(name, self.adata, *args, **kwargs)
        if isinstance(found, Exception):
            return
        if kwargs.get("copy"):
            assert state_of(self.adata) == before, "copy=True changed its argument"
            self.adata = found
        after = state_of(self.adata)
        changed = {path for path in before | after if after.get(path) not in (before.get(path), copied.get(path))}
        if name in MAKERS:
            key = kwargs.get("key_added") or "geoae" if name == "tl.geoae" else kwargs.get("basis", "X_umap")
            key = key.removeprefix("X_")
        else:
            key = kwargs.get("key_added") or kwargs.get("key", "geoae").removeprefix("X_")
        if name.startswith(("pl.", "get.")) or (found is not None and not kwargs.get("copy") and name != "tl.evaluate"):
            assert not changed, f"{name} changed {sorted(changed)}"
        # the rows of a map that was replaced go from a table of several
        allowed = (*COMPUTED, "uns['evaluation']") if name in MAKERS else COMPUTED
        stray = [path for path in changed if key not in path and not path.startswith(allowed)]
        assert name == "tl.evaluate" or not stray, f"{name} of {key} changed {stray}"
        if name == "tl.geoae" or (name in MAKERS and not read_map(self.adata, key).is_own):
            self.written.add(key)
            self.encoded.add(key)
            # the map that was replaced may be what another was made of
            self.changed(f"X_{key}", but=key)

    @rule(key=st.sampled_from(KEYS), start=PLACE, end=PLACE, genes=GENES)
    def draw_path(self, key, start, end, genes):
        path = self.attempt("tl.geodesic", self.adata, start, end, key=key, groupby="group", genes=genes, n_points=5)
        if isinstance(path, Exception):
            return
        before = state_of(self.adata)
        self.attempt("pl.geodesics", self.adata, path, basis=key, show=False)
        self.attempt("pl.geodesic_genes", self.adata, path, show=False)
        assert state_of(self.adata) == before

    @rule(key=st.sampled_from(KEYS), start=st.sampled_from(["a", "z"]), end=st.sampled_from(["b", ["b", "c"], ["a"]]))
    def look_between(self, key, start, end):
        before = state_of(self.adata)
        found = self.attempt("tl.gap", self.adata, start, end, key=key, groupby="group")
        if not isinstance(found, Exception):
            self.attempt("pl.gap", self.adata, found, show=False)
        assert state_of(self.adata) == before

    @rule(data=st.data(), key=st.sampled_from(KEYS), use_rep=st.sampled_from([None, None, "X", "X_pca"]))
    def place(self, data, key, use_rep):
        rows = data.draw(st.lists(st.integers(0, self.adata.n_obs - 1), min_size=1, max_size=9))
        columns = data.draw(st.permutations(range(self.adata.n_vars)))
        new = self.adata[rows, columns[: data.draw(st.integers(1, self.adata.n_vars))]].copy()
        new.obs_names_make_unique()
        missing = data.draw(st.sampled_from(["raise", "mean"]))
        options = {"key": key, "use_rep": use_rep, "missing": missing}
        if isinstance(self.attempt("tl.transform", new, self.adata, **options), Exception):
            return
        self.attempt("pl.transform", new, self.adata, basis=key, show=False)
        if key in self.encoded and use_rep is None and list(columns) == sorted(columns) and new.n_vars > 3:
            self.adata, self.storable = new, True
            self.written, self.encoded = {key}, {key}

    @rule(data=st.data(), view=st.booleans())
    def subset_cells(self, data, view):
        n = self.adata.n_obs
        rows = data.draw(st.lists(st.integers(0, n - 1), min_size=min(3, n), unique=True))
        self.adata = self.adata[rows] if view else self.adata[rows].copy()

    @rule(data=st.data())
    def subset_genes(self, data):
        kept = data.draw(st.lists(st.integers(0, self.adata.n_vars - 1), min_size=1, unique=True))
        self.adata = self.adata[:, kept].copy()
        self.changed("X")

    @rule(
        data=st.data(),
        uns_merge=st.sampled_from([None, "same", "unique", "first"]),
        pairwise=st.booleans(),
        join=st.sampled_from(["inner", "outer"]),
    )
    def concatenate(self, data, uns_merge, pairwise, join):
        if self.adata.n_obs < 6 or not self.storable:
            return
        middle = data.draw(st.integers(3, self.adata.n_obs - 3))
        parts = [self.adata[:middle], self.adata[middle:]]
        with warnings.catch_warnings(action="ignore"):
            self.adata = anndata.concat(parts, uns_merge=uns_merge, pairwise=pairwise, join=join, merge="same")
        if uns_merge is None:
            self.encoded.clear()

    @rule(form=st.sampled_from(["h5ad", "h5ad", "h5ad", "zarr"]))
    def store(self, form):
        if not self.storable or (form == "zarr" and not MINUTES):
            return
        with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
            path = Path(folder) / f"cells.{form}"
            with warnings.catch_warnings(action="ignore"):
                getattr(self.adata, f"write_{form}")(path)
                self.adata = getattr(anndata, f"read_{form}")(path)

    @rule(old=st.sampled_from(KEYS), new=st.sampled_from(KEYS), whole=st.booleans())
    def rename(self, old, new, whole):
        if old == new or self.adata.is_view:
            return
        moved = f"X_{old}" in self.adata.obsm
        for attribute in ("obsm", "obs", "obsp", "uns") if whole else ("obsm",):
            slots = getattr(self.adata, attribute)
            if whole:
                for name in [name for name in slots if name.removeprefix("X_").startswith(new)]:
                    del slots[name]
            for name in [name for name in slots if name.removeprefix("X_").startswith(old)]:
                slots[name.replace(old, new, 1)] = slots[name]
                del slots[name]
        for keys in (self.written, self.encoded):
            is_there = old in keys
            keys -= {old, new}
            if whole and is_there and moved:
                keys.add(new)
        self.changed(f"X_{old}")
        self.changed(f"X_{new}", but=new)

    @rule(names=st.sampled_from(["same", "numbers", "unique", "others"]))
    def rename_cells(self, names):
        if self.adata.is_view:
            self.adata = self.adata.copy()
        n = self.adata.n_obs
        with warnings.catch_warnings(action="ignore"):
            if names == "unique":
                self.adata.obs_names_make_unique()
            else:
                given = {"same": ["0"] * n, "numbers": np.arange(n), "others": [f"cell {i}" for i in range(n)]}
                self.adata.obs_names = given[names]
        # a file needs texts
        self.adata.obs_names = self.adata.obs_names.astype(str)

    @rule(data=st.data(), attribute=st.sampled_from(["obsm", "obsp", "obs", "uns", "varm", "layers"]))
    def delete(self, data, attribute):
        if self.adata.is_view or not len(
            names := [name for name in getattr(self.adata, attribute) if name is not None]
        ):
            return
        name = data.draw(st.sampled_from(sorted(names)))
        del getattr(self.adata, attribute)[name]
        self.forget(name)

    @rule(data=st.data(), attribute=st.sampled_from(["obsm", "obs", "obsp", "layers", "X"]))
    def damage(self, data, attribute):
        if self.adata.is_view:
            self.adata = self.adata.copy()
        slots = {"X": self.adata.X} if attribute == "X" else getattr(self.adata, attribute)
        if not len(names := [name for name in slots if name is not None]):
            return
        name, turn = data.draw(st.sampled_from(sorted(names))), data.draw(st.sampled_from(sorted(TURNS)))
        value = slots[name]
        if sparse.issparse(value) or isinstance(value, pd.Series):
            value = value.toarray() if sparse.issparse(value) else value.to_numpy()
        try:
            with np.errstate(all="ignore"):
                value = TURNS[turn](value)
            if np.shape(value)[:1] != (self.adata.n_obs,) or value.size > 10**5:
                return  # which an AnnData does not hold
            with warnings.catch_warnings(action="ignore"):
                if attribute == "X":
                    self.adata.X = value
                else:
                    slots[name] = value
        except (TypeError, ValueError, AttributeError, IndexError, OverflowError, NotImplementedError):
            return
        self.storable = False
        self.forget(name)

    @rule(
        scale=st.sampled_from([1e-12, -1.0, 1e12]), name=st.sampled_from(["X", "X_pca", "X_umap", "X_geoae", "counts"])
    )
    def rescale(self, scale, name):
        if self.adata.is_view:
            self.adata = self.adata.copy()
        slots = self.adata.layers if name == "counts" else self.adata.obsm
        if name == "X" and isinstance(self.adata.X, np.ndarray) and self.adata.X.dtype.kind == "f":
            self.adata.X = self.adata.X * np.float32(scale)
        elif name in slots and isinstance(slots[name], np.ndarray) and slots[name].dtype.kind == "f":
            slots[name] = slots[name] * np.float32(scale)
        self.forget(name)

    @rule()
    def make_sparse(self):
        # SciPy has no matrices of float16
        if isinstance(self.adata.X, np.ndarray) and self.adata.X.dtype in ("f4", "f8") and not self.adata.is_view:
            self.adata.X = sparse.csr_matrix(self.adata.X)

    def changed(self, slot: str, but: str | None = None) -> None:
        """Note that what was made of a slot can no longer be made again."""
        for key in list(self.encoded - {but}):
            entry = f"{key}_distortion" if f"{key}_distortion" in self.adata.uns else key
            params = self.adata.uns[entry]["params"] if entry in self.adata.uns else {}
            if slot in (params.get("use_rep"), params.get("layer")) or (slot == "X" and params.get("use_rep") == "X"):
                self.encoded.discard(key)

    def forget(self, slot: str) -> None:
        """Note that a slot is no longer what was written."""
        self.changed(slot)
        for key in KEYS:
            if slot.removeprefix("X_").startswith(key):
                self.written.discard(key)
                self.encoded.discard(key)

    @invariant()
    def slots_agree(self):
        COUNTS["steps"] += 1
        for key in self.written:
            check_slots(self.adata, key)
        for key in self.encoded:
            check_model(self.adata, key)


def check_slots(adata: AnnData, key: str) -> None:
    """Fail unless the slots of a key agree with each other."""
    z = np.asarray(adata.obsm[f"X_{key}"], dtype=np.float64)
    assert np.isfinite(z).all()
    for side in SIDES:
        slots = Slots(key, side)
        if slots.metric not in adata.obsm:
            continue
        metric = sg.get.metric_tensors(adata, key=key, side=side)
        assert metric.shape == (len(z), z.shape[1], z.shape[1])
        assert np.isfinite(metric).all()
        largest = np.abs(metric).max(initial=0)
        assert np.linalg.eigvalsh(metric.astype(np.float64)).min() >= -1e-5 * largest
        tensors = torch.from_numpy(metric)
        shift = adata.obs[slots.log_area].to_numpy() - relative_log_area(tensors).numpy()
        assert np.ptp(shift) < 1e-3, "log areas are not those of the tensors"
        np.testing.assert_allclose(adata.obs[slots.anisotropy], anisotropy(tensors).numpy(), atol=1e-4)
    slots = Slots(key)
    if slots.metric in adata.obsp:
        metric = sg.get.metric_tensors(adata, key=key).astype(np.float64)
        edges = adata.obsp[slots.metric].tocoo()
        delta = z[edges.col] - z[edges.row]
        expected = np.einsum("na,nab,nb->n", delta, metric[edges.row], delta)
        np.testing.assert_allclose(edges.data, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max(initial=1e-30))
        for matrix in (adata.obsp[slots.distances], adata.obsp[slots.connectivities]):
            assert abs(matrix - matrix.T).max() <= 1e-6 * abs(matrix).max()
            assert np.isfinite(matrix.data).all()
            assert matrix.data.min(initial=0) >= 0
        assert adata.obsp[slots.connectivities].data.max(initial=0) <= 1 + 1e-6


def check_model(adata: AnnData, key: str) -> None:
    """Fail unless the model's metric is the stored one, and it encodes cells without places of their own to the map."""
    m = read_map(adata, key)
    if not m.has_model:
        return
    model, z = sg.get.model(adata, key=key), torch.from_numpy(np.array(adata.obsm[f"X_{key}"], dtype=np.float32))
    stored = torch.from_numpy(sg.get.metric_tensors(adata, key=key))
    unit = stored.abs().max()
    assert (model.metric(z) - stored).abs().max() <= 1e-2 * unit, "tensors are not those of the model"
    if m.is_own and not m.params.get("refine", False):
        x = stored_representation(adata, m.params, None, model.n_features).dense(may_be_equal=True)
        encoded = model.encode(torch.from_numpy(np.array(x, dtype=np.float32)))
        assert (encoded - z).abs().max() <= 1e-4 * max(float(z.abs().max()), float(model.unit)), "encodes elsewhere"
    slots = Slots(key)
    if slots.gaussian_curvature in adata.obs:
        jet = model.double().jet(z.double(), order=2)
        found = torch.from_numpy(adata.obs[slots.gaussian_curvature].to_numpy(dtype=np.float64))
        bound = 1e-2 * float(found.abs().max()) + 1e-6
        assert (gaussian_curvature(jet) - found).abs().max() <= bound, "curvatures are of another map"


# what anndata and pandas say of joined and renamed data
pytestmark = pytest.mark.filterwarnings("ignore")
SETTINGS = settings(
    deadline=None, max_examples=8, stateful_step_count=10, suppress_health_check=list(HealthCheck), print_blob=False
)
TestLives = Lives.TestCase
TestLives.settings = SETTINGS


def test_every_function_is_called():
    assert CALLS.keys() | PAIRED == FUNCTIONS.keys()


@pytest.mark.slow
@pytest.mark.skipif(not MINUTES, reason="SCGEOAE_FUZZ_MINUTES is not set")
def test_lives_for_minutes():
    end = time.monotonic() + 60 * MINUTES
    long = settings(SETTINGS, max_examples=10, stateful_step_count=40, derandomize=False, database=None)
    try:
        while time.monotonic() < end:
            run_state_machine_as_test(Lives, settings=long)
    finally:
        print(dict(COUNTS))  # noqa: T201
