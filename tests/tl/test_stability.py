from __future__ import annotations

import re

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

import scgeoae as sg
from scgeoae._anndata.map import read_map
from scgeoae._anndata.recipe import recipe_of
from scgeoae._anndata.thinning import thinning_of
from scgeoae.graphs import nearest_others
from scgeoae.training.refit import refit

from ..checks.slots import fingerprints
from ..for_each import for_each

QUICK = {"n_steps": 5, "hidden": (8, 8), "progress_bar": False}
SLOTS = {
    ("obsm", "geoae_stability"), ("obsp", "geoae_stability"), ("uns", "geoae_stability"),
    ("obs", "geoae_uncertainty"), ("obs", "geoae_stable_neighbors"),
}  # fmt: skip


@pytest.fixture(scope="module")
def mapped():
    """60 cells in three groups, and one cell that is a group. Do not change: take a copy."""
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1, 2], 20)
    x = rng.normal(size=(60, 8)) * [1, 1, 0.3, 0.3, 0.1, 0.1, 0.1, 0.1]
    x[:, :2] += np.array([[0, 0], [4, 0], [0, 6]])[group]
    adata = anndata.AnnData(x.astype(np.float32))
    adata.obs["group"] = pd.Categorical(np.array(["a", "b", "c"])[group])
    adata.obs["lonely"] = adata.obs["group"].cat.rename_categories(str).cat.add_categories("d")
    adata.obs.loc["0", "lonely"] = "d"
    adata.obs["two"] = np.where(group == 0, "a", "b")
    adata.obsm["X_start"] = x[:, :2].copy()
    sg.tl.geoae(adata, **QUICK)
    return adata


@pytest.fixture(scope="module")
def measured(mapped):
    adata = mapped.copy()
    sg.tl.stability(adata, n_fits=4, groupby="group", progress_bar=False)
    return adata


@pytest.fixture(scope="module")
def counted():
    """Counts of 80 cells, their principal components and a map."""
    rng = np.random.default_rng(1)
    rates = rng.gamma(1, 3, size=(2, 30))[np.arange(80) % 2] * rng.uniform(0.5, 2, size=(80, 1))
    adata = anndata.AnnData(rng.poisson(rates).astype(np.float32))
    adata.layers["counts"] = adata.X.copy()
    sc.pp.normalize_total(adata, target_sum=100)
    sc.pp.log1p(adata)
    sc.pp.pca(adata, n_comps=5)
    sg.tl.geoae(adata, use_rep="X_pca", **QUICK)
    return adata


def test_what_is_stored(mapped, measured):
    before = {(name, key) for name in ("obs", "obsm", "obsp", "uns") for key in getattr(mapped, name)}
    after = {(name, key) for name in ("obs", "obsm", "obsp", "uns") for key in getattr(measured, name)}
    assert after - before == SLOTS
    upper = measured.obsm["geoae_stability"]
    assert (upper.dtype, upper.shape) == (np.float32, (60, 3))
    shape = upper[:, [0, 1, 1, 2]].reshape(60, 2, 2)
    longest = np.sqrt(np.linalg.eigvalsh(shape.astype(float)))
    assert longest.min() > 0
    np.testing.assert_allclose(measured.obs["geoae_uncertainty"], longest[:, 1], rtol=1e-4)
    graph = measured.obsp["geoae_stability"]
    assert (graph.dtype, graph.format, graph.shape) == (np.float32, "csr", (60, 60))
    near = nearest_others(measured.obsm["X_geoae"], 15)
    assert all(set(graph[i].indices) == set(near[i]) for i in range(60))
    assert set(np.unique(graph.data)) <= {0, 0.25, 0.5, 0.75, 1}
    shares = graph.data.reshape(60, 15)
    np.testing.assert_allclose(measured.obs["geoae_stable_neighbors"], (shares == 1).mean(1))
    record = measured.uns["geoae_stability"]
    assert record["params"] == {"n_fits": 4, "groupby": "group", "random_state": 0}
    assert record["coverage"].shape == (4,)
    order = record["order"]
    assert list(order) == ["group", "nearer", "farther", "distance", "distance_farther", "share"]
    # far apart by construction: a is nearer to b than to c on each refit
    row = order.set_index(["group", "nearer", "farther"]).loc[("a", "b", "c")]
    assert row["share"] == 1
    assert row["distance"] < row["distance_farther"]
    assert len(order) == 3


def test_the_same_seed_gives_the_same_bits_and_another_does_not(mapped, measured):
    again, other = (sg.tl.stability(mapped, n_fits=4, progress_bar=False, random_state=s, copy=True) for s in (0, 1))
    np.testing.assert_array_equal(again.obsm["geoae_stability"], measured.obsm["geoae_stability"])
    assert (other.obsm["geoae_stability"] != measured.obsm["geoae_stability"]).any()


def test_a_group_of_one_cell_has_distances(mapped):
    order = sg.tl.stability(mapped, n_fits=4, groupby="lonely", progress_bar=False, copy=True).uns["geoae_stability"][
        "order"
    ]
    assert len(order) == 4 * 3
    z, of_a = mapped.obsm["X_geoae"].astype(float), (mapped.obs["lonely"] == "a").to_numpy()
    found = order[(order["group"] == "d") & (order["nearer"] == "a")]["distance"].iloc[0]
    assert found == pytest.approx(np.linalg.norm(z[0] - z[of_a].mean(0)), rel=1e-5)


# What a map can be made with, each of which changes it.
RUNS = {
    "encoder": {"refine": False, "noise": 0.1},
    "several": {"regularizer": {"isometric": 0.1, "volume": 0.1}, "ambient": np.linspace(1, 2, 8), "n_components": 1},
}
MORE_RUNS = {
    "defaults": {},
    "denoising": {"regularizer": "denoising", "strength": 0.3, "learning_rate": 1e-3},
    "none": {"regularizer": None, "use_rep": "X_start", "n_components": 1},
    "equal room": {"equal_room": 0.5, "tsne_weight": 0.1, "perplexity": 9, "activation": "tanh", "batch_size": 16},
    "both": {"regularizer": "conformal", "side": "both"},
    "mahalanobis": {"regularizer": "volume", "ambient": "mahalanobis", "sampling": "mixup", "neighbors_scale": 0.5},
    "auto": {"strength": "auto", "tolerance": 1.3},
    "start": {"init_pos": "X_start"},
    "isomap": {"init_pos": "isomap"},
}


@for_each("name", RUNS)
def test_the_stored_settings_repeat_the_run_to_the_bit(mapped, tmp_path, name):
    check_repeated(mapped.copy(), tmp_path / "run.h5ad", **RUNS[name])


@pytest.mark.slow
@for_each("name", MORE_RUNS)
def test_more_stored_settings_repeat_the_run_to_the_bit(mapped, tmp_path, name):
    check_repeated(mapped.copy(), tmp_path / "run.h5ad", **MORE_RUNS[name])


def check_repeated(adata, path, **given):
    """Make a map, store what it was made with, and make it again from all cells and with the same seed."""
    sg.tl.geoae(adata, **QUICK | given, random_state=5)
    anndata.AnnData(uns={"params": adata.uns["geoae"]["params"]}).write_h5ad(path)
    adata.uns["geoae"]["params"] = anndata.read_h5ad(path).uns["params"]
    m = read_map(adata, "geoae")
    recipe, rows = recipe_of(m), np.arange(60)
    z = refit(m.representation.matrix, rows, recipe.settings(5), init_pos=recipe.start(rows, 5), ambient=recipe.ambient)
    np.testing.assert_array_equal(z, adata.obsm["X_geoae"])


@for_each("refine", [True, False])
def test_cells_left_out_are_placed_as_new_cells(mapped, refine):
    half = np.arange(0, 60, 2)
    settings = recipe_of(read_map(mapped, "geoae")).settings(3)
    known = mapped[half].copy()
    sg.tl.geoae(known, refine=refine, random_state=3, **QUICK)
    settings = recipe_of(read_map(known, "geoae")).settings(3)
    z = refit(mapped.X, half, settings)
    np.testing.assert_array_equal(z[half], known.obsm["X_geoae"])
    new = mapped[1::2].copy()
    sg.tl.transform(new, known)
    np.testing.assert_allclose(z[1::2], new.obsm["X_geoae"], atol=1e-4)


def test_thinned_counts_lead_to_the_representation(counted):
    found = thinning_of(read_map(counted, "geoae"), "counts")
    np.testing.assert_allclose(found.project(found.counts), counted.obsm["X_pca"], atol=1e-4)
    # each molecule that was counted is kept or not
    half = sparse.csr_matrix(counted.layers["counts"])
    half.data = np.random.default_rng(0).binomial(half.data.astype(int), 0.5)
    half = half.toarray()
    normalized = np.log1p(100 * half / half.sum(1, keepdims=True))
    expected = (normalized - counted.X.mean(0)) @ counted.varm["PCs"]
    np.testing.assert_allclose(found.draw(np.random.default_rng(0)), expected, atol=1e-3)


@pytest.mark.slow
def test_the_noise_of_counting_adds_to_that_of_the_cells(counted):
    cells = sg.tl.stability(counted, n_fits=4, progress_bar=False, copy=True)
    both = sg.tl.stability(counted, n_fits=4, counts="counts", progress_bar=False, copy=True)
    assert both.uns["geoae_stability"]["params"]["counts"] == "counts"
    assert both.obs["geoae_uncertainty"].median() > cells.obs["geoae_uncertainty"].median()


def _without(adata, *names):
    for name in names:
        del adata.uns["geoae"]["params"][name]


def _set(adata, **changed):
    adata.uns["geoae"]["params"] |= changed


def _placed(adata):
    known = adata.copy()
    sg.tl.transform(adata, known)


def _graph(adata):
    adata.obsp["distances"] = sparse.csr_matrix(np.ones((60, 60), dtype=np.float32) - np.eye(60, dtype=np.float32))
    adata.uns["neighbors"] = {"distances_key": "distances", "params": {"use_rep": "X", "metric": "cosine"}}


# What is wrong, the call, and the error.
WRONG = {
    "no map": (lambda a: a.obsm.pop("X_geoae"), {}, KeyError, r"run sg.tl.geoae\(adata\) first"),
    "no uns": (lambda a: a.uns.pop("geoae"), {}, KeyError, r"Did not find adata.uns\['geoae'\]"),
    "no settings": (lambda a: a.uns["geoae"].pop("params"), {}, ValueError, "'params' is missing"),
    "no setting": (lambda a: _without(a, "batch_size"), {}, ValueError, "'batch_size' is missing.*Run sg.tl.geoae"),
    "bad setting": (lambda a: _set(a, activation="spam"), {}, ValueError, "Expected `activation`.*Run sg.tl.geoae"),
    "two fits": (lambda _: None, {"n_fits": 2}, ValueError, "Expected `n_fits` to be an integer >= 4, found 2"),
    "odd fits": (lambda _: None, {"n_fits": 5}, ValueError, "Expected `n_fits` to be even, found 5"),
    "column": (lambda _: None, {"groupby": "spam"}, KeyError, "Did not find 'spam' in adata.obs"),
    "two groups": (lambda _: None, {"groupby": "two"}, ValueError, "has 2 groups"),
    "layer": (lambda _: None, {"counts": "spam"}, KeyError, "Did not find 'spam' in adata.layers"),
    "signed": (lambda a: a.layers.update(c=a.X.copy()), {"counts": "c"}, ValueError, "needs a representation"),
    "changed": (lambda a: a.X.__imul__(3), {}, ValueError, "is no longer what"),
    "placed": (_placed, {}, ValueError, "placed on a map of other cells"),
    "function": (lambda a: _set(a, ambient="density"), {}, ValueError, "function 'density' as `ambient`"),
    "array": (lambda a: _set(a, init_pos="array"), {}, ValueError, "are not stored"),
    "start": (lambda a: _set(a, init_pos="X_gone"), {}, KeyError, "Did not find 'X_gone' in adata.obsm"),
    "itself": (lambda a: _set(a, init_pos="X_geoae"), {}, ValueError, "are not stored"),
    "paga": (lambda a: _set(a, init_pos="paga"), {}, KeyError, r"adata.uns\['paga'\]"),
    "interrupted": (lambda a: _set(a, interrupted_at="step 3 of 5"), {}, ValueError, "interrupted at step 3 of 5"),
    "graph": (lambda a: _set(a, neighbors_key="mine"), {}, ValueError, r"neighbor graph in adata.uns\['mine'\]"),
    "metric": (lambda a: (_graph(a), _set(a, refine=True)), {}, ValueError, r"adata.uns\['neighbors'\]"),
    "flag": (lambda _: None, {"progress_bar": np.ones(2)}, TypeError, "`progress_bar`"),
}  # fmt: skip


@for_each("name", WRONG)
@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_repeated_is_said_and_nothing_is_written(mapped, name):
    change, given, kind, words = WRONG[name]
    adata = mapped.copy()
    change(adata)
    before = fingerprints(adata)
    with pytest.raises(kind, match=words):
        sg.tl.stability(adata, **{"n_fits": 4, "progress_bar": False} | given)
    assert fingerprints(adata) == before


def test_a_column_with_a_label_for_each_cell_is_no_grouping(mapped, monkeypatch):
    monkeypatch.setattr("scgeoae.tl._stability.MAX_GROUPS", 59)
    adata = mapped.copy()
    adata.obs["barcode"] = adata.obs_names
    with pytest.raises(ValueError, match=r"has 60 groups.* with 59 groups at most"):
        sg.tl.stability(adata, n_fits=4, groupby="barcode", progress_bar=False)


@for_each("rows, words", [(slice(0, 50), "has 50 cells, and the map .* was made of 60"), (slice(0, 3), "has 3 cells")])
def test_a_part_of_the_cells_is_not_enough(mapped, rows, words):
    with pytest.raises(ValueError, match=words):
        sg.tl.stability(mapped[rows].copy(), progress_bar=False)


def test_too_few_cells(small):
    few = small[:6].copy()
    sg.tl.geoae(few, **QUICK)
    with pytest.raises(ValueError, match="has 6 cells, and a map of half of them needs 4"):
        sg.tl.stability(few, progress_bar=False)


@for_each("key", ["umap", "laplacian", "unmeasured"])
def test_maps_of_others_are_named(mapped, key):
    adata = mapped.copy()
    adata.obsm[f"X_{key}"] = adata.obsm["X_start"]
    if key != "unmeasured":
        sg.tl.distortion(adata, basis=key, **QUICK, method="decoder" if key == "umap" else "laplacian")
    with pytest.raises(ValueError, match=re.escape(f"adata.obsm['X_{key}'] was made by another method")):
        sg.tl.stability(adata, key=key, progress_bar=False)


@for_each("layer, words", [("halves", "whole numbers >= 0"), ("others", "does not lead to adata.obsm")])
def test_counts_of_something_else(counted, layer, words):
    adata = counted.copy()
    rng = np.random.default_rng(0)
    adata.layers["halves"] = adata.layers["counts"] / 2
    adata.layers["others"] = rng.permuted(adata.layers["counts"], axis=1)
    with pytest.raises(ValueError, match=words):
        sg.tl.stability(adata, counts=layer, progress_bar=False)


def test_an_interrupt_between_refits_leaves_all_as_it_was(mapped, monkeypatch):
    adata, calls = mapped.copy(), []

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return refit(*args, **kwargs)

    monkeypatch.setattr("scgeoae.tl._stability.refit", interrupted)
    before = fingerprints(adata)
    with pytest.raises(KeyboardInterrupt):
        sg.tl.stability(adata, n_fits=4, progress_bar=False)
    assert fingerprints(adata) == before


def test_a_new_map_removes_the_stability_of_the_old_one(measured):
    adata = measured.copy()
    sg.tl.geoae(adata, key_added="other", **QUICK)
    assert all(name in getattr(adata, attribute) for attribute, name in SLOTS)
    sg.tl.geoae(adata, random_state=1, **QUICK)
    assert not any(name in getattr(adata, attribute) for attribute, name in SLOTS)


def test_files_keep_it_and_cells_take_it_with_them(measured, tmp_path):
    measured.write_h5ad(tmp_path / "measured.h5ad")
    read = anndata.read_h5ad(tmp_path / "measured.h5ad")[::-2].copy()
    np.testing.assert_array_equal(read.obsm["geoae_stability"], measured.obsm["geoae_stability"][::-2])
    pd.testing.assert_frame_equal(
        read.uns["geoae_stability"]["order"].astype({"share": float}),
        measured.uns["geoae_stability"]["order"],
        check_dtype=False,
        check_index_type=False,
    )
