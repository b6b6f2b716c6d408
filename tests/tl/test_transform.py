from __future__ import annotations

import subprocess
import sys

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from anndata import AnnData
from scipy import sparse
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

import scgeoae as sg
from scgeoae import _matrix
from scgeoae._matrix import dense
from scgeoae.quality import outlier_detection

from ..for_each import for_each


def counts(n=300, g=80, seed=0):
    """Cells of two kinds along a line, with counts."""
    rng = np.random.default_rng(seed)
    t, kind = rng.uniform(size=n), rng.integers(2, size=n)
    profile = rng.gamma(1.0, 2.0, size=(4, g))
    rate = (
        profile[0] * t[:, None] + profile[1] * (1 - t[:, None]) + np.where(kind[:, None] == 0, profile[2], profile[3])
    )
    adata = AnnData(sparse.csr_matrix(rng.poisson(3 * rate).astype(np.float32)))
    adata.var_names = [f"gene{i}" for i in range(g)]
    adata.obs["kind"] = kind.astype(str)
    adata.obs["t"] = t
    sc.pp.normalize_total(adata, target_sum=1e3)
    sc.pp.log1p(adata)
    return adata


def mapped(adata, *, scale=False, **kwargs):
    if scale:
        adata.X = adata.X.toarray()
        sc.pp.scale(adata, max_value=3)
    sc.pp.pca(adata, n_comps=10)
    sg.tl.geoae(adata, progress_bar=False, n_steps=100, **kwargs)
    return adata


@pytest.fixture(scope="module")
def pair():
    """A reference with a map and new cells of the same kind. Do not change: take copies."""
    adata = counts(400)
    return mapped(adata[:300].copy()), adata[300:].copy()


def test_the_cells_of_the_map_land_where_they_are(pair):
    known, _ = pair
    again = known.copy()
    for name in ("X_pca", "X_geoae"):
        del again.obsm[name]
    sg.tl.transform(again, known)
    diameter = np.ptp(known.obsm["X_geoae"], axis=0).max()
    assert np.abs(again.obsm["X_geoae"] - known.obsm["X_geoae"]).max() < 1e-4 * diameter
    np.testing.assert_allclose(again.obsm["X_pca"], known.obsm["X_pca"], atol=1e-4)
    for name in ("log_area", "anisotropy", "log_area_encoder", "reconstruction_error"):
        np.testing.assert_allclose(again.obs[f"geoae_{name}"], known.obs[f"geoae_{name}"], rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(again.obsm["geoae_metric"], known.obsm["geoae_metric"], rtol=1e-3, atol=1e-3)
    # which belong there
    assert again.obs["geoae_outlier"].mean() <= 0.02
    assert again.obs["geoae_outlier"].equals(again.obs["geoae_outlier_score"] > 1)


def test_slots_and_what_is_not_touched(pair):
    known, new = (adata.copy() for adata in pair)
    before = known.copy()
    assert sg.tl.transform(new, known) is None
    assert set(new.obsm) == {"X_pca", "X_geoae", "geoae_metric", "geoae_metric_encoder"}
    assert not new.obsp
    assert set(new.uns["geoae"]) == {"params", "scores", "model"}
    assert {new.obsm[name].dtype for name in new.obsm} == {np.dtype(np.float32)}
    assert new.obs["geoae_outlier"].dtype == bool
    assert list(known.obsm) == list(before.obsm)
    assert np.array_equal(known.obsm["X_geoae"], before.obsm["X_geoae"])
    copied = sg.tl.transform(pair[1], known, copy=True)
    assert "X_geoae" not in pair[1].obsm
    assert np.array_equal(copied.obsm["X_geoae"], new.obsm["X_geoae"])


def test_a_cell_lands_on_the_same_place_in_any_company_and_any_order_of_genes(pair):
    known, new = pair
    whole = sg.tl.transform(new, known, copy=True)
    rng = np.random.default_rng(0)
    shuffled = new[rng.permutation(new.n_obs)[:20], rng.permutation(new.n_vars)].copy()
    sg.tl.transform(shuffled, known)
    np.testing.assert_allclose(
        shuffled.obsm["X_geoae"], whole[shuffled.obs_names].obsm["X_geoae"], rtol=1e-4, atol=1e-3
    )
    one = sg.tl.transform(new[:1].copy(), known, copy=True)
    np.testing.assert_allclose(one.obsm["X_geoae"], whole.obsm["X_geoae"][:1], rtol=1e-4, atol=1e-3)
    # among a third of the cells of the reference it settles near by
    some = known[::3].copy()
    with pytest.raises(ValueError, match=r"adata has 100 cells, and the map in .* was made of 300"):
        sg.tl.transform(new, some)
    subset = sg.tl.transform(new, some, allow_subset=True, copy=True)
    away = np.linalg.norm(subset.obsm["X_geoae"] - whole.obsm["X_geoae"], axis=1)
    assert np.median(away) < 0.05 * np.ptp(known.obsm["X_geoae"], axis=0).max()


def test_the_encoder_needs_only_some_cells_of_the_reference(pair):
    known, new = pair
    known = known.copy()
    sg.tl.geoae(known, refine=False, n_steps=20, progress_bar=False)
    whole = sg.tl.transform(new, known, copy=True)
    subset = sg.tl.transform(new, known[::3].copy(), allow_subset=True, copy=True)
    np.testing.assert_allclose(subset.obsm["X_geoae"], whole.obsm["X_geoae"], rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(subset.obs["geoae_log_area"], whole.obs["geoae_log_area"], atol=1e-3)


@for_each("form", ["dense", "csc", "float64", "view", "layer"])
def test_forms_of_the_new_cells(pair, form):
    known, new = pair
    expected = sg.tl.transform(new, known, copy=True).obsm["X_geoae"]
    kwargs = {}
    other = new.copy()
    if form == "dense":
        other.X = other.X.toarray()
    elif form == "csc":
        other.X = other.X.tocsc()
    elif form == "float64":
        other.X = other.X.astype(np.float64)
    elif form == "layer":
        other.layers["log"], kwargs = other.X.copy(), {"layer": "log"}
        other.X = sparse.csr_matrix(other.shape)
    elif form == "view":
        other = other[:]
    found = sg.tl.transform(other, known, copy=True, **kwargs).obsm["X_geoae"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_scaling_of_the_reference_is_repeated():
    adata = counts(400)
    known, new = adata[:300].copy(), adata[300:].copy()
    mapped(known, scale=True)
    raw = sg.tl.transform(new, known, copy=True)
    by_hand = new.copy()
    y = (by_hand.X.toarray() - known.var["mean"].to_numpy()) / known.var["std"].to_numpy()
    by_hand.X = np.minimum(y, 3)
    scaled = sg.tl.transform(by_hand, known, copy=True)
    np.testing.assert_allclose(raw.obsm["X_pca"], scaled.obsm["X_pca"], rtol=1e-3, atol=1e-3)
    expected = by_hand.X @ known.varm["PCs"] - known.X.mean(0) @ known.varm["PCs"]
    np.testing.assert_allclose(scaled.obsm["X_pca"], expected, atol=1e-3)


def test_maps_of_x_and_of_other_representations():
    adata = counts(200, g=30)
    known, new = adata[:150].copy(), adata[150:].copy()
    sg.tl.geoae(known, use_rep="X", refine=False, progress_bar=False, n_steps=30)
    model = sg.get.model(known)
    import torch

    expected = model.encode(torch.from_numpy(new.X.toarray())).numpy()
    same = sg.tl.transform(new, known, copy=True)
    np.testing.assert_allclose(same.obsm["X_geoae"], expected, rtol=1e-4, atol=1e-4)
    assert list(same.obsm) == ["X_geoae", "geoae_metric", "geoae_metric_encoder"]
    reversed_ = sg.tl.transform(new[:, ::-1], known, copy=True)
    np.testing.assert_allclose(reversed_.obsm["X_geoae"], expected, rtol=1e-4, atol=1e-4)
    # what later calls look up
    assert sg.tl.metric(reversed_, side="encoder").tensors.shape == (50, 2, 2)
    np.testing.assert_allclose(
        sg.tl.metric(reversed_, side="encoder").tensors,
        sg.get.metric_tensors(same, side="encoder"),
        rtol=1e-2,
        atol=1e-3,
    )

    known.obsm["X_scVI"], new.obsm["latent"] = known.X[:, :8].toarray(), new.X[:, :8].toarray()
    sg.tl.geoae(known, use_rep="X_scVI", key_added="deep", progress_bar=False, n_steps=30)
    with pytest.raises(KeyError, match=r"The map was made of 'X_scVI'; adata_new\.obsm, which has 'latent', lacks"):
        sg.tl.transform(new, known, key="deep")
    sg.tl.transform(new, known, key="deep", use_rep="latent")
    assert new.obsm["X_deep"].shape == (50, 2)
    new.obsm["short"] = new.obsm["latent"][:, :5]
    with pytest.raises(ValueError, match="has 5 columns, and the map was made of 8"):
        sg.tl.transform(new, known, key="deep", use_rep="short")


@for_each("n", [2, 5])
def test_few_cells_of_the_reference(pair, n):
    known, new = pair
    placed = sg.tl.transform(new, known[:n].copy(), allow_subset=True, copy=True)
    assert np.isfinite(placed.obsm["X_geoae"]).all()


def test_ruler_of_new_cells_is_that_of_the_map(pair):
    known, new = (adata.copy() for adata in pair)
    sg.tl.transform(new, known)
    for name in ("chord", "chord_spread"):
        assert sg.get.scores(new)[name] == sg.get.scores(known)[name]


def test_missing_genes(pair):
    known, new = pair
    few = new[:, 5:].copy()
    with pytest.raises(ValueError, match=r"lack 5 of the 80 genes of the reference: 'gene0', 'gene1'.*missing='mean'"):
        sg.tl.transform(few, known)
    assert "X_geoae" not in few.obsm
    sg.tl.transform(few, known, missing="mean")
    filled = new.copy()
    x = filled.X.toarray()
    x[:, :5] = known.X[:, :5].toarray().mean(0)
    filled.X = x
    sg.tl.transform(filled, known)
    np.testing.assert_allclose(few.obsm["X_geoae"], filled.obsm["X_geoae"], rtol=1e-3, atol=1e-3)
    strange = new.copy()
    strange.var_names = [f"ENSG{i}" for i in range(new.n_vars)]
    with pytest.raises(ValueError, match="names of another kind"):
        sg.tl.transform(strange, known, missing="mean")


def test_errors(pair):
    known, new = pair
    with pytest.raises(KeyError, match=r"run sg\.tl\.geoae\(adata\) first"):
        sg.tl.transform(new, new)
    with pytest.raises(ValueError, match="Expected `missing` to be 'raise' or 'mean', found 'zero'"):
        sg.tl.transform(new, known, missing="zero")
    with pytest.raises(KeyError, match=r"Did not find 'log' in adata_new\.layers, which has nothing"):
        sg.tl.transform(new, known, layer="log")
    with pytest.raises(ValueError, match="give one of them"):
        sg.tl.transform(new, known, layer="log", use_rep="X_pca")
    twice = new.copy()
    twice.var_names = ["gene0", "gene0", *twice.var_names[2:]]
    with pytest.raises(ValueError, match=r"not unique, such as 'gene0'; run adata_new\.var_names_make_unique"):
        sg.tl.transform(twice, known)
    bad = new.copy()
    bad.X = bad.X.toarray()
    bad.X[3, 4] = np.nan
    with pytest.raises(ValueError, match=r"1 of 100 cells have NaN or infinite values in adata_new\.X"):
        sg.tl.transform(bad, known)
    assert "X_geoae" not in bad.obsm
    with pytest.raises(ValueError, match=r"Expected `units` to be 'counts', .*found 'log2'"):
        sg.tl.transform(new, known, units="log2")
    changed = known.copy()
    changed.obsm["X_pca"] = changed.obsm["X_pca"] * np.r_[np.ones(9), -1]
    with pytest.raises(ValueError, match=r"adata\.obsm\['X_pca'\] is no longer what the map in .* of 300 cells"):
        sg.tl.transform(new, changed)


def test_the_reference_needs_neither_genes_nor_loadings(pair):
    known, new = pair
    expected = sg.tl.transform(new, known, copy=True)
    bare = AnnData(obs=known.obs, obsm=dict(known.obsm), uns=known.uns)
    doubled = known.copy()
    doubled.X = doubled.X * 2
    for reference in (bare, doubled):
        found = sg.tl.transform(new, reference, copy=True)
        np.testing.assert_array_equal(found.obsm["X_geoae"], expected.obsm["X_geoae"])


def test_maps_of_components_without_loadings_say_so(pair):
    known, new = pair
    known = AnnData(obs=known.obs, obsm={"X_pca": known.obsm["X_pca"]})
    sg.tl.geoae(known, progress_bar=False, n_steps=10)
    with pytest.raises(KeyError, match=r"no PCA loadings in adata\.varm"):
        sg.tl.transform(new, known)


def test_plots_and_get_work_on_new_cells(pair):
    known, new = (adata.copy() for adata in pair)
    sg.tl.transform(new, known)
    assert set(sg.get.scores(new)) >= {"CN", "ISO", "MSE"}
    sg.pl.indicatrices(new, where="grid", show=False)
    sg.pl.jacobian_heatmap(new, show=False)
    sg.tl.curvature(new)
    ax = sg.pl.transform(new, known, color="kind", show=False)
    assert f"{new.obs['geoae_outlier'].sum()} of 100 new cells are outliers" in ax.get_xlabel()
    drawn = [len(collection.get_offsets()) for collection in ax.collections]
    assert {new.n_obs, known.n_obs, new.obs["geoae_outlier"].sum()} <= set(drawn)
    new.obs["long"] = "a label that is longer than the gap that Scanpy leaves"
    left, right = sg.pl.transform(new, known, color=["long", "kind"], show=False)
    assert left.get_tightbbox().x1 < right.get_tightbbox().x0
    with pytest.raises(KeyError, match=r"run sg.tl.transform\(adata_new, adata, key='geoae'\) first"):
        sg.pl.transform(known, known, show=False)


def test_a_map_that_was_adopted(pair):
    known, new = (adata.copy() for adata in pair)
    known.obsm["X_umap"] = known.obsm["X_pca"][:, :2] * [[1, 2]] + 5
    sg.tl.adopt(known, basis="umap", n_steps=300, progress_bar=False)
    sg.tl.transform(new, known, key="umap")
    assert "umap" not in new.uns
    expected = new.obsm["X_pca"][:, :2] * [[1, 2]] + 5
    diameter = np.ptp(known.obsm["X_umap"], axis=0).max()
    assert np.median(np.linalg.norm(new.obsm["X_umap"] - expected, axis=1)) < 0.05 * diameter
    sg.pl.indicatrices(new, basis="umap", show=False)


def test_outliers_are_found_and_calibrated(pair):
    known, new = pair
    rng = np.random.default_rng(0)
    strange = new.copy()
    strange.X = strange[:, rng.permutation(new.n_vars)].X.copy()
    found = [sg.tl.transform(adata, known, copy=True).obs for adata in (new, strange)]
    scores = np.concatenate([obs["geoae_outlier_score"] for obs in found])
    assert roc_auc_score(np.repeat([0, 1], new.n_obs), scores) > 0.95
    assert found[0]["geoae_outlier"].mean() < 0.1
    assert found[1]["geoae_outlier"].mean() > 0.8


def test_a_type_that_the_reference_never_saw_is_flagged():
    """Among few cells and many genes, whose components know their cells."""
    rng = np.random.default_rng(0)
    kind = np.r_[np.arange(700) % 3, np.full(100, 3)]
    rate = rng.gamma(1.0, 1.0, size=500) * np.exp(0.7 * rng.normal(size=(4, 500)))
    adata = AnnData(sparse.csr_matrix(rng.poisson(rate[kind]).astype(np.float32)))
    adata.var_names = [f"gene{i}" for i in range(500)]
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    known, new, belongs = adata[:300].copy(), adata[300:].copy(), kind[300:] < 3
    sc.pp.pca(known, n_comps=30)
    sg.tl.geoae(known, n_steps=60, progress_bar=False)
    sg.tl.transform(new, known)
    outlier = new.obs["geoae_outlier"].to_numpy()
    assert outlier[belongs].mean() <= 0.03
    assert outlier[~belongs].mean() > 0.5
    # of some of its cells nothing says how well the components know them
    some = sg.tl.transform(new, known[::2].copy(), allow_subset=True, copy=True)
    assert some.obs["geoae_outlier"].mean() < outlier.mean()


@pytest.mark.slow
def test_from_a_file_in_another_process(pair, tmp_path):
    known, new = pair
    known.write_h5ad(tmp_path / "known.h5ad")
    new.write_h5ad(tmp_path / "new.h5ad")
    code = (
        "import anndata, scgeoae as sg\n"
        "known, new = (anndata.read_h5ad(name + '.h5ad') for name in ('known', 'new'))\n"
        "sg.tl.transform(new, known)\n"
        "new.write_h5ad('placed.h5ad')\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, cwd=tmp_path)
    there = anndata.read_h5ad(tmp_path / "placed.h5ad")
    here = sg.tl.transform(new, known, copy=True)
    np.testing.assert_allclose(there.obsm["X_geoae"], here.obsm["X_geoae"], rtol=1e-5, atol=1e-5)
    assert sg.get.scores(there) == pytest.approx(sg.get.scores(here), rel=1e-4)


def test_labels_come_along_with_a_confidence(pair):
    known, new = (adata.copy() for adata in pair)
    known.obs["type"] = known.obs["kind"].map({"0": "T", "1": "B"}).astype("category")
    known.obs.loc[known.obs_names[:5], "type"] = np.nan
    known.uns["type_colors"] = ["#111111", "#222222"]
    del new.obs["kind"]
    sg.tl.transform(new, known, obs=["type", "kind"])
    # by definition: the votes of the 15 nearest in the representation
    votes = known.obs["type"].notna().to_numpy()
    square = np.square(new.obsm["X_pca"][:, None] - known.obsm["X_pca"][None, votes]).sum(2)
    nearest = known.obs["type"].to_numpy()[votes][np.argsort(square, axis=1)[:, :15]]
    share = (nearest == "T").mean(1)
    assert (new.obs["type"] == np.where(share > 0.5, "T", "B")).all()
    np.testing.assert_allclose(new.obs["type_confidence"], np.maximum(share, 1 - share))
    assert new.obs["type"].cat.categories.tolist() == ["B", "T"]
    assert new.uns["type_colors"] == ["#111111", "#222222"]
    assert (new.obs["kind"] == pair[1].obs["kind"]).mean() > 0.95


def test_labels_that_cannot_come_along(pair):
    known, new = (adata.copy() for adata in pair)
    with pytest.raises(KeyError, match=r"Did not find 'spam' in adata\.obs"):
        sg.tl.transform(new, known, obs="spam")
    with pytest.raises(ValueError, match=r"Expected adata\.obs\['t'\] to hold labels, found numbers"):
        sg.tl.transform(new, known, obs="t")
    # labels of their own are not written over, those that came along before are
    with pytest.raises(ValueError, match=r"adata\.obs\['kind_of_map'\] = adata\.obs\['kind'\], and obs='kind_of_map'"):
        sg.tl.transform(new, known, obs="kind")
    assert "X_geoae" not in new.obsm
    known.obs["kind_of_map"] = known.obs["kind"]
    sg.tl.transform(new, known, obs="kind_of_map", copy=True)
    del new.obs["kind"]
    for _ in range(2):
        sg.tl.transform(new, known, obs="kind")
    assert list(new.obs["kind"].cat.categories) == ["0", "1"]


def test_the_layer_of_the_reference_is_looked_for(pair):
    known, new = (adata.copy() for adata in pair)
    for adata in (known, new):
        adata.layers["log"] = adata.X.copy()
        adata.X = adata.X.expm1()
    sc.pp.pca(known, n_comps=10, layer="log")
    sg.tl.geoae(known, progress_bar=False, n_steps=20)
    assert sg.get.model(known).genes.layer == "log"
    sg.tl.transform(new, known)
    expected = new.layers["log"] @ known.varm["PCs"] - known.layers["log"].mean(0) @ known.varm["PCs"]
    np.testing.assert_allclose(new.obsm["X_pca"], expected, atol=1e-3)


@for_each("refine", [False, None])
def test_neither_the_reference_nor_the_new_cells_are_dense_as_a_whole(pair, monkeypatch, refine):
    known, new = pair
    known = known.copy()
    sg.tl.geoae(known, refine=refine, n_steps=20, progress_bar=False)
    monkeypatch.setattr(outlier_detection, "MAX_REFERENCE", 60)
    expected = sg.tl.transform(new, known, copy=True)
    read = []

    def counted(matrix):
        found = dense(matrix)
        read.append(len(found))
        return found

    for module in (_matrix, outlier_detection):
        monkeypatch.setattr(module, "dense", counted)
    # 40 cells of ten components, or five of 80 genes
    monkeypatch.setattr(_matrix, "BLOCK_SIZE", 400)
    found = sg.tl.transform(new, known, copy=True)
    assert len(read) > 20
    # a fifth of the reference is in use for the outlier score
    assert max(read) == 60
    for name in ("X_geoae", "geoae_metric", "geoae_metric_encoder"):
        np.testing.assert_allclose(found.obsm[name], expected.obsm[name], rtol=1e-4, atol=1e-5)
    for name in ("geoae_outlier_score", "geoae_reconstruction_error", "geoae_log_area"):
        np.testing.assert_allclose(found.obs[name], expected.obs[name], rtol=1e-4, atol=1e-4)


@for_each("form", ["sparse", "dask", "backed"])
def test_forms_of_the_reference(tmp_path, form):
    adata = counts(200, 30)
    known, new = adata[:150].copy(), adata[150:].copy()
    sg.tl.geoae(known, use_rep="X", refine=False, n_steps=20, progress_bar=False)
    expected = sg.tl.transform(new, known, copy=True)
    if form == "dask":
        known.X = pytest.importorskip("dask.array").from_array(known.X.toarray(), chunks=(40, 30))
    elif form == "backed":
        known.write_h5ad(tmp_path / "known.h5ad")
        known = anndata.read_h5ad(tmp_path / "known.h5ad", backed="r")
    found = sg.tl.transform(new, known, copy=True)
    np.testing.assert_array_equal(found.obsm["X_geoae"], expected.obsm["X_geoae"])
    np.testing.assert_allclose(
        found.obs["geoae_outlier_score"], expected.obs["geoae_outlier_score"], rtol=1e-4, atol=1e-4
    )


def test_labels_of_several_columns_some_of_which_lack_cells(pair):
    known, new = (adata.copy() for adata in pair)
    rng = np.random.default_rng(0)
    for name, n_missing in {"a": 0, "b": 100, "c": 100}.items():
        known.obs[name] = pd.Categorical(rng.choice(["x", "y", "z"], size=known.n_obs))
        known.obs.iloc[:n_missing, known.obs.columns.get_loc(name)] = np.nan
    sg.tl.transform(new, known, obs=["a", "b", "c"])
    for name in "abc":
        known_labels = known.obs[name].cat.codes.to_numpy()
        voter = KNeighborsClassifier(15).fit(known.obsm["X_pca"][known_labels >= 0], known_labels[known_labels >= 0])
        shares = voter.predict_proba(new.obsm["X_pca"])
        np.testing.assert_array_equal(new.obs[name].cat.codes, shares.argmax(1))
        np.testing.assert_allclose(new.obs[f"{name}_confidence"], shares.max(1), rtol=1e-6)


def test_cells_all_too_far_for_float32_say_so(pair):
    known, new = (adata.copy() for adata in pair)
    new.obsm["X_far"] = np.full((new.n_obs, 10), 1e20, dtype=np.float32)
    with pytest.raises(ValueError, match=r"100 of 100 cells .* too far"):
        sg.tl.transform(new, known, use_rep="X_far")


def test_a_subset_of_one_cell_has_no_structure(pair):
    known, new = (adata.copy() for adata in pair)
    with pytest.raises(ValueError, match="All 1 cells are equal"):
        sg.tl.transform(new, known[:1].copy(), allow_subset=True)


def test_the_default_type_of_torch_does_not_matter(pair):
    known, new = (adata.copy() for adata in pair)
    placed = sg.tl.transform(new, known, copy=True)
    torch.set_default_dtype(torch.float64)
    try:
        again = sg.tl.transform(new, known, copy=True)
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_array_equal(again.obsm["X_geoae"], placed.obsm["X_geoae"])
