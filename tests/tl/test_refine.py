"""The second stage of `tl.geoae`, what `tl.transform` makes of it, and the graph it follows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from anndata import AnnData, read_h5ad
from sklearn.neighbors import NearestNeighbors

import scgeoae as sg
from scgeoae._anndata.map import read_map
from scgeoae._anndata.neighbors import choose_graph
from scgeoae._anndata.representation import choose_representation
from scgeoae.training import Settings, fit
from scgeoae.training.positions import Jumps
from scgeoae.training.refine import Pace

from ..for_each import for_each

QUICK = {"n_steps": 100, "hidden": (32,), "batch_size": 64, "progress_bar": False}
# the second stage alone, and all for the neighbors
FOLLOWED = QUICK | {"neighbors_weight": 0, "refine": True, "tsne_weight": 5}


def recall(x, z, k=10):
    near = [NearestNeighbors(n_neighbors=k).fit(c).kneighbors(return_distance=False) for c in (x, z)]
    return np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(*near, strict=True)])


def sheet(n=150, seed=0):
    rng = np.random.default_rng(seed)
    x = 0.1 * rng.normal(size=(n, 8))
    x[:, :2] += rng.uniform(size=(n, 2)) * [4, 2]
    return AnnData(x.astype(np.float32))


def write_graph(adata, x, key="neighbors", *, metric="euclidean", use_rep="X", k=14):
    """Write the neighbors among other points, in the form of `scanpy.pp.neighbors`, which takes long to compile."""
    name = "distances" if key == "neighbors" else f"{key}_distances"
    found = NearestNeighbors(n_neighbors=k, metric=metric).fit(x)
    adata.obsp[name] = found.kneighbors_graph(mode="distance")
    adata.uns[key] = {"distances_key": name, "params": {"n_neighbors": k + 1, "metric": metric, "use_rep": use_rep}}


@pytest.fixture(scope="module")
def encoded(reduced):
    adata = reduced.copy()
    sg.tl.geoae(adata, refine=False, progress_bar=False)
    return adata


def test_without_it_the_map_is_that_of_the_encoder(encoded):
    model = sg.get.model(encoded)
    expected = model.encode(torch.from_numpy(encoded.obsm["X_pca"].astype(np.float32))).numpy()
    np.testing.assert_allclose(encoded.obsm["X_geoae"], expected, atol=1e-4 * np.ptp(expected))
    assert not encoded.uns["geoae"]["params"]["refine"]
    assert "MSE_encoder" not in sg.get.scores(encoded)


def test_it_keeps_more_neighbors_and_the_metric(fitted, encoded):
    x = fitted.obsm["X_pca"]
    # 0.431 and 0.360
    assert recall(x, fitted.obsm["X_geoae"]) > 1.17 * recall(x, encoded.obsm["X_geoae"])
    scores = sg.get.scores(fitted)
    # 0.048
    assert scores["CN"] < 0.1
    # no more reconstruction error: 0.38 of both
    assert scores["MSE"] < 1.05 * sg.get.scores(encoded)["MSE"]
    assert fitted.uns["geoae"]["params"]["refine"]


def test_the_encoder_follows_and_the_decoder_has_its_tensors_at_the_cells(fitted):
    model, z = sg.get.model(fitted), fitted.obsm["X_geoae"]
    own = model.encode(torch.from_numpy(fitted.obsm["X_pca"].astype(np.float32))).numpy()
    square = np.square(own - z).mean(1) / z.var(0).mean()
    assert sg.get.scores(fitted)["MSE_encoder"] == pytest.approx(square.mean(), rel=1e-3)
    assert 0 < square.mean() < 0.01
    expected = model.metric(torch.from_numpy(z)).numpy()
    np.testing.assert_allclose(sg.get.metric_tensors(fitted), expected, rtol=1e-3, atol=1e-4)
    error = np.square(model.decode(torch.from_numpy(z)).numpy() - fitted.obsm["X_pca"]).sum(1)
    np.testing.assert_allclose(fitted.obs["geoae_reconstruction_error"], error, rtol=1e-3)


def test_the_unit_of_the_ruler_is_that_of_chords(fitted):
    scores = sg.get.scores(fitted)
    assert scores["chord"] == pytest.approx(1, abs=1e-3)
    unit = read_map(fitted, "geoae").unit
    assert unit.per_length == pytest.approx(1 / scores["chord"])
    assert unit.spread == scores["chord_spread"]
    # over all pairs of cells
    z = torch.from_numpy(fitted.obsm["X_geoae"])
    decoded = sg.get.model(fitted).decode(z)
    ratio = (torch.pdist(z) / torch.pdist(decoded)).numpy()
    low, median, high = np.quantile(ratio, [0.16, 0.5, 0.84])
    assert median == pytest.approx(scores["chord"], rel=0.02)
    assert (high - low) / (2 * median) == pytest.approx(scores["chord_spread"], rel=0.05)


@for_each(
    "kwargs, expected",
    [
        ({}, True),
        ({"regularizer": "volume"}, True),
        ({"regularizer": "conformal"}, True),
        ({"regularizer": "topological"}, False),
        ({"regularizer": None}, False),
        ({"neighbors_weight": 0}, False),
        ({"side": "encoder"}, False),
        ({"regularizer": None, "refine": True}, True),
    ],
)
def test_which_maps_have_it_by_default(kwargs, expected):
    assert Settings(**kwargs).refines is expected


@for_each(
    "kwargs, message",
    [
        ({"perplexity": 1}, "Expected `perplexity` to be a finite number > 1, found 1"),
        ({"perplexity": np.inf}, "Expected `perplexity` to be a finite number"),
        ({"tsne_weight": -1}, "Expected `tsne_weight` to be a finite number >= 0, found -1"),
    ],
)
def test_arguments_out_of_range(kwargs, message):
    adata = sheet(20)
    with pytest.raises(ValueError, match=message):
        sg.tl.geoae(adata, **QUICK, **kwargs)
    assert "X_geoae" not in adata.obsm


def test_perplexity_is_how_many_neighbors_count(monkeypatch):
    asked = []
    search = fit.__globals__["nearest_neighbors"]
    monkeypatch.setattr("scgeoae.training.refine.FEW", Pace(1, 0.5, Jumps(within=6, gain=3)))
    monkeypatch.setitem(fit.__globals__, "nearest_neighbors", lambda x, k, **o: (asked.append(k), search(x, k, **o))[1])
    for perplexity in (5, 30, 100):
        sg.tl.geoae(sheet(120), perplexity=perplexity, **QUICK)
    assert asked == [10, 60, 119]


@pytest.fixture(scope="module")
def unnamed():
    """Of the sheet, without a graph."""
    return sg.tl.geoae(sheet(), copy=True, **FOLLOWED).obsm["X_geoae"]


def test_a_graph_that_is_named_is_followed(unnamed):
    adata = sheet()
    x, order = np.asarray(adata.X), np.random.default_rng(1).permutation(adata.n_obs)
    write_graph(adata, x)
    write_graph(adata, x[order], "other")
    named = sg.tl.geoae(adata, copy=True, neighbors_key="other", **FOLLOWED).obsm["X_geoae"]
    # its neighbors are those of other cells
    assert recall(x[order], named) > 2 * recall(x[order], unnamed)
    assert recall(x, unnamed) > 2 * recall(x, named)


def test_a_euclidean_graph_is_not_needed(unnamed):
    adata = sheet()
    write_graph(adata, np.asarray(adata.X)[::-1])
    assert sg.tl.geoae(adata, copy=True, **FOLLOWED).obsm["X_geoae"].tobytes() == unnamed.tobytes()


def test_a_graph_of_another_metric_is_followed(unnamed):
    adata = sheet()
    x, order = np.asarray(adata.X), np.random.default_rng(1).permutation(adata.n_obs)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    write_graph(adata, x[order], metric="cosine")
    found = sg.tl.geoae(adata, copy=True, **FOLLOWED).obsm["X_geoae"]
    assert recall(x[order], found) > 2 * recall(x[order], unnamed)


def test_what_is_read_of_a_graph():
    adata = sheet(60)
    chosen = choose_representation(adata, use_rep=None, n_pcs=None, layer=None)
    assert choose_graph(adata, chosen, key=None, k=30) is None
    x = np.asarray(adata.X)
    write_graph(adata, x, k=9)
    assert choose_graph(adata, chosen, key=None, k=30) is None
    found = choose_graph(adata, chosen, key="neighbors", k=30)
    assert found.indices.shape == (60, 30)
    lengths, near = NearestNeighbors(n_neighbors=9).fit(adata.X).kneighbors()
    np.testing.assert_array_equal(found.indices[:, :9], near)
    np.testing.assert_allclose(found.distances[:, :9], lengths, rtol=1e-4)
    assert (found.indices[:, 9:] == -1).all()
    assert np.isinf(found.distances[:, 9:]).all()
    few = choose_graph(adata, chosen, key="neighbors", k=4)
    np.testing.assert_array_equal(few.indices, near[:, :4])
    write_graph(adata, x, metric="cosine", k=9)
    lengths, near = NearestNeighbors(n_neighbors=9, metric="cosine").fit(adata.X).kneighbors()
    found = choose_graph(adata, chosen, key=None, k=9)
    np.testing.assert_array_equal(found.indices, near)
    # one of another representation says nothing of this one, whatever its metric
    adata.obsm["X_half"] = np.asarray(adata.X)[:, 4:]
    write_graph(adata, x[:, 4:], metric="cosine", use_rep="X_half", k=9)
    assert choose_graph(adata, chosen, key=None, k=9) is None
    assert choose_graph(adata, chosen, key="neighbors", k=9) is not None


def test_a_graph_that_is_not_there():
    adata = sheet(40)
    with pytest.raises(KeyError, match=r"Did not find a neighbor graph in adata.uns\['missing'\]"):
        sg.tl.geoae(adata, neighbors_key="missing", **QUICK)
    with pytest.raises(KeyError, match=r"Did not find a neighbor graph in adata.uns\['missing'\]"):
        sg.tl.geoae(adata, neighbors_key="missing", neighbors_weight=0, refine=True, **QUICK)


@pytest.fixture(scope="module")
def left_out(reduced):
    is_new = np.random.default_rng(0).permutation(reduced.n_obs) < reduced.n_obs // 5
    known, new = reduced[~is_new].copy(), reduced[is_new].copy()
    sg.tl.geoae(known, **QUICK)
    return known, sg.tl.transform(new, known, use_rep="X_pca", copy=True)


def test_new_cells_settle_among_their_neighbors(left_out):
    known, new = left_out
    x = np.vstack([known.obsm["X_pca"], new.obsm["X_pca"]])

    def share(z):
        cells = np.arange(known.n_obs, known.n_obs + new.n_obs)
        z = np.vstack([known.obsm["X_geoae"], z])
        near = [NearestNeighbors(n_neighbors=11).fit(c).kneighbors(c[cells], return_distance=False) for c in (x, z)]
        return np.mean([len(np.intersect1d(a[1:], b[1:])) / 10 for a, b in zip(*near, strict=True)])

    encoded = sg.get.model(known).encode(torch.from_numpy(new.obsm["X_pca"].astype(np.float32))).numpy()
    # 0.44 and 0.25
    assert share(new.obsm["X_geoae"]) > 1.4 * share(encoded)
    # tensors and errors are those of the places
    model, z = sg.get.model(known), torch.from_numpy(new.obsm["X_geoae"])
    np.testing.assert_allclose(sg.get.metric_tensors(new), model.metric(z).numpy(), rtol=1e-3, atol=1e-4)
    error = np.square(model.decode(z).numpy() - new.obsm["X_pca"]).sum(1)
    np.testing.assert_allclose(new.obs["geoae_reconstruction_error"], error, rtol=1e-3)


def test_known_cells_land_on_their_places(left_out):
    known, _ = left_out
    again = known.copy()
    del again.obsm["X_geoae"]
    sg.tl.transform(again, known, use_rep="X_pca")
    z = known.obsm["X_geoae"]
    np.testing.assert_allclose(again.obsm["X_geoae"], z, atol=1e-5 * np.ptp(z))


def test_a_new_cell_lands_on_the_same_bits_in_any_company(left_out):
    known, new = left_out
    order = np.random.default_rng(0).permutation(new.n_obs)[:12]
    some = sg.tl.transform(new[order].copy(), known, use_rep="X_pca", copy=True).obsm["X_geoae"]
    assert some.tobytes() == new.obsm["X_geoae"][order].tobytes()
    one = sg.tl.transform(new[7:8].copy(), known, use_rep="X_pca", copy=True).obsm["X_geoae"]
    assert one.tobytes() == new.obsm["X_geoae"][7:8].tobytes()


def test_on_a_map_of_the_encoder_the_encoder_places_new_cells():
    adata = sheet(120)
    known, new = adata[:100].copy(), adata[100:].copy()
    sg.tl.geoae(known, refine=False, **QUICK)
    sg.tl.transform(new, known)
    expected = sg.get.model(known).encode(torch.from_numpy(np.asarray(new.X))).numpy()
    np.testing.assert_allclose(new.obsm["X_geoae"], expected, atol=1e-5 * np.ptp(expected))


@pytest.fixture(scope="module")
def even():
    """A map with equal room of a dense and a sparse group, and new cells of both."""
    rng = np.random.default_rng(0)
    is_sparse = rng.random(300) < 0.5
    x = rng.normal(size=(300, 8)) * np.where(is_sparse, 1, 0.2)[:, None]
    x[:, 0] += 8 * is_sparse
    adata = AnnData(x.astype(np.float32))
    adata.obs["sparse"] = is_sparse
    known = adata[:240].copy()
    sg.tl.geoae(known, equal_room=1, n_steps=200, hidden=(32,), batch_size=64, progress_bar=False)
    return known, adata[240:].copy()


def room(z, of, is_sparse):
    """Ratio of the distances from cells of both groups to the fifth cell of the map."""
    far = NearestNeighbors(n_neighbors=6).fit(z).kneighbors(of)[0][:, 5]
    return np.median(far[is_sparse]) / np.median(far[~is_sparse])


def test_new_cells_get_the_room_of_the_cells_of_the_map(even):
    known, new = even
    sg.tl.transform(new, known)
    z, placed = known.obsm["X_geoae"], new.obsm["X_geoae"]
    assert room(z, z, known.obs["sparse"].to_numpy()) == pytest.approx(1, abs=0.25)
    assert room(z, placed, new.obs["sparse"].to_numpy()) == pytest.approx(1, abs=0.35)
    # beside cells of their group, at the scale that holds there
    near = NearestNeighbors(n_neighbors=1).fit(z).kneighbors(placed, return_distance=False)[:, 0]
    assert (known.obs["sparse"].to_numpy()[near] == new.obs["sparse"].to_numpy()).all()
    assert np.corrcoef(known.obs["geoae_log_area"].to_numpy()[near], new.obs["geoae_log_area"])[0, 1] > 0.9
    assert sg.get.scores(known)["CN"] < 0.1
    # cells of the map stay where they are
    again = sg.tl.transform(known.copy(), known, copy=True)
    np.testing.assert_allclose(again.obsm["X_geoae"], z, atol=1e-5 * np.ptp(z))


def test_new_cells_follow_the_record_of_the_map(even, tmp_path):
    known, new = even
    assert known.uns["geoae"]["params"]["equal_room"] == 1
    assert known.uns["geoae"]["params"]["regularizer"] == "isometric"
    placed = sg.tl.transform(new, known, copy=True).obsm["X_geoae"]
    known.write_h5ad(tmp_path / "known.h5ad")
    back = read_h5ad(tmp_path / "known.h5ad")
    assert sg.tl.transform(new, back, copy=True).obsm["X_geoae"].tobytes() == placed.tobytes()
    # kernels of other widths would put them elsewhere; a map of an earlier version has no record
    del back.uns["geoae"]["params"]["equal_room"]
    elsewhere = sg.tl.transform(new, back, copy=True).obsm["X_geoae"]
    assert np.linalg.norm(elsewhere - placed, axis=1).max() > 0.01 * np.ptp(placed)


def test_the_record_of_a_run_repeats_it(even):
    known, _ = even
    params = known.uns["geoae"]["params"]
    names = ("regularizer", "strength", "equal_room", "n_steps", "hidden", "batch_size", "random_state")
    again = AnnData(known.X, obs=known.obs[["sparse"]])
    sg.tl.geoae(again, progress_bar=False, **{name: params[name] for name in names})
    assert again.obsm["X_geoae"].tobytes() == known.obsm["X_geoae"].tobytes()


def test_without_refinement_there_is_no_equal_room():
    adata = sheet(60)
    with pytest.raises(ValueError, match="equal_room=1 acts in the refinement"):
        sg.tl.geoae(adata, equal_room=1, refine=False, **QUICK)
    assert not adata.obsm


def test_equal_room_of_a_matrix_that_is_too_large_to_hold(monkeypatch):
    monkeypatch.setattr("scgeoae.tl._geoae.MAX_HELD", 10)
    with pytest.raises(ValueError, match=r"equal_room=1 acts in the refinement.*give refine=True"):
        sg.tl.geoae(sheet(60), equal_room=1, **QUICK)
