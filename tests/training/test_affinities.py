from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.special import entr
from sklearn.manifold._t_sne import _joint_probabilities, _joint_probabilities_nn
from sklearn.metrics import pairwise_distances

from scgeoae.training import affinities as module
from scgeoae.training.affinities import affinities, affinity_edges, conditional
from scgeoae.training.neighbors import Neighbors, nearest_neighbors

from ..for_each import for_each


def cells(n=120, d=5, seed=0):
    rng = np.random.default_rng(seed)
    # two groups of other density, so that widths differ
    spread = np.where(np.arange(n) < n // 2, 1.0, 0.1)[:, None]
    return (spread * rng.normal(size=(n, d)) + 4 * (spread < 1)).astype(np.float32)


@for_each("k, perplexity", [(15, 5.0), (75, 25.0), (60, 40.0)])
def test_they_are_those_of_scikit_learn(k, perplexity):
    found = nearest_neighbors(cells(), k)
    n = len(found.indices)
    square = np.square(found.distances, dtype=np.float64)
    # scikit-learn sorts the arrays that it is given
    graph = sparse.csr_matrix((square.ravel(), found.indices.ravel().copy(), np.arange(0, n * k + 1, k)), shape=(n, n))
    expected = n * _joint_probabilities_nn(graph, perplexity, 0).toarray()
    p = affinities(found, perplexity)
    assert p.sum() == pytest.approx(n, rel=1e-6)
    np.testing.assert_allclose(p.toarray(), expected, rtol=2e-3, atol=1e-6)


def test_of_all_neighbors_they_are_those_of_exact_tsne():
    x = cells(80)
    p = affinities(nearest_neighbors(x, 79), 20).toarray()
    square = pairwise_distances(x.astype(np.float64), squared=True).astype(np.float32)
    expected = np.zeros_like(p)
    expected[np.triu_indices(80, 1)] = 80 * _joint_probabilities(square, 20, 0)
    np.testing.assert_allclose(p, expected + expected.T, rtol=2e-3, atol=1e-6)


@given(
    st.integers(0, 2**32 - 1),
    st.integers(4, 60),
    st.floats(0.05, 0.95),
    st.floats(0.01, 2),
    st.integers(-6, 6),
)
def test_the_entropy_of_a_row_is_the_logarithm_of_the_perplexity(seed, k, share, inequality, exponent):
    distances = np.sort(np.random.default_rng(seed).lognormal(sigma=inequality, size=(20, k)), axis=1)
    perplexity = 1.05 + share * (2 * k / 3 - 1.05)
    p = conditional((10.0**exponent * distances).astype(np.float32), perplexity).astype(np.float64)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.exp(entr(p).sum(1)), perplexity, rtol=1e-3)
    # nearer ones never count less
    assert (np.diff(p, axis=1) <= 0).all()


def test_rows_with_far_others_have_the_perplexity_too():
    # 30 near ones, and 45 that are a hundred thousand or a million times as far
    near = np.sort(np.random.default_rng(0).uniform(0.5, 1, size=(10, 30)), axis=1)
    for far in (1e5, 1e6):
        distances = np.hstack([near, far * np.ones((10, 45))]).astype(np.float32)
        p = conditional(distances, 25).astype(np.float64)
        np.testing.assert_allclose(np.exp(entr(p).sum(1)), 25, rtol=1e-3)
        assert p[:, 30:].max() == 0


def test_what_is_missing_has_no_weight():
    whole = nearest_neighbors(cells(60), 12)
    indices, distances = np.pad(whole.indices, [(0, 0), (0, 5)]), np.pad(whole.distances, [(0, 0), (0, 5)])
    indices[:, 12:], distances[:, 12:] = -1, np.inf
    padded = affinities(Neighbors(indices, distances), 6)
    np.testing.assert_allclose(padded.toarray(), affinities(whole, 6).toarray(), rtol=1e-6)
    # a cell that has none is linked by those that have it alone
    indices[7], distances[7] = -1, np.inf
    alone = affinities(Neighbors(indices, distances), 6)
    expected = conditional(np.delete(distances, 7, axis=0), 6)
    has_it = np.delete(indices, 7, axis=0) == 7
    assert alone[7].sum() == pytest.approx(expected[has_it].sum() / 2, rel=1e-5)
    assert alone.sum() == pytest.approx(59, rel=1e-5)
    assert alone.diagonal().max() == 0


def test_of_fewer_neighbors_two_thirds_count():
    distances = np.sort(np.random.default_rng(0).uniform(1, 2, size=(5, 9)), axis=1).astype(np.float32)
    np.testing.assert_allclose(np.exp(entr(conditional(distances, 25).astype(float)).sum(1)), 6, rtol=1e-3)
    distances[:, 6:] = np.inf
    np.testing.assert_allclose(np.exp(entr(conditional(distances, 25).astype(float)).sum(1)), 4, rtol=1e-3)


@for_each("distance", [0.0, 3.0])
def test_equally_far_neighbors_count_equally(distance):
    np.testing.assert_allclose(conditional(np.full((4, 10), distance, dtype=np.float32), 5), 0.1, rtol=1e-6)


def test_equal_cells_share_the_weight():
    # eight equal ones, more than the perplexity: no others count
    distances = np.array([[0] * 8 + [1, 2, 3, 4]], dtype=np.float32)
    np.testing.assert_allclose(conditional(distances, 5), [[1 / 8] * 8 + [0] * 4], atol=1e-6)
    # fewer: the next make up for it
    distances = np.array([[0] * 3 + [1, 2, 3, 4, 5, 6]], dtype=np.float32)
    p = conditional(distances, 5).astype(float)
    assert np.exp(entr(p).sum()) == pytest.approx(5, rel=1e-3)
    assert p[0, 0] == p[0, 2] > p[0, 3] > p[0, 4]


def test_one_neighbor():
    found = Neighbors(np.array([[1], [0], [1]], dtype=np.int32), np.array([[1], [1], [2]], dtype=np.float32))
    np.testing.assert_allclose(affinities(found, 25).toarray(), [[0, 1, 0], [1, 0, 0.5], [0, 0.5, 0]], atol=1e-7)


DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")),
]


def hostile():
    """Neighbors of equal cells and of a far one, and cells that have only some, or none."""
    x = cells(400)
    x[:60], x[100] = x[0], x[100] + 1e4
    found = nearest_neighbors(x, 30)
    indices, distances = found.indices.copy(), found.distances.copy()
    indices[50:90, 7:], distances[50:90, 7:] = -1, np.inf
    indices[5], distances[5] = -1, np.inf
    # a stored graph may name a neighbor twice
    indices[200, 3] = indices[200, 4]
    return Neighbors(indices, distances)


@pytest.mark.parametrize("device", DEVICES)
@for_each("perplexity", [1.5, 10.0, 25.0])
def test_tensors_have_the_affinities_of_arrays(device, perplexity, monkeypatch):
    monkeypatch.setattr(module, "TABLE_SIZE", 30 * 64)
    found = hostile()
    tensors = Neighbors(*(torch.from_numpy(part).to(device) for part in found))
    p = conditional(tensors.distances, perplexity).cpu().numpy()
    np.testing.assert_allclose(p, conditional(found.distances, perplexity), rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(p[5], 0)
    edges = affinity_edges(tensors, perplexity)
    assert [part.dtype for part in edges] == [torch.int64, torch.int32, torch.float32]
    offsets, partners, values = (part.cpu().numpy() for part in edges)
    both = sparse.csr_matrix((values, partners, offsets), shape=(400, 400))
    expected = affinities(found, perplexity)
    np.testing.assert_allclose(both.toarray(), expected.toarray(), rtol=1e-4, atol=1e-7)
    # each pair once, in the order of its cells
    assert both.has_canonical_format
    for part, same in zip(edges, affinity_edges(tensors, perplexity), strict=True):
        assert torch.equal(part, same)
