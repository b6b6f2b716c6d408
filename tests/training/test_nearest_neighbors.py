from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from scgeoae.training import neighbors
from scgeoae.training.neighbors import InvertedFile, Neighbors, NeighborSearch, within

from ..for_each import for_each


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


class Search:
    """The searches of arrays, or of tensors on a device, whose results are arrays."""

    def __init__(self, form):
        self.form = form

    def given(self, x):
        return x if self.form == "arrays" else torch.from_numpy(x).to(self.form)

    def found(self, found):
        if self.form == "arrays":
            return found
        assert found.indices.device.type == self.form
        return Neighbors(*(part.cpu().numpy() for part in found))

    def nearest(self, x, k, of=None):
        return self.found(NeighborSearch(self.given(x)).nearest(k, None if of is None else self.given(of)))

    def file(self, x):
        return InvertedFile(self.given(x), 0)

    def inverted(self, x, k, of=None):
        return self.found(self.file(x).nearest(k, None if of is None else self.given(of)))


cuda = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"))


@pytest.fixture(scope="module", params=["arrays", "cpu", cuda])
def search(request):
    return Search(request.param)


def test_few_cells_are_searched_exactly(search):
    x = clusters(800)
    found, (indices, distances) = search.nearest(x, 20), exact(x, 20)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-4)
    others = clusters(50, seed=1)
    found, (indices, distances) = search.nearest(x, 20, of=others), exact(x, 20, others)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-4)
    assert (found.indices.dtype, found.distances.dtype) == (np.int32, np.float32)


def test_a_query_that_is_a_cell_finds_it(search):
    x = clusters(400)
    for found in (search.nearest(x, 5, of=x[30:60]), search.inverted(x, 5, of=x[30:60])):
        np.testing.assert_array_equal(found.indices[:, 0], np.arange(30, 60))
        np.testing.assert_allclose(found.distances[:, 0], 0, atol=1e-3 * found.distances[:, 1].min())


def test_the_inverted_file_finds_nearly_all(search):
    x = clusters()
    found = search.inverted(x, 15)
    indices, distances = exact(x, 15)
    # 0.9999 of them
    assert share(found.indices, indices) > 0.99
    assert (np.diff(found.distances, axis=1) >= 0).all()
    own = np.linalg.norm(x[:, None].astype(float) - x[found.indices], axis=2)
    np.testing.assert_allclose(found.distances, own, rtol=1e-3)
    assert (found.distances >= distances * (1 - 1e-3)).all()
    assert not (found.indices == np.arange(len(x))[:, None]).any()
    assert all(len(set(row)) == 15 for row in found.indices)


def test_what_does_not_fall_into_groups(search):
    x = np.random.default_rng(0).normal(size=(3000, 8)).astype(np.float32)
    assert share(search.inverted(x, 15).indices, exact(x, 15)[0]) > 0.9


def test_queries_are_searched_in_the_nearest_lists(search):
    x, others = clusters(), clusters(60, seed=0) + np.float32(0.01)
    assert share(search.inverted(x, 15, others).indices, exact(x, 15, others)[0]) > 0.99


@for_each("max_exact", [500, 10_000])
def test_company_and_calls_do_not_matter(max_exact, monkeypatch):
    monkeypatch.setattr(neighbors, "MAX_EXACT", max_exact)
    asked = clusters(60, seed=0) + np.float32(0.01)
    search = NeighborSearch(clusters())
    together = search.nearest(15, asked)
    for rows in (np.random.default_rng(0).permutation(60)[:50], *np.arange(60)[:, None]):
        found = search.nearest(15, asked[rows])
        assert found.indices.tobytes() == together.indices[rows].tobytes()
        assert found.distances.tobytes() == together.distances[rows].tobytes()


def test_hundreds_of_equal_cells(search):
    x = clusters(3000)
    x[500:900] = x[500]
    for found in (search.inverted(x, 15), search.nearest(x, 15)):
        equal = found.indices[500:900]
        assert ((equal >= 500) & (equal < 900)).all()
        assert (equal != np.arange(500, 900)[:, None]).all()
        assert all(len(set(row)) == 15 for row in equal)
        np.testing.assert_allclose(found.distances[500:900], 0, atol=1e-6)
    all_equal = search.inverted(np.ones((600, 4), dtype=np.float32), 15)
    assert (all_equal.indices != np.arange(600)[:, None]).all()
    assert all_equal.distances.max() == 0


def test_groups_that_are_a_thousand_times_further_apart_than_they_are_wide(search):
    rng = np.random.default_rng(0)
    centers = 1000 * rng.normal(size=(40, 10))
    x = (np.repeat(centers, 100, axis=0) + rng.normal(size=(4000, 10))).astype(np.float32)
    x /= x.std()
    for found in (search.inverted(x, 15), search.nearest(x, 15)):
        indices, distances = exact(x, 15)
        assert share(found.indices, indices) > 0.95
        np.testing.assert_allclose(found.distances, distances, rtol=0.02)


def test_few_cells_that_are_all_neighbors(search):
    x = clusters(6)
    found = search.nearest(x, 5)
    np.testing.assert_array_equal(np.sort(found.indices, axis=1), [np.delete(range(6), i) for i in range(6)])


def test_one_far_cell_does_not_blur_the_others(search):
    x = clusters(2000)
    x[7] += 1e5
    assert share(search.nearest(x, 15).indices, exact(x, 15)[0]) > 0.99


def test_small_blocks_find_the_same_and_so_does_a_second_search(search, monkeypatch):
    x = clusters(3000)
    once = search.inverted(x, 15)
    assert all(np.array_equal(*parts) for parts in zip(once, search.inverted(x, 15), strict=True))
    monkeypatch.setattr(neighbors, "BLOCK", 16)
    monkeypatch.setattr(neighbors, "TABLE_SIZE", 5000)
    # matrix products of another size may round otherwise
    assert share(search.inverted(x, 15).indices, once.indices) > 0.999


def test_no_list_is_much_longer_than_those_of_scikit_learn():
    x = clusters()
    sizes = [np.diff(InvertedFile(given, 0).ends) for given in (x, torch.from_numpy(x))]
    assert all(counts.sum() == len(x) for counts in sizes)
    assert sizes[1].max() < 2 * sizes[0].max()
    assert np.mean(sizes[1] == 0) < 0.02


def test_neighbors_within_a_sample_are_the_same_from_arrays_and_tensors():
    rng = np.random.default_rng(0)
    table = rng.integers(-1, 50, size=(50, 6)).astype(np.int32)
    rows = np.sort(rng.choice(50, 30, replace=False))
    among = torch.from_numpy(rng.choice(30, 20, replace=False))
    found = within(table, rows, among)
    assert torch.equal(found, within(torch.from_numpy(table), rows, among))
    allowed = set(rows[among.numpy()])
    for cell, row in enumerate(found.numpy()):
        kept = [j for j in table[rows[cell]] if j in allowed]
        np.testing.assert_array_equal(rows[row], np.resize(kept or rows[cell], 6))


def test_every_number_of_threads_finds_the_same(monkeypatch):
    x = clusters()
    alone = InvertedFile(x, 0).nearest(10)
    monkeypatch.setattr("torch.get_num_threads", lambda: 3)
    for one, other in zip(InvertedFile(x, 0).nearest(10), alone, strict=True):
        np.testing.assert_array_equal(one, other)
