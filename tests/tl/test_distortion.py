from __future__ import annotations

import io
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
import scanpy as sc
import torch
from anndata import AnnData, read_h5ad, read_zarr
from matplotlib.offsetbox import AuxTransformBox, TextArea
from scipy import sparse
from scipy.stats import spearmanr

import scgeoae as sg

from ..for_each import for_each

SHARED = {
    "obsm": {"umap_metric"},
    "obsp": {"umap_metric", "umap_distances", "umap_connectivities", "umap_torn"},
    "obs": {"umap_log_area", "umap_anisotropy", "umap_torn", "umap_broken"},
    "uns": {"umap_distortion"},
}
OF_DECODER = {
    "obsm": {"umap_metric_encoder"},
    "obs": {"umap_reconstruction_error", "umap_log_area_encoder", "umap_anisotropy_encoder"},
}


def new_slots(adata, before):
    found = {name: set(getattr(adata, name)) - set(getattr(before, name)) for name in ("obs", "uns", "obsm", "obsp")}
    return {name: slots for name, slots in found.items() if slots}


def run(adata, **kwargs):
    return sg.tl.distortion(adata, **({"n_steps": 20, "progress_bar": False} | kwargs))


@pytest.fixture(scope="module")
def decoded(reduced):
    """Do not change: take a copy."""
    adata = reduced.copy()
    adata.uns["umap"] = {"params": {"a": 0.58, "b": 1.33}}
    sg.tl.distortion(adata, n_steps=300, progress_bar=False)
    return adata


@pytest.fixture(scope="module")
def estimated(reduced):
    """Do not change: take a copy."""
    return sg.tl.distortion(reduced, method="laplacian", copy=True)


def test_slots(decoded, estimated, reduced):
    assert new_slots(estimated, reduced) == SHARED
    before = reduced.copy()
    before.uns["umap"] = {}
    assert new_slots(decoded, before) == {name: SHARED[name] | OF_DECODER.get(name, set()) for name in SHARED}
    for adata in (decoded, estimated):
        assert np.array_equal(adata.obsm["X_umap"], reduced.obsm["X_umap"])
        assert {str(adata.obs[name].dtype) for name in SHARED["obs"]} == {"float32", "bool"}
        assert adata.obsm["umap_metric"].dtype == np.float32
        assert all(sparse.issparse(adata.obsp[name]) and adata.obsp[name].format == "csr" for name in SHARED["obsp"])
        assert adata.uns["umap_distortion"]["params"]["use_rep"] == "X_pca"
        assert np.isfinite(adata.obsm["umap_metric"]).all()
    assert decoded.uns["umap"] == {"params": {"a": 0.58, "b": 1.33}}
    assert "model" not in estimated.uns["umap_distortion"]


def test_tensors_are_those_of_the_model_in_units_of_the_embedding(decoded):
    model = sg.get.model(decoded, key="umap").double()
    z = torch.from_numpy(np.array(decoded.obsm["X_umap"])).double()
    h = 1e-4 * float(z.std())
    columns = [(model.decode(z + h * e) - model.decode(z - h * e)) / (2 * h) for e in torch.eye(2, dtype=torch.float64)]
    a = torch.stack(columns, dim=-1)
    expected = (a.mT @ a).numpy()
    error = np.linalg.norm(sg.get.metric_tensors(decoded, key="umap") - expected, axis=(1, 2))
    assert (error / np.linalg.norm(expected, axis=(1, 2))).max() < 1e-3
    square = (model.decode(z).numpy() - decoded.obsm["X_pca"]) ** 2
    np.testing.assert_allclose(decoded.obs["umap_reconstruction_error"], square.sum(1), rtol=1e-3, atol=1e-3)
    scores = sg.get.scores(decoded, key="umap")
    assert scores["MSE_held_out"] < 0.7
    placed = model.encode(torch.from_numpy(decoded.obsm["X_pca"]).double()).numpy()
    z = z.numpy()
    displacement = np.square(placed - z).mean() / np.square(z - z.mean(0)).mean()
    assert scores["MSE_encoder"] == pytest.approx(displacement, rel=0.02)
    assert scores["MSE_encoder"] < 0.05


def test_everything_else_works_with_it(decoded):
    adata = decoded.copy()
    sg.tl.curvature(adata, key="umap")
    assert np.isfinite(adata.obs["umap_gaussian_curvature"]).all()
    field = sg.tl.metric(adata, key="umap", at="grid", side="encoder")
    assert np.isfinite(field.tensors).all()
    sg.pl.curvature_heatmap(adata, basis="umap", resolution=30, show=False)
    sg.pl.jacobian_heatmap(adata, basis="umap", side="both", resolution=30, show=False)
    sg.pl.indicatrices(adata, basis="umap", where="grid", side="both", show=False)
    sc.tl.leiden(adata, neighbors_key="umap_distortion", flavor="igraph", n_iterations=2, directed=False)
    assert 2 <= adata.obs["leiden"].nunique() <= 60


def test_without_a_model(estimated):
    ax = sg.pl.indicatrices(estimated, basis="umap", show=False)
    assert ax.get_xlabel() == "umap1"
    ax = sg.pl.jacobian_heatmap(estimated, basis="umap", show=False)
    assert len(ax.collections) == 1  # the cells alone
    instead = re.escape("Run sg.tl.distortion(adata, basis='umap', method='decoder') for a model.")
    for call in (
        lambda: sg.pl.indicatrices(estimated, basis="umap", where="grid", show=False),
        lambda: sg.tl.curvature(estimated, key="umap"),
        lambda: sg.get.model(estimated, key="umap"),
    ):
        with pytest.raises(ValueError, match=rf"adata\.obsm\['X_umap'\] were estimated by the graph .*{instead}"):
            call()
    with pytest.raises(KeyError, match=r"'umap_log_area_encoder'.*run sg\.tl\.distortion\(adata, basis='umap'\) first"):
        sg.pl.jacobian_heatmap(estimated, basis="umap", side="encoder", show=False)


def test_one_after_the_other(decoded, estimated, reduced):
    """What the second run does not write, the first does not leave behind."""
    adata = decoded.copy()
    sg.tl.distortion(adata, method="laplacian")
    before = reduced.copy()
    before.uns["umap"] = {}
    assert new_slots(adata, before) == SHARED
    np.testing.assert_array_equal(adata.obsm["umap_metric"], estimated.obsm["umap_metric"])


@for_each("method", ["decoder", "laplacian"])
@for_each("form", ["h5ad", "zarr"])
def test_round_trip(decoded, estimated, tmp_path, method, form):
    adata = (decoded if method == "decoder" else estimated).copy()
    path = tmp_path / f"x.{form}"
    getattr(adata, f"write_{form}")(path)
    back = (read_h5ad if form == "h5ad" else read_zarr)(path)
    assert sg.get.scores(back, key="umap") == sg.get.scores(adata, key="umap")
    for plot in (sg.pl.indicatrices, sg.pl.jacobian_heatmap, sg.pl.broken_neighborhoods):
        plot(back, basis="umap", show=False)
    assert (back.obsp["umap_torn"] != adata.obsp["umap_torn"]).nnz == 0
    if method == "decoder":
        z = torch.from_numpy(np.array(back.obsm["X_umap"][:5])).float()
        ours, theirs = (sg.get.model(a, key="umap").decode(z) for a in (adata, back))
        assert torch.equal(ours, theirs)


def test_params_repeat_the_run(reduced):
    adata = run(reduced, n_pcs=20, random_state=3, hidden=(32,), n_neighbors=10, copy=True)
    params = dict(adata.uns["umap_distortion"]["params"])
    for name in ("data", "n_cells", "environment"):
        del params[name]
    again = sg.tl.distortion(reduced, **params, progress_bar=False, copy=True)
    assert np.array_equal(again.obsm["umap_metric"], adata.obsm["umap_metric"])


def test_copy_leaves_the_original_alone(reduced):
    adata = reduced.copy()
    assert isinstance(run(adata, copy=True), AnnData)
    assert new_slots(adata, reduced) == {}
    assert run(adata, method="laplacian") is None


def test_names_of_the_embedding(small):
    small.obsm["X_mine"] = small.X[:, :2].copy()
    small.obsm["tsne"] = small.X[:, 1:3].copy()  # as the next version of Scanpy names it
    for basis in ("mine", "X_mine", "tsne"):
        run(small, basis=basis, method="laplacian")
    assert {"mine_metric", "tsne_metric"} <= set(small.obsm)
    ax = sg.pl.indicatrices(small, basis="tsne", show=False)
    assert ax.get_xlabel() == "tsne1"
    sg.pl.broken_neighborhoods(small, basis="X_mine", show=False)
    # the first two variables are their own map
    np.testing.assert_allclose(np.median(sg.get.metric_tensors(small, key="mine"), axis=0), np.eye(2), atol=0.3)


@for_each("method", ["decoder", "laplacian"])
@for_each("d", [1, 3])
def test_other_dimensions(small, method, d):
    small.obsm["X_mine"] = small.X[:, :d].copy()
    run(small, basis="mine", method=method)
    assert sg.get.metric_tensors(small, key="mine").shape == (60, d, d)
    with pytest.raises(ValueError, match=rf"draws maps of 2 dimensions, and adata\.obsm\['X_mine'\] has {d}; make it"):
        sg.pl.indicatrices(small, basis="mine", show=False)


def test_a_map_of_ours_gets_its_tears_only(fitted):
    adata = fitted.copy()
    run(adata, basis="geoae")
    assert new_slots(adata, fitted) == {"obs": {"geoae_torn", "geoae_broken"}, "obsp": {"geoae_torn"}}
    assert np.array_equal(adata.obsm["geoae_metric"], fitted.obsm["geoae_metric"])
    assert adata.uns["geoae"]["torn"]["use_rep"] == "X_pca"
    # of four seeds 8 to 10 percent
    assert adata.obs["geoae_broken"].mean() < 0.12
    sg.pl.broken_neighborhoods(adata, basis="geoae", show=False)
    with pytest.raises(ValueError, match=r"'X_geoae'\] exist already: they belong to its own decoder"):
        run(adata, basis="geoae", method="laplacian")
    # a new map is not that which was torn
    sg.tl.geoae(adata, n_steps=5, progress_bar=False)
    assert "geoae_torn" not in adata.obs
    assert "geoae_torn" not in adata.obsp


def test_a_map_of_ours_takes_the_place_of_an_embedding(small):
    small.obsm["X_umap"] = small.X[:, :2].copy()
    run(small, method="laplacian")
    sg.tl.geoae(small, key_added="umap", n_steps=5, progress_bar=False)
    assert "umap_distortion" not in small.uns
    assert "MSE" in sg.get.scores(small, key="umap")


def test_a_rip(small):
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(1000, 2))
    adata = AnnData(x.astype(np.float32))
    right = x[:, 0] > 0.5
    adata.obsm["X_umap"] = x + 0.3 * right[:, None]
    run(adata, method="laplacian")
    i, j = adata.obsp["umap_torn"].nonzero()
    assert (right[i] != right[j]).all()
    assert adata.obs["umap_broken"][np.abs(x[:, 0] - 0.5) < 0.01].all()
    assert not adata.obs["umap_broken"][np.abs(x[:, 0] - 0.5) > 0.1].any()


def test_ruler_says_what_is_true(estimated):
    metric = sg.get.metric_tensors(estimated, key="umap")
    per_unit = np.sqrt(np.trace(metric, axis1=1, axis2=2).mean() / 2)
    uniform = estimated.copy()
    uniform.obs["umap_log_area"] = 0.0
    typical = np.median(np.linalg.det(metric.astype(float)) ** 0.25)
    # the scale of a UMAP varies, and the second of three bars holds at its median
    for adata, words, which, per_length in ((estimated, "", 1, typical), (uniform, ", on average", 0, per_unit)):
        ax = sg.pl.indicatrices(adata, basis="umap", show=False)
        # the legend of the outlines has a circle of the same kind
        (ruler,) = [
            a for a in ax.artists if a.findobj(AuxTransformBox) and "units" in a.findobj(TextArea)[0].get_text()
        ]
        text = ruler.findobj(TextArea)[0].get_text()
        number = re.fullmatch(rf"≈ ([\d.]+) units of X_pca{words}", text).group(1)
        assert number[0] in "125"
        ax.figure.canvas.draw()
        bar = ruler.findobj(AuxTransformBox)[which].get_children()[0]
        left, right = bar.get_window_extent().get_points()[:, 0]
        pixels = ax.transData.transform([[1, 0]])[0, 0] - ax.transData.transform([[0, 0]])[0, 0]
        assert (right - left) / pixels == pytest.approx(float(number) / per_length, rel=0.02)


def test_before_the_run(reduced, small):
    for call in (
        lambda a: sg.get.scores(a, key="umap"),
        lambda a: sg.get.metric_tensors(a, key="umap"),
        lambda a: sg.pl.jacobian_heatmap(a, basis="umap", show=False),
        lambda a: sg.tl.curvature(a, key="umap"),
    ):
        adata = reduced.copy()
        for scanpys in ({}, {"umap": {"params": {"a": 1, "b": 1}}}):
            adata.uns.update(scanpys)
            with pytest.raises(KeyError, match=r"run sg\.tl\.distortion\(adata, basis='umap'\) first"):
                call(adata)
    with pytest.raises(KeyError, match=r"Did not find 'X_umap' in adata.obsm, which has .*run sc\.pp\.neighbors"):
        run(small)
    with pytest.raises(KeyError, match=r"Did not find 'X_tsne' in adata.obsm, which has nothing\."):
        run(small, basis="tsne")
    assert not plt.get_fignums()


@for_each("method", ["decoder", "laplacian"])
def test_bad_embeddings(small, method):
    z = small.X[:, :2].copy()
    for bad, message in {
        "nan": r"1 of 60 cells have NaN or infinite values in adata\.obsm\['X_umap'\]",
        "line": r"The positions in adata\.obsm\['X_umap'\] do not fill its dimensions",
        "one place": r"All 60 cells are equal in adata\.obsm\['X_umap'\]",
        "nine": r"adata\.obsm\['X_umap'\] has 9 dimensions, more than adata\.X has features, 8",
    }.items():
        small.obsm["X_umap"] = {
            "nan": np.where(np.arange(60)[:, None] == 7, np.nan, z),
            "line": np.stack([z[:, 0], z[:, 0]], axis=1),
            "one place": np.ones_like(z),
            "nine": np.random.default_rng(0).normal(size=(60, 9)),
        }[bad]
        with pytest.raises(ValueError, match=message):
            run(small, method=method)
    few = AnnData(small.X[:3].copy())
    few.obsm["X_umap"] = z[:3]
    with pytest.raises(ValueError, match="A metric of 2 dimensions needs at least 4 cells, found 3"):
        run(few, method=method)


def test_bad_arguments(small):
    small.obsm["X_umap"] = small.X[:, :2].copy()
    before = small.copy()
    for message, arguments in {
        "`method` to be 'decoder' or 'laplacian', found 'spam'": {"method": "spam"},
        "`basis` to be the name of an embedding in adata.obsm, such as 'X_umap', found 'X_'": {"basis": "X_"},
        "`n_neighbors` to be at least 3 for a metric of 2 dimensions, found 2": {
            "n_neighbors": 2,
            "method": "laplacian",
        },
        "`n_steps` to be an integer >= 1, found 0": {"n_steps": 0},
    }.items():
        with pytest.raises(ValueError, match=re.escape(message)):
            run(small, **arguments)
    assert new_slots(small, before) == {}


def test_four_cells(small):
    adata = AnnData(small.X[:4].copy())
    adata.obsm["X_umap"] = small.X[:4, :2].copy()
    for method in ("decoder", "laplacian"):
        run(adata, method=method)
        assert np.isfinite(adata.obsm["umap_metric"]).all()


def test_log(reduced):
    log, before = io.StringIO(), (sc.settings.verbosity, sc.settings.logfile)
    sc.settings.verbosity, sc.settings.logfile = 3, log
    try:
        run(reduced, method="laplacian", copy=True)
    finally:
        sc.settings.verbosity, sc.settings.logfile = before
    printed = log.getvalue()
    assert "computing distortion of adata.obsm['X_umap'] as a map of adata.obsm['X_pca']" in printed
    assert "uns['umap_distortion'], params, scores" in printed
    assert "cells are broken" in printed


@pytest.mark.slow
@for_each("name, least", [("pbmc3k_pca", 0.8), ("packer2019_amphid_neurons", 0.7), ("zilionis2019_mouse_lung", 0.4)])
def test_estimators_agree_on_umap(reference, name, least):
    adata = reference(name)
    sc.pp.neighbors(adata, use_rep="X_pca")
    sc.tl.umap(adata)
    areas = []
    for method in ("decoder", "laplacian"):
        sg.tl.distortion(adata, use_rep="X_pca", method=method, progress_bar=False)
        areas.append(adata.obs["umap_log_area"].copy())
    assert spearmanr(*areas)[0] > least
    assert set(adata.uns["umap"]) == {"params"}
    assert 0 < adata.obsp["umap_torn"].nnz < 0.05 * 15 * adata.n_obs


@pytest.mark.slow
def test_tears_are_those_of_the_graph_beyond_an_exact_search(reduced, monkeypatch):
    adata = reduced.copy()
    sc.pp.neighbors(adata, n_neighbors=16, use_rep="X_pca")
    exact = sg.tl.distortion(adata, method="laplacian", use_rep="X_pca", copy=True)
    monkeypatch.setattr("scgeoae._anndata.neighbors.MAX_EXACT", 100)
    same = sg.tl.distortion(adata, method="laplacian", use_rep="X_pca", copy=True)
    assert same.uns["umap_distortion"]["torn"]["n_neighbors"] == 15
    np.testing.assert_array_equal(same.obsp["umap_torn"].indices, exact.obsp["umap_torn"].indices)
    np.testing.assert_allclose(same.obsp["umap_torn"].data, exact.obsp["umap_torn"].data, rtol=1e-5)
    np.testing.assert_allclose(same.obsm["umap_metric"], exact.obsm["umap_metric"], rtol=1e-4)
    # without the last neighbor of each cell, as by default in Scanpy
    sc.pp.neighbors(adata, n_neighbors=15, use_rep="X_pca")
    fewer = sg.tl.distortion(adata, method="laplacian", use_rep="X_pca", copy=True)
    monkeypatch.undo()
    expected = sg.tl.distortion(adata, method="laplacian", use_rep="X_pca", n_neighbors=14, copy=True)
    assert fewer.uns["umap_distortion"]["torn"]["n_neighbors"] == 14
    np.testing.assert_allclose(fewer.obs["umap_torn"], expected.obs["umap_torn"])
