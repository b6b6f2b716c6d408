from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.spatial.distance import cdist, pdist, squareform
from scipy.stats import spearmanr
from sklearn.neighbors import NearestNeighbors

import scgeoae as sg
import scgeoae.training.isomap as module
from scgeoae.training import Settings, fit, initialize
from scgeoae.training.isomap import isomap

from ..for_each import for_each


def rank_correlation(positions, true):
    return spearmanr(pdist(positions), pdist(true)).statistic


@for_each("n, noise", [(600, 0), (600, 0.5), (1000, 0), (1000, 0.5)])
def test_unrolls_the_swiss_roll(n, noise):
    roll = sg.datasets.swiss_roll(n_obs=n, noise=noise)
    positions = isomap(roll.X, 2)
    assert rank_correlation(positions, roll.obsm["X_true"]) > 0.99
    # in the unit of the data: paths of edges are somewhat longer than straight ones, noise makes them longer
    assert np.median(pdist(positions) / pdist(roll.obsm["X_true"])) == pytest.approx(1.15, abs=0.15)


def test_cells_outside_of_the_sample_are_placed_between_those_in_it(monkeypatch):
    monkeypatch.setattr(module, "MAX_UNROLLED", 700)
    roll = sg.datasets.swiss_roll(n_obs=1400)
    positions = isomap(roll.X, 2)
    assert rank_correlation(positions, roll.obsm["X_true"]) > 0.99
    inside = np.isin(np.arange(1400), np.sort(np.random.default_rng(0).choice(1400, 700, replace=False)))
    spread = [np.linalg.norm(positions[rows] - positions.mean(0), axis=1).mean() for rows in (inside, ~inside)]
    assert spread[1] == pytest.approx(spread[0], rel=0.05)


@for_each("d", [1, 2, 3, 4])
def test_any_number_of_dimensions(d):
    rng = np.random.default_rng(0)
    flat = rng.uniform(size=(800, d)) * [8, 1, 1, 1][:d]
    # one direction is rolled up, the others are as they are, in more dimensions than there are
    rolled = np.column_stack([np.cos(flat[:, 0]) * 2, np.sin(flat[:, 0]) * 2, flat[:, 1:], 0.2 * flat[:, 0] ** 2])
    length = np.sqrt(4 + (0.4 * (fine := np.linspace(0, 8, 10_001))) ** 2).cumsum() * (fine[1] - fine[0])
    true = np.column_stack([np.interp(flat[:, 0], fine, length), flat[:, 1:]])
    positions = isomap(rolled, d)
    assert positions.shape == (800, d)
    assert rank_correlation(positions, true) > 0.98


def test_with_all_cells_as_landmarks_it_is_that_of_scikit_learn():
    from sklearn.manifold import Isomap

    x = sg.datasets.swiss_roll(n_obs=400).X
    theirs = Isomap(n_neighbors=module.N_NEIGHBORS).fit_transform(x.astype(float))
    # they have fewer than 500 cells, so all are landmarks
    np.testing.assert_allclose(pdist(isomap(x, 2)), pdist(theirs), rtol=1e-6, atol=1e-4)


@for_each("n_features", [2, 30])
def test_pieces_are_joined_by_the_shortest_edges(n_features):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(200, n_features))
    # without an edge every point is a piece, and what joins them is the minimum spanning tree
    joined = module._joined(sparse.csr_matrix((200, 200)), points)
    tree = minimum_spanning_tree(cdist(points, points)).toarray()
    np.testing.assert_allclose(joined.toarray(), np.maximum(tree, tree.T), rtol=1e-6)


@for_each("gap", [30, 200])
def test_two_pieces_are_both_unrolled(gap):
    rolls = [sg.datasets.swiss_roll(n_obs=600, random_state=seed) for seed in (0, 1)]
    x = np.concatenate([rolls[0].X, rolls[1].X + np.array([0, gap, 0])])
    graph = module._nearest_graph(x)
    assert connected_components(graph)[0] > 1
    positions = isomap(x, 2)
    for roll, part in zip(rolls, np.split(positions, 2), strict=True):
        assert rank_correlation(part, roll.obsm["X_true"]) > 0.98
    # they are as far from each other as they were
    between = [np.median(cdist(*np.split(y, 2))) for y in (positions, x)]
    assert between[0] > between[1]
    nearest = NearestNeighbors(n_neighbors=5).fit(positions).kneighbors(return_distance=False)
    assert np.mean((nearest < 600) == (np.arange(1200)[:, None] < 600)) > 0.99


def test_equal_cells_share_a_position_and_hide_nothing():
    roll = sg.datasets.swiss_roll(n_obs=600)
    once = isomap(roll.X, 2)
    several = isomap(np.repeat(roll.X, 8, axis=0)[:4000], 2)
    assert np.array_equal(several[::8], several[7::8])
    np.testing.assert_allclose(several[::8], isomap(roll.X[:500], 2)[:500], rtol=1e-6, atol=1e-6)
    assert rank_correlation(several[::8], roll.obsm["X_true"][:500]) > 0.98
    assert rank_correlation(once, roll.obsm["X_true"]) > 0.98


def test_a_given_graph_decides_what_is_near():
    # a circle that the graph cuts open; 2π is next to 0, but not in the graph
    angle = np.random.default_rng(0).permutation(np.linspace(0, 2 * np.pi, 300, endpoint=False))
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    order = np.argsort(angle)
    neighbors = np.full((300, 2), -1)
    neighbors[order[1:], 0] = order[:-1]
    neighbors[order[:-1], 1] = order[1:]
    open_circle = isomap(x, 1, neighbors=neighbors)[:, 0]
    assert abs(np.corrcoef(open_circle, angle)[0, 1]) > 0.9999
    assert abs(np.corrcoef(isomap(x, 1)[:, 0], angle)[0, 1]) < 0.9


def test_a_graph_with_equal_cells_is_not_cut_into_them():
    roll = sg.datasets.swiss_roll(n_obs=500)
    x = np.repeat(roll.X, 2, axis=0)
    # the neighbor of each cell is its duplicate
    neighbors = (np.arange(1000) ^ 1)[:, None]
    np.testing.assert_array_equal(isomap(x, 2, neighbors=neighbors), isomap(x, 2))


def test_the_same_seed_gives_the_same_bits():
    x = sg.datasets.swiss_roll(n_obs=800).X
    np.testing.assert_array_equal(isomap(x, 2, seed=3), isomap(x, 2, seed=3))
    assert not np.array_equal(isomap(x, 2, seed=3), isomap(x, 2, seed=4))
    assert rank_correlation(isomap(x, 2, seed=3), isomap(x, 2, seed=4)) > 0.99


@for_each(
    "x, d",
    [
        (np.linspace(0, 1, 50)[:, None] * np.ones(3), 2),
        (np.ones((50, 3)), 1),
        (np.repeat(np.eye(3), 20, axis=0), 3),
    ],
)
def test_data_of_fewer_dimensions_are_refused(x, d):
    with pytest.raises(ValueError, match=rf"fewer than {d} dimensions in adata\.X; give a smaller `n_components`"):
        isomap(x, d, name="adata.X")


def test_fit_starts_there(monkeypatch):
    monkeypatch.setattr(initialize, "N_WARM_UP_STEPS", 300)
    roll = sg.datasets.swiss_roll(n_obs=600)
    # a rate at which the one step of training does nothing
    settings = Settings(regularizer=None, n_steps=1, learning_rate=1e-9)
    fitted = fit(roll.X, settings, init_pos="isomap")
    true = squareform(roll.obsp["geodesic_distances"], checks=False)
    assert spearmanr(pdist(fitted.embedding), true).statistic > 0.98
    with pytest.raises(ValueError, match=r"`init_pos` to be an array of numbers of shape \(600, 2\), found str"):
        fit(roll.X, settings, init_pos="spectral")
