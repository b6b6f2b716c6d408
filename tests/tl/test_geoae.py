from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import scanpy as sc
import torch
from anndata import AnnData, read_h5ad, read_zarr
from scipy import sparse
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation
from scipy.stats import spearmanr

import scgeoae as sg
from scgeoae.training import initialize

from ..for_each import for_each

SLOTS = {
    "obsm": {"X_geoae", "geoae_metric", "geoae_metric_encoder"},
    "obsp": {"geoae_metric", "geoae_distances", "geoae_connectivities"},
    "obs": {
        "geoae_log_area",
        "geoae_anisotropy",
        "geoae_reconstruction_error",
        "geoae_log_area_encoder",
        "geoae_anisotropy_encoder",
    },
    "uns": {"geoae"},
}


def snapshot(adata):
    return {name: set(getattr(adata, name)) for name in ("obs", "var", "uns", "obsm", "varm", "obsp", "layers")}


def run(adata, **kwargs):
    return sg.tl.geoae(adata, **({"n_steps": 10, "progress_bar": False} | kwargs))


def test_writes_the_slots_of_the_design(fitted, reduced):
    before, after = snapshot(reduced), snapshot(fitted)
    assert {name: after[name] - before[name] for name in after if after[name] != before[name]} == SLOTS
    n = fitted.n_obs
    shapes = {
        "X_geoae": fitted.obsm["X_geoae"],
        "metric": fitted.obsm["geoae_metric"],
        "graph": fitted.obsp["geoae_metric"],
    }
    assert {name: value.shape for name, value in shapes.items()} == {
        "X_geoae": (n, 2),
        "metric": (n, 3),
        "graph": (n, n),
    }
    assert {str(value.dtype) for value in shapes.values()} == {"float32"}
    assert {str(fitted.obs[name].dtype) for name in SLOTS["obs"]} == {"float32"}
    for name in SLOTS["obsp"]:
        assert sparse.issparse(fitted.obsp[name])
        assert fitted.obsp[name].format == "csr"
    stored = fitted.uns["geoae"]
    assert stored.keys() == {"params", "history", "scores", "model", "connectivities_key", "distances_key"}
    assert stored["params"]["use_rep"] == "X_pca"
    assert stored["params"]["environment"]["versions"]["scgeoae"] == sg.__version__


def test_tensors_agree_with_finite_differences(fitted):
    model = sg.get.model(fitted).double()
    z = torch.from_numpy(fitted.obsm["X_geoae"]).double()
    h = 1e-4 * float(z.std())
    columns = [(model.decode(z + h * e) - model.decode(z - h * e)) / (2 * h) for e in torch.eye(2, dtype=torch.float64)]
    a = torch.stack(columns, dim=-1)
    expected = (a.mT @ a).numpy()
    error = np.linalg.norm(sg.get.metric_tensors(fitted) - expected, axis=(1, 2)) / np.linalg.norm(
        expected, axis=(1, 2)
    )
    assert error.max() < 1e-3


def test_graph_holds_the_tensors(fitted):
    z, metric, graph = fitted.obsm["X_geoae"], sg.get.metric_tensors(fitted), fitted.obsp["geoae_metric"]
    assert (np.diff(graph.indptr) == 15).all()
    i = np.repeat(np.arange(fitted.n_obs), 15)
    delta = z[graph.indices] - z[i]
    np.testing.assert_allclose(graph.data, np.einsum("na,nab,nb->n", delta, metric[i], delta), rtol=1e-4)


def test_scores_and_columns_agree(fitted):
    scores, obs = sg.get.scores(fitted), fitted.obs
    sigma = np.linalg.eigvalsh(sg.get.metric_tensors(fitted).astype(float))
    assert scores["CN"] == pytest.approx(obs["geoae_anisotropy"].mean(), abs=1e-5)
    assert scores["ISO"] == pytest.approx(np.log(sigma).var(), rel=1e-3)
    assert scores["VPres"] == pytest.approx(np.log(sigma).sum(1).var(), rel=1e-3)
    area = np.sqrt(sigma.prod(1))
    np.testing.assert_allclose(obs["geoae_log_area"], np.log10(area / area.mean()), atol=1e-5)
    # total squared error over total variance
    x = fitted.obsm["X_pca"]
    total = np.square(x - x.mean(0)).sum()
    assert scores["MSE"] == pytest.approx(obs["geoae_reconstruction_error"].sum() / total, rel=1e-4)
    model = sg.get.model(fitted)
    decoded = model.decode(torch.from_numpy(fitted.obsm["X_geoae"])).numpy()
    np.testing.assert_allclose(obs["geoae_reconstruction_error"], np.square(decoded - x).sum(1), rtol=1e-2, atol=1e-2)


def test_model_encodes_to_the_map(reduced):
    adata = run(reduced, refine=False, copy=True)
    z = sg.get.model(adata).encode(torch.from_numpy(adata.obsm["X_pca"])).numpy()
    np.testing.assert_allclose(z, adata.obsm["X_geoae"], atol=1e-4)


def test_model_encodes_near_cells_with_places_of_their_own(fitted):
    z = sg.get.model(fitted).encode(torch.from_numpy(fitted.obsm["X_pca"])).numpy()
    away = np.square(z - fitted.obsm["X_geoae"]).mean() / fitted.obsm["X_geoae"].var(0).mean()
    assert away == pytest.approx(sg.get.scores(fitted)["MSE_encoder"], rel=1e-2)
    assert 0 < away < 0.01


def test_unit_is_that_of_distances_between_cells(fitted):
    z = torch.from_numpy(fitted.obsm["X_geoae"])
    ratio = pdist(z) / pdist(sg.get.model(fitted).decode(z))
    assert np.median(ratio) == pytest.approx(1, abs=0.02)
    low, high = np.quantile(ratio, [0.16, 0.84])
    assert sg.get.scores(fitted)["chord"] == pytest.approx(1, abs=1e-4)
    assert sg.get.scores(fitted)["chord_spread"] == pytest.approx((high - low) / 2, rel=0.05)


def test_scanpy_runs_on_the_metric_graph(fitted):
    adata = fitted.copy()
    sc.tl.leiden(adata, neighbors_key="geoae", flavor="igraph", n_iterations=2, directed=False)
    assert 2 <= adata.obs["leiden"].nunique() <= 50
    sc.tl.paga(adata, groups="leiden", neighbors_key="geoae")
    assert adata.uns["paga"]["connectivities"].nnz > 0
    sc.tl.diffmap(adata, neighbors_key="geoae")
    adata.uns["iroot"] = 0
    sc.tl.dpt(adata, neighbors_key="geoae")
    assert adata.obs["dpt_pseudotime"].iloc[0] == 0


def test_params_repeat_the_run(reduced):
    """As the documentation says."""
    page = (Path(__file__).parents[2] / "docs" / "reproducibility.md").read_text()
    adata = run(reduced, regularizer="geomae", n_pcs=20, random_state=3, copy=True)
    params = dict(adata.uns["geoae"]["params"])
    for name in ast.literal_eval(re.search(r"for name in (\(.*?\)):", page, re.S)[1]):
        params.pop(name, None)
    again = sg.tl.geoae(reduced, **params, progress_bar=False, copy=True)
    assert np.array_equal(again.obsm["X_geoae"], adata.obsm["X_geoae"])


def test_components_of_a_layer_are_named_and_drawn(reduced):
    adata = AnnData(reduced.raw.X.toarray(), obs=reduced.obs[["bulk_labels"]].copy())
    adata.layers["mine"] = adata.X.copy()
    with pytest.warns(UserWarning, match="computing it with"):
        run(adata, layer="mine")
    assert adata.uns["geoae"]["params"]["use_rep"] == "X_pca_mine"
    for plot in (sg.pl.indicatrices, sg.pl.jacobian_heatmap):
        (bar,) = [a for a in plot(adata, show=False).artists if hasattr(a, "txt_label")]
        assert re.fullmatch(r"≈ \d+ units of X_pca_mine, ± \d+%", bar.txt_label.get_text())


def test_several_regularizers_repeat_from_a_file(small, tmp_path):
    run(small, regularizer={"irae": 0.1, "mecae": 0.01}, sampling="mixup")
    small.write_h5ad(tmp_path / "x.h5ad")
    params = dict(read_h5ad(tmp_path / "x.h5ad").uns["geoae"]["params"])
    assert params["regularizer"] == {"isometric": 0.1, "curvature": 0.01}
    for name in ("method", "data", "n_cells", "neighbors", "environment"):
        params.pop(name, None)
    again = sg.tl.geoae(small, **params, progress_bar=False, copy=True)
    np.testing.assert_allclose(again.obsm["X_geoae"], small.obsm["X_geoae"], rtol=1e-4, atol=1e-4)


def test_same_seed_same_bits_in_every_slot(small):
    a, b = (run(small, copy=True) for _ in range(2))
    for name in ("obsm", "obsp"):
        for key in SLOTS[name]:
            x, y = getattr(a, name)[key], getattr(b, name)[key]
            assert (x != y).nnz == 0 if sparse.issparse(x) else np.array_equal(x, y)


@pytest.mark.parametrize("suffix", ["h5ad", pytest.param("zarr", marks=pytest.mark.slow)])
def test_a_file_carries_the_map_into_a_new_process(fitted, tmp_path, suffix):
    path = tmp_path / f"map.{suffix}"
    getattr(fitted, f"write_{suffix}")(path)
    code = f"""
import sys, warnings
import anndata, matplotlib, numpy as np, torch
matplotlib.use("Agg")
import scgeoae as sg
adata = anndata.read_{suffix}({str(path)!r})
sg.pl.indicatrices(adata, color="bulk_labels", show=False)
sg.pl.indicatrices(adata, where="grid", show=False)
sg.pl.jacobian_heatmap(adata, show=False)
z = torch.from_numpy(adata.obsm["X_geoae"])
error = (sg.get.model(adata).decode(z) - torch.from_numpy(np.asarray(adata.obsm["X_pca"]))).square().sum(1)
assert np.allclose(error, adata.obs["geoae_reconstruction_error"], rtol=1e-3)
assert "scgeoae.tl" not in sys.modules
print(sg.get.scores(adata)["ISO"])
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert float(done.stdout) == sg.get.scores(fitted)["ISO"]


@for_each("suffix", ["h5ad", "zarr"])
def test_round_trip_keeps_every_slot(fitted, tmp_path, suffix):
    path = tmp_path / f"map.{suffix}"
    getattr(fitted, f"write_{suffix}")(path)
    back = (read_h5ad if suffix == "h5ad" else read_zarr)(path)
    for name in ("obsm", "obsp"):
        for key in SLOTS[name]:
            x, y = getattr(fitted, name)[key], getattr(back, name)[key]
            assert (x != y).nnz == 0 if sparse.issparse(x) else np.array_equal(x, y)
    assert sg.get.scores(back) == sg.get.scores(fitted)
    for name, weight in fitted.uns["geoae"]["model"]["weights"].items():
        assert np.array_equal(weight, back.uns["geoae"]["model"]["weights"][name])


def test_copy_and_key_added(small):
    before = snapshot(small)
    copy = run(small, copy=True, key_added="mine")
    assert snapshot(small) == before
    assert {"X_mine", "mine_metric"} <= set(copy.obsm)
    assert copy.uns["mine"]["connectivities_key"] == "mine_connectivities"
    assert run(copy, key_added="mine") is None


def test_view_becomes_actual(small):
    view = small[:40]
    with pytest.warns(UserWarning, match="view"):
        run(view)
    assert view.obsm["X_geoae"].shape == (40, 2)
    assert "X_geoae" not in small.obsm


def test_backed(small, tmp_path):
    small.write_h5ad(tmp_path / "x.h5ad")
    backed = read_h5ad(tmp_path / "x.h5ad", backed="r")
    copied = run(backed, copy=True)
    assert not copied.isbacked
    run(backed)
    assert np.array_equal(backed.obsm["X_geoae"], copied.obsm["X_geoae"])
    backed.file.close()


def test_computed_components_are_stored(reduced):
    adata = reduced.copy()
    del adata.obsm["X_pca"], adata.varm["PCs"], adata.uns["pca"]
    with pytest.warns(UserWarning, match="computing it with"):
        run(adata)
    assert adata.obsm["X_pca"].shape == (700, 50)
    assert adata.varm["PCs"].shape == (765, 50)
    assert "variance_ratio" in adata.uns["pca"]
    first = adata.obsm["X_geoae"]
    run(adata)  # silent now, and on the same components
    assert np.array_equal(adata.obsm["X_geoae"], first)


@for_each("d", [1, 3])
def test_other_dimensions(small, d):
    run(small, n_components=d)
    assert small.obsm["X_geoae"].shape == (60, d)
    assert sg.get.metric_tensors(small).shape == (60, d, d)
    assert np.isfinite(list(sg.get.scores(small).values())).all()


def test_replaces_a_result_of_another_shape_and_says_so(small):
    run(small, n_components=3)
    log, before = io.StringIO(), (sc.settings.verbosity, sc.settings.logfile)
    sc.settings.verbosity, sc.settings.logfile = 3, log
    try:
        run(small)
    finally:
        sc.settings.verbosity, sc.settings.logfile = before
    assert small.obsm["X_geoae"].shape == (60, 2)
    assert small.obsm["geoae_metric"].shape == (60, 3)
    assert "replacing adata.obsm['X_geoae'] of shape (60, 3) by one of shape (60, 2)" in log.getvalue()
    assert "obsm['X_geoae'], the map" in log.getvalue()


@pytest.mark.slow
def test_beside_the_neighbors_of_scanpy_beyond_8000_cells():
    # pynndescent 0.7 breaks them there
    adata = AnnData(np.random.default_rng(0).normal(size=(9000, 10)).astype(np.float32))
    sc.pp.neighbors(adata, use_rep="X")
    run(adata)
    assert adata.obsp["geoae_metric"].nnz == 9000 * 15


def test_vanilla(small):
    run(small, regularizer=None)
    assert "regularizer" not in small.uns["geoae"]["params"]
    assert small.uns["geoae"]["params"]["strength"] == 0


def test_permuting_the_cells_of_a_trained_map_changes_nothing(fitted):
    model = sg.get.model(fitted)
    order = np.random.default_rng(0).permutation(fitted.n_obs)
    x = torch.from_numpy(fitted.obsm["X_pca"])
    torch.testing.assert_close(model.encode(x[order]), model.encode(x)[order], rtol=1e-5, atol=1e-4)


@pytest.mark.slow
def test_rotating_and_shifting_the_data_barely_changes_the_map(fitted, reduced):
    """PCA undoes the motion, so only rounding and the networks' first layers can tell."""
    adata = AnnData(obs=reduced.obs[[]].copy())
    x = reduced.obsm["X_pca"].astype(float)
    rotation = np.eye(50)
    rotation[:3, :3] = Rotation.from_euler("xyz", [0.5, 1.0, 2.0]).as_matrix()
    adata.obsm["X_pca"] = x @ rotation + 7
    sg.tl.geoae(adata, progress_bar=False)
    z, reference = adata.obsm["X_geoae"], fitted.obsm["X_geoae"]
    # the sign of an axis is a convention
    assert all(abs(np.corrcoef(z[:, a], reference[:, a])[0, 1]) > 0.97 for a in range(2))


@for_each(
    "kwargs, error, message",
    [
        ({"use_rep": "X_pca"}, KeyError, "Did not find 'X_pca' in adata.obsm, which has nothing"),
        ({"layer": "counts"}, KeyError, "Did not find 'counts' in adata.layers"),
        ({"n_components": 0}, ValueError, "`n_components` to be an integer >= 1, found 0"),
        ({"n_components": 9}, ValueError, "`n_components` to be at most 8"),
        ({"strength": -1}, ValueError, "`strength` to be a finite number >= 0"),
        ({"strength": np.nan}, ValueError, "`strength` to be a finite number >= 0"),
        ({"regularizer": "umap"}, ValueError, "`regularizer` to be None, one of"),
        ({"activation": "relu"}, ValueError, "`activation` to be one of"),
        ({"perplexity": 1}, ValueError, "`perplexity` to be a finite number > 1, found 1"),
        ({"tsne_weight": -1}, ValueError, "`tsne_weight` to be a finite number >= 0, found -1"),
        ({"tsne_weight": 1e7}, ValueError, re.escape("`tsne_weight` to be at most 1e+06, found 10000000.0")),
        ({"refine": np.ones(2)}, TypeError, "`refine` to be True or False, found a ndarray"),
        ({"batch_size": 1}, ValueError, "`batch_size` to be an integer >= 2"),
        ({"n_neighbors": 0}, ValueError, "`n_neighbors` to be an integer >= 1"),
        ({"key_added": "a/b"}, ValueError, "`key_added` to be a name without '/'"),
        ({"key_added": ""}, ValueError, "`key_added` to be a name"),
        ({"device": "gpu"}, ValueError, "`device` to be 'auto' or a torch device"),
        ({"learning_rate": 1e30, "n_steps": 60}, RuntimeError, "The loss became"),
    ],
)
def test_bad_arguments_leave_adata_as_it_was(small, kwargs, error, message):
    before = snapshot(small)
    with pytest.raises(error, match=re.escape(message) if "(" in message else message):
        run(small, **kwargs)
    assert snapshot(small) == before


def test_bad_data_leaves_adata_as_it_was(small):
    small.X[3, 2] = np.nan
    before = snapshot(small)
    with pytest.raises(ValueError, match=r"1 of 60 cells have NaN or infinite values in adata\.X"):
        run(small)
    with pytest.raises(ValueError, match="needs at least 4 cells, found 3"):
        run(small[10:13].copy())
    with pytest.raises(ValueError, match="is empty"):
        run(small[:0].copy())
    same = AnnData(small.X[[5] * 20])
    with pytest.raises(ValueError, match="All 20 cells are equal"):
        run(same)
    with pytest.raises(ValueError, match="is empty"):
        run(AnnData())
    assert snapshot(small) == before


def test_more_neighbors_than_cells(small):
    tiny = small[:6].copy()
    run(tiny)
    assert tiny.uns["geoae"]["params"]["n_neighbors"] == 5
    assert tiny.obsp["geoae_metric"].nnz == 30


def test_duplicated_cells(small):
    doubled = AnnData(np.repeat(small.X, 2, axis=0))
    run(doubled)
    assert (np.diff(doubled.obsp["geoae_metric"].indptr) == 15).all()
    assert np.isfinite(doubled.obsp["geoae_connectivities"].data).all()


def test_auto_strength_records_what_it_found(small):
    run(small, strength="auto", tolerance=1.2, n_steps=60)
    params = small.uns["geoae"]["params"]
    assert params["tolerance"] == 1.2
    assert params["strength"] == pytest.approx(0.2 * small.uns["geoae"]["history"]["factor"][-1])
    run(small, n_steps=60)
    assert "tolerance" not in small.uns["geoae"]["params"]
    run(small, regularizer={"irae": 0.2, "curvature": 0.1}, strength="auto", n_steps=60)
    params, factor = small.uns["geoae"]["params"], small.uns["geoae"]["history"]["factor"][-1]
    assert params["regularizer"] == pytest.approx({"isometric": 0.2 * factor, "curvature": 0.1 * factor})
    assert "strength" not in params


@for_each("side", ["decoder", "encoder", "both"])
def test_side_is_recorded_and_holds(small, side):
    run(small, side=side, n_steps=60)
    assert small.uns["geoae"]["params"]["side"] == side
    history = small.uns["geoae"]["history"]
    assert ("isometric" in history) == (side != "encoder")
    assert ("isometric_encoder" in history) == (side != "decoder")


def test_starts_at_a_layout(reduced, monkeypatch):
    monkeypatch.setattr(initialize, "N_WARM_UP_STEPS", 300)
    adata = reduced.copy()
    run(adata, init_pos="X_umap", n_steps=1, batch_size=64)
    z, umap = adata.obsm["X_geoae"], adata.obsm["X_umap"]
    distances = [np.linalg.norm(p[:, None] - p, axis=2)[np.triu_indices(len(p), 1)] for p in (z, umap)]
    assert np.corrcoef(*distances)[0, 1] > 0.9
    assert adata.uns["geoae"]["params"]["init_pos"] == "X_umap"
    first = z.copy()
    run(adata, init_pos=adata.obsm["X_umap"], n_steps=1, batch_size=64)
    np.testing.assert_array_equal(adata.obsm["X_geoae"], first)
    assert adata.uns["geoae"]["params"]["init_pos"] == "array"
    with pytest.raises(KeyError, match=r"Did not find 'X_tsne' in adata\.obsm, which has 'X_pca', 'X_umap'"):
        run(adata, init_pos="X_tsne")
    with pytest.raises(ValueError, match=r"`init_pos` to have shape \(700, 2\), .* found \(700, 50\)"):
        run(adata, init_pos="X_pca")


def rank_correlation(adata):
    true = pdist(adata.obsm["X_true"])
    return spearmanr(pdist(adata.obsm["X_geoae"]), true).statistic


def test_isomap_unrolls_what_no_projection_does(monkeypatch):
    monkeypatch.setattr(initialize, "N_WARM_UP_STEPS", 300)
    roll = sg.datasets.swiss_roll(n_obs=600)
    run(roll, n_steps=100)
    assert rank_correlation(roll) < 0.5
    run(roll, init_pos="isomap", n_steps=100)
    assert rank_correlation(roll) > 0.95
    assert roll.uns["geoae"]["params"]["init_pos"] == "isomap"
    # the same seed gives the same landmarks
    monkeypatch.setattr(initialize, "N_WARM_UP_STEPS", 5)
    monkeypatch.setattr(import_module("scgeoae.training.isomap"), "N_LANDMARKS", 100)
    first, again = (run(roll[:200].copy(), init_pos="isomap", n_steps=1, copy=True) for _ in range(2))
    np.testing.assert_array_equal(again.obsm["X_geoae"], first.obsm["X_geoae"])


@for_each("n_components", [1, 3])
def test_isomap_has_any_number_of_dimensions(small, monkeypatch, n_components):
    monkeypatch.setattr(initialize, "N_WARM_UP_STEPS", 5)
    run(small, init_pos="isomap", n_components=n_components)
    assert small.obsm["X_geoae"].shape == (60, n_components)
    assert np.isfinite(small.obsm["X_geoae"]).all()


def test_isomap_unrolls_the_graph_that_is_there(monkeypatch):
    monkeypatch.setattr(initialize, "N_WARM_UP_STEPS", 5)
    roll = sg.datasets.swiss_roll(n_obs=300)
    given = []
    monkeypatch.setattr(
        import_module("scgeoae.training.fit"),
        "isomap",
        lambda x, d, *, neighbors, **_: given.append(neighbors) or x[:, :d].astype(float),
    )
    run(roll, init_pos="isomap", neighbors_weight=0)
    assert given.pop() is None
    assert "neighbors" not in roll.uns["geoae"]["params"]
    sc.pp.neighbors(roll, use_rep="X", n_neighbors=4, method="gauss")
    run(roll, init_pos="isomap", neighbors_weight=0)
    # three others, as Scanpy counts the cell itself
    assert given[0].shape == (300, 10)
    assert ((given.pop() >= 0).sum(1) == 3).all()
    assert "neighbors" in roll.uns["geoae"]["params"]

    sc.pp.neighbors(roll, use_rep="X", n_neighbors=6, key_added="other", method="gauss")
    run(roll, init_pos="isomap", neighbors_weight=0, neighbors_key="other")
    assert ((given.pop() >= 0).sum(1) == 5).all()
    monkeypatch.setattr(import_module("scgeoae.tl._geoae"), "MAX_UNROLLED", 299)
    with pytest.raises(ValueError, match=r"neighbors_key='other' has no effect"):
        run(roll, init_pos="isomap", neighbors_weight=0, neighbors_key="other")


def test_paga_starts_at_its_groups(reduced, monkeypatch):
    monkeypatch.setattr(initialize, "N_WARM_UP_STEPS", 300)
    adata = reduced.copy()
    with pytest.raises(KeyError, match=r"run sc\.tl\.paga\(adata\) and sc\.pl\.paga\(adata\) first"):
        run(adata, init_pos="paga")
    sc.tl.paga(adata, groups="bulk_labels")
    sc.pl.paga(adata, show=False)
    run(adata, init_pos="paga", n_steps=1, batch_size=64)
    z, groups = adata.obsm["X_geoae"], adata.obs["bulk_labels"]
    centers = np.array([z[groups == name].mean(axis=0) for name in groups.cat.categories])
    assert np.corrcoef(pdist(centers), pdist(adata.uns["paga"]["pos"]))[0, 1] > 0.9
    assert adata.uns["geoae"]["params"]["init_pos"] == "paga"
    run(adata, init_pos="paga", n_steps=1, batch_size=64, key_added="again")
    np.testing.assert_array_equal(adata.obsm["X_again"], z)
    with pytest.raises(ValueError, match=r"Expected `n_components` to be 2 for init_pos='paga'"):
        run(adata, init_pos="paga", n_components=3)


def test_neighbor_term_uses_the_graph_that_is_there(reduced):
    adata = reduced.copy()
    run(adata, n_steps=3, random_state=0)
    assert "neighbors" in adata.uns["geoae"]["params"]
    with_graph = adata.obsm["X_geoae"].copy()
    # the same neighbors, found by ourselves among the cells that are trained on
    del adata.uns["neighbors"]
    run(adata, n_steps=3, random_state=0)
    assert "neighbors" not in adata.uns["geoae"]["params"]
    np.testing.assert_allclose(adata.obsm["X_geoae"], with_graph, atol=0.05 * np.ptp(with_graph))
    with pytest.raises(KeyError, match=r"neighbor graph in adata\.uns\['spam'\]"):
        run(adata, neighbors_key="spam")
    with pytest.raises(ValueError, match="neighbors_key='spam' has no effect without the contrastive loss"):
        run(adata, neighbors_key="spam", neighbors_weight=0)
    with pytest.raises(KeyError, match=r"neighbor graph in adata\.uns\['spam'\]"):
        run(adata, neighbors_key="spam", neighbors_weight=0, refine=True)


def test_second_stage_follows_the_graph_that_is_asked_for(reduced):
    options = {"n_steps": 5, "copy": True}
    searched = run(reduced, **options).obsm["X_geoae"]
    named = run(reduced, neighbors_key="neighbors", **options)
    assert not np.array_equal(named.obsm["X_geoae"], searched)
    assert named.uns["geoae"]["params"]["neighbors_key"] == "neighbors"
    adata = reduced.copy()
    sc.pp.neighbors(adata, metric="cosine", method="gauss")
    cosine = run(adata, **options).obsm["X_geoae"]
    assert np.array_equal(cosine, run(adata, neighbors_key="neighbors", **options).obsm["X_geoae"])
    # one of another representation is not that of the map
    sc.pp.neighbors(adata, metric="cosine", method="gauss", use_rep="X_umap")
    other = run(adata, use_rep="X_pca", **options)
    assert "neighbors" not in other.uns["geoae"]["params"]
    del adata.uns["neighbors"]
    assert np.array_equal(other.obsm["X_geoae"], run(adata, use_rep="X_pca", **options).obsm["X_geoae"])


def test_neighbor_term_keeps_more_of_the_nearest_neighbors(fitted, reduced):
    recall = {}
    for adata in (run(reduced, neighbors_weight=0, n_steps=None, copy=True), fitted.copy()):
        table = sg.tl.evaluate(adata, basis="geoae", use_rep="X_pca").set_index("measure")["value"]
        recall[adata.uns["geoae"]["params"]["neighbors_weight"]] = table["kNN_10"]
        assert table["ISO"] < 0.02
    assert recall[0.2] > recall[0] + 0.02


def test_a_map_does_not_replace_what_it_is_made_of(small):
    sg.tl.geoae(small, n_steps=5)
    with pytest.raises(ValueError, match=r"would replace adata\.obsm\['X_geoae'\].*give another `key_added`"):
        sg.tl.geoae(small, use_rep="X_geoae", n_steps=5)
    sg.tl.geoae(small, use_rep="X_geoae", n_steps=5, key_added="mine")
