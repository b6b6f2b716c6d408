from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from scgeoae.graphs import nearest_others

from ..for_each import for_each


@st.composite
def maps(draw):
    """Positions, some of them shared by many cells, and how many neighbors to look for."""
    n, d = draw(st.integers(2, 60)), draw(st.sampled_from([1, 2, 3, 10, 16]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_places = draw(st.integers(1, n))
    z = rng.normal(size=(n_places, d))[rng.integers(n_places, size=n)]
    return z.astype(draw(st.sampled_from([np.float32, np.float64]))), draw(st.integers(1, n - 1))


def assert_others(neighbors, n, k):
    assert neighbors.shape == (n, k)
    assert (neighbors != np.arange(n)[:, None]).all()
    assert (np.diff(np.sort(neighbors, axis=1), axis=1) > 0).all()
    assert neighbors.min() >= 0
    assert neighbors.max() < n


@given(maps())
def test_none_is_nearer_than_the_nearest(drawn):
    z, k = drawn
    neighbors = nearest_others(z, k)
    assert_others(neighbors, len(z), k)
    found = np.linalg.norm(z[neighbors].astype(np.float64) - z[:, None], axis=2)
    expected, _ = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(z.astype(np.float64)).kneighbors()
    # brute force subtracts the squares of lengths, and is itself not exact near 0
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_blocks_join(monkeypatch):
    z = np.random.default_rng(0).normal(size=(100, 2))
    at_once = nearest_others(z, 5)
    monkeypatch.setattr("scgeoae.graphs.neighbors.BLOCK", 7)
    monkeypatch.setattr("torch.get_num_threads", lambda: 3)
    np.testing.assert_array_equal(nearest_others(z, 5), at_once)


@for_each("d", [2, 20])
def test_a_thousand_cells_on_one_place(d):
    z = np.zeros((1100, d), dtype=np.float32)
    z[1000:] = np.random.default_rng(0).normal(size=(100, d)) + 10
    neighbors = nearest_others(z, 15)
    assert_others(neighbors, len(z), 15)
    assert (neighbors[:1000] < 1000).all()
