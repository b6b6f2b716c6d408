from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from scgeoae.training.neighbors import InvertedFile, nearest_neighbors


def clusters(n=4000, n_clusters=30, d=20, apart=4.0, seed=0):
    """Curved groups of unequal size, as types of cells are."""
    rng = np.random.default_rng(seed)
    centers = apart * rng.normal(size=(n_clusters, d))
    kind = rng.choice(n_clusters, n, p=rng.dirichlet(np.full(n_clusters, 2.0)))
    inside = rng.normal(size=(n, 3))
    bent = np.hstack([inside, inside**2 / 3]) @ rng.normal(size=(n_clusters, 6, d))[0] / 2
    return (centers[kind] + bent + 0.3 * rng.normal(size=(n, d))).astype(np.float32)


def exact(x, k, of=None):
    distance = cdist(x if of is None else of, x)
    if of is None:
        np.fill_diagonal(distance, np.inf)
    indices = np.argpartition(distance, k, axis=1)[:, :k]
    lengths = np.take_along_axis(distance, indices, axis=1)
    order = np.argsort(lengths, axis=1)
    return np.take_along_axis(indices, order, axis=1), np.take_along_axis(lengths, order, axis=1)


def share(found, expected):
    return np.mean([len(np.intersect1d(a, b)) / len(b) for a, b in zip(found, expected, strict=True)])


def test_few_cells_are_searched_exactly():
    x = clusters(800)
    found, (indices, distances) = nearest_neighbors(x, 20), exact(x, 20)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-4)
    others = clusters(50, seed=1)
    found, (indices, distances) = nearest_neighbors(x, 20, of=others), exact(x, 20, others)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-4)
    assert (found.indices.dtype, found.distances.dtype) == (np.int32, np.float32)


def test_a_query_that_is_a_cell_finds_it():
    x = clusters(400)
    for found in (nearest_neighbors(x, 5, of=x[30:60]), InvertedFile(x, 0).nearest(5, x[30:60])):
        np.testing.assert_array_equal(found.indices[:, 0], np.arange(30, 60))
        np.testing.assert_allclose(found.distances[:, 0], 0, atol=1e-3 * found.distances[:, 1].min())


@pytest.fixture(scope="module")
def file():
    x = clusters()
    return x, InvertedFile(x, 0)


def test_the_inverted_file_finds_nearly_all(file):
    x, lists = file
    found = lists.nearest(15)
    indices, distances = exact(x, 15)
    # 0.9999 of them
    assert share(found.indices, indices) > 0.99
    assert (np.diff(found.distances, axis=1) >= 0).all()
    own = np.linalg.norm(x[:, None].astype(float) - x[found.indices], axis=2)
    np.testing.assert_allclose(found.distances, own, rtol=1e-3)
    assert (found.distances >= distances * (1 - 1e-3)).all()
    assert not (found.indices == np.arange(len(x))[:, None]).any()
    assert all(len(set(row)) == 15 for row in found.indices)


def test_what_does_not_fall_into_groups():
    x = np.random.default_rng(0).normal(size=(3000, 8)).astype(np.float32)
    assert share(InvertedFile(x, 0).nearest(15).indices, exact(x, 15)[0]) > 0.9


def test_queries_find_the_same_one_by_one(file):
    x, lists = file
    others = clusters(60, seed=0) + np.float32(0.01)
    together = lists.nearest(15, others)
    assert share(together.indices, exact(x, 15, others)[0]) > 0.99
    for row in range(60):
        alone = lists.nearest(15, others[row : row + 1])
        assert alone.indices.tobytes() == together.indices[row].tobytes()
        assert alone.distances.tobytes() == together.distances[row].tobytes()


def test_queries_below_the_limit_find_the_same_one_by_one():
    x, others = clusters(1500), clusters(60, seed=1)
    together = nearest_neighbors(x, 30, of=others)
    for row in range(60):
        alone = nearest_neighbors(x, 30, of=others[row : row + 1])
        assert alone.indices.tobytes() == together.indices[row].tobytes()
        assert alone.distances.tobytes() == together.distances[row].tobytes()


def test_hundreds_of_equal_cells():
    x = clusters(3000)
    x[500:900] = x[500]
    for found in (InvertedFile(x, 0).nearest(15), nearest_neighbors(x, 15)):
        equal = found.indices[500:900]
        assert ((equal >= 500) & (equal < 900)).all()
        assert (equal != np.arange(500, 900)[:, None]).all()
        assert all(len(set(row)) == 15 for row in equal)
        np.testing.assert_allclose(found.distances[500:900], 0, atol=1e-6)
    all_equal = InvertedFile(np.ones((600, 4), dtype=np.float32), 0).nearest(15)
    assert (all_equal.indices != np.arange(600)[:, None]).all()
    assert all_equal.distances.max() == 0


def test_groups_that_are_a_thousand_times_further_apart_than_they_are_wide():
    rng = np.random.default_rng(0)
    centers = 1000 * rng.normal(size=(40, 10))
    x = (np.repeat(centers, 100, axis=0) + rng.normal(size=(4000, 10))).astype(np.float32)
    x /= x.std()
    for found in (InvertedFile(x, 0).nearest(15), nearest_neighbors(x, 15)):
        indices, distances = exact(x, 15)
        assert share(found.indices, indices) > 0.95
        np.testing.assert_allclose(found.distances, distances, rtol=0.02)
