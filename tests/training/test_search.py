from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from scgeoae._search import Search, nearest
from scgeoae.training import search
from scgeoae.training.neighbors import nearest_neighbors
from scgeoae.training.search import NeighborSearch

from ..for_each import for_each


def points(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


@for_each("m, d, k", [(5, 3, 5), (40, 2, 33), (1025, 1, 7), (3000, 50, 50), (2500, 200, 1)])
def test_the_nearest_cells_are_found(m, d, k):
    cells, asked = points(m, d), points(60, d, seed=1)
    indices, distances = Search(cells).nearest(asked, k)
    all_distances = cdist(asked.astype(float), cells.astype(float))
    np.testing.assert_allclose(distances, np.sort(all_distances, axis=1)[:, :k], rtol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(all_distances, indices.astype(int), 1), distances, rtol=1e-5)
    assert (np.diff(np.sort(indices, axis=1), axis=1) > 0).all()


def test_products_that_lose_all_digits_do_not_decide():
    # groups so far apart that the distances within them are below the rounding of the squares
    cells = points(3000, 10) * np.float32(1e-3)
    cells[1500:] += 300
    asked = cells[[5, 1700]] + np.float32(1e-4)
    found = Search(cells).nearest(asked, 20)[0]
    expected = np.argsort(cdist(asked.astype(float), cells.astype(float)), axis=1)[:, :20]
    np.testing.assert_array_equal(np.sort(found), np.sort(expected))


def test_of_hundreds_of_equal_cells_the_first_are_found():
    cells = points(2000, 8)
    cells[300:900] = cells[7]
    indices, distances = Search(cells).nearest(cells[7:8], 30)
    np.testing.assert_array_equal(indices[0], [7, *range(300, 329)])
    assert not distances.any()


@for_each("n_threads", [1, 3])
def test_company_and_threads_do_not_matter(n_threads):
    cells, asked = points(4000, 20), points(700, 20, seed=1)
    expected = Search(cells).nearest(asked, 9)
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        found = nearest(Search(cells), asked, 9)
    finally:
        torch.set_num_threads(before)
    alone = [Search(cells).nearest(point[None], 9) for point in asked[:20]]
    for which in (0, 1):
        assert found[which].tobytes() == expected[which].tobytes()
        assert np.concatenate([one[which] for one in alone]).tobytes() == expected[which][:20].tobytes()


@pytest.fixture
def in_lists(monkeypatch):
    monkeypatch.setattr(search, "MAX_EXACT", 500)
    monkeypatch.setattr("scgeoae.training.neighbors.MAX_EXACT", 500)
    return points(6000, 3), points(300, 3, seed=1)


def test_beyond_some_cells_it_finds_what_the_inverted_file_finds(in_lists):
    cells, asked = in_lists
    found, expected = NeighborSearch(cells).nearest(asked, 15), nearest_neighbors(cells, 15, of=asked)
    np.testing.assert_allclose(found.distances, expected.distances, rtol=1e-5)
    assert (found.indices == expected.indices).mean() > 0.999
    exact = np.sort(cdist(asked.astype(float), cells.astype(float)), axis=1)[:, :15]
    assert np.isclose(found.distances, exact, rtol=1e-4).mean() > 0.95


def test_in_lists_company_does_not_matter(in_lists):
    cells, asked = in_lists
    of = NeighborSearch(cells)
    whole = of.nearest(asked, 15)
    order = np.random.default_rng(2).permutation(len(asked))[:50]
    some = of.nearest(asked[order], 15)
    assert some.indices.tobytes() == whole.indices[order].tobytes()
    assert some.distances.tobytes() == whole.distances[order].tobytes()
