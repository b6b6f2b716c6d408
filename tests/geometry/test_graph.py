from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

from scgeoae.graphs import metric_graph, nearest_others
from scgeoae.graphs.metric import connectivities_of, measured_edges
from scgeoae.graphs.neighbors import positive


def example(n=30, k=5, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 2))
    a = np.eye(2) + 0.3 * rng.normal(size=(n, 2, 2))
    neighbors = NearestNeighbors(n_neighbors=k).fit(z).kneighbors(return_distance=False)
    return z, a.transpose(0, 2, 1) @ a, neighbors


def test_rows_determine_the_tensors():
    z, metric, neighbors = example()
    graph = metric_graph(z, metric, neighbors)
    assert (np.diff(graph.metric.indptr) == 5).all()
    for i in range(len(z)):
        columns = graph.metric[i].indices
        delta = z[columns] - z[i]
        design = np.stack([delta[:, 0] ** 2, 2 * delta[:, 0] * delta[:, 1], delta[:, 1] ** 2], axis=1)
        a, b, c = np.linalg.lstsq(design, graph.metric[i].data, rcond=None)[0]
        np.testing.assert_allclose([[a, b], [b, c]], metric[i], rtol=1e-3, atol=1e-3)


def test_distances_are_symmetric_lengths_of_segments():
    z, metric, neighbors = example()
    d = metric_graph(z, metric, neighbors).distances
    assert abs(d - d.T).nnz == 0
    i, j = 3, neighbors[3, 0]
    delta = z[j] - z[i]
    expected = (np.sqrt(delta @ metric[i] @ delta) + np.sqrt(delta @ metric[j] @ delta)) / 2
    assert d[i, j] == pytest.approx(expected, rel=1e-6)
    linked = np.zeros((len(z), len(z)), dtype=bool)
    linked[np.arange(len(z))[:, None], neighbors] = True
    assert d.nnz == (linked | linked.T).sum()


def test_kernel_is_that_of_scanpy():
    from scanpy.neighbors._connectivity import gauss

    z, metric, neighbors = example()
    metric[:] = np.eye(2)  # so that both directions of an edge have the length Scanpy knows
    k = neighbors.shape[1]
    rows = np.repeat(np.arange(len(z)), k)
    length = np.linalg.norm(z[neighbors] - z[:, None], axis=2)
    theirs = gauss(
        sparse.csr_matrix((length.ravel(), (rows, neighbors.ravel())), shape=(len(z), len(z))), k + 1, knn=True
    )
    ours = metric_graph(z, metric, neighbors).connectivities
    np.testing.assert_allclose(ours.toarray(), theirs.toarray(), rtol=1e-5, atol=1e-12)


def test_cells_at_one_place_stay_linked():
    z = np.zeros((6, 2))
    z[4:] = [[1, 0], [0, 1]]
    neighbors = np.array([[1, 2], [0, 2], [0, 1], [0, 1], [0, 5], [0, 4]])
    graph = metric_graph(z, np.tile(np.eye(2), (6, 1, 1)), neighbors)
    assert graph.metric.nnz == 12
    assert graph.distances[0, 1] == 0
    assert graph.connectivities[0, 1] == 1
    assert np.isfinite(graph.connectivities.data).all()
    everything_at_one_place = metric_graph(np.zeros((6, 2)), np.tile(np.eye(2), (6, 1, 1)), neighbors)
    assert (everything_at_one_place.connectivities.data == 1).all()


def dense(z, metric, neighbors):
    """The three matrices by their definitions, and which of their entries are edges."""
    n = len(z)
    z, metric = z.astype(np.float64), metric.astype(np.float64)
    delta = z[None] - z[:, None]
    squared = np.einsum("ija,iab,ijb->ij", delta, metric, delta).clip(min=0)
    length = (np.sqrt(squared) + np.sqrt(squared.T)) / 2
    chosen = np.zeros((n, n), dtype=bool)
    chosen[np.arange(n)[:, None], neighbors] = True
    width = np.array([np.median(length[i, neighbors[i]]) for i in range(n)])
    width[width == 0] = width[width > 0].min() if width.any() else 1
    spread = width[:, None] ** 2 + width**2
    weight = np.sqrt(2 * width[:, None] * width / spread) * np.exp(-(length**2) / spread)
    return (squared, chosen), (length, chosen | chosen.T), (weight, chosen | chosen.T)


@given(
    n=st.integers(2, 40),
    k=st.integers(1, 39),
    d=st.sampled_from([1, 2, 3, 10]),
    n_places=st.integers(1, 40),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 2**32 - 1),
)
def test_matrices_are_those_of_the_definition(n, k, d, n_places, dtype, seed):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n_places, d))[rng.integers(n_places, size=n)].astype(dtype)
    root = rng.normal(size=(n, d, d))
    metric = (root @ root.transpose(0, 2, 1)).astype(dtype)
    neighbors = nearest_others(z, min(k, n - 1))
    before = neighbors.copy()
    graph = metric_graph(z, metric, neighbors)
    np.testing.assert_array_equal(neighbors, before)
    for matrix, (values, edges) in zip(graph, dense(z, metric, neighbors), strict=True):
        pattern = sparse.csr_matrix(edges)
        np.testing.assert_array_equal(matrix.indptr, pattern.indptr)
        np.testing.assert_array_equal(matrix.indices, pattern.indices)
        np.testing.assert_allclose(matrix.data, values[edges], rtol=1e-5, atol=1e-9)
        assert matrix.has_canonical_format
        assert (matrix.data.dtype, matrix.indices.dtype, matrix.indptr.dtype) == (np.float32, np.int32, np.int32)
    for matrix in (graph.distances, graph.connectivities):
        np.testing.assert_array_equal(matrix.T.tocsr().data, matrix.data)


def test_blocks_join(monkeypatch):
    z, metric, neighbors = example(n=100)
    at_once = metric_graph(z, metric, neighbors)
    monkeypatch.setattr("scgeoae.graphs.metric.BLOCK", 7 * 5 * 2**2)
    monkeypatch.setattr("scgeoae.graphs.metric.WEIGHED", 7)
    monkeypatch.setattr("scgeoae.graphs.neighbors.BLOCK", 7)
    monkeypatch.setattr("torch.get_num_threads", lambda: 3)
    for one, other in zip(at_once, metric_graph(z, metric, neighbors), strict=True):
        np.testing.assert_array_equal(one.toarray(), other.toarray())


def test_a_change_in_place_stays_in_its_matrix():
    z, metric, neighbors = example()
    graph = metric_graph(z, metric, neighbors)
    before = graph.connectivities.toarray()
    graph.distances.data[::2] = 0
    graph.distances.eliminate_zeros()
    np.testing.assert_array_equal(graph.connectivities.toarray(), before)


@given(
    n=st.integers(2, 30),
    k=st.integers(1, 29),
    d=st.integers(1, 3),
    n_rows=st.integers(1, 30),
    packed=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_rows_are_those_of_the_whole(n, k, d, n_rows, packed, seed):
    """For any neighbors, also if some cells are nobody's neighbor and others that of all."""
    rng = np.random.default_rng(seed)
    z = rng.integers(4, size=(n, d)).astype(np.float32)
    root = rng.normal(size=(n, d, d))
    metric = np.einsum("nab,ncb->nac", root, root).astype(np.float32)
    popular = rng.exponential(size=n) ** 3
    neighbors = np.array(
        [[j for j in np.argsort(rng.random(n) * popular) if j != i][: min(k, n - 1)] for i in range(n)]
    )
    whole = metric_graph(z, metric, neighbors)
    upper = np.triu_indices(d)
    given = metric[:, upper[0], upper[1]] if packed else metric
    starts = range(0, n, n_rows)
    rows = [measured_edges(z, given, neighbors, start, min(start + n_rows, n)) for start in starts]
    width = positive(np.concatenate([part.width for part in rows]))
    weights = [connectivities_of(part.distances, width, start) for part, start in zip(rows, starts, strict=True)]
    found = [part.metric for part in rows], [part.distances for part in rows], weights
    for parts, matrix in zip(found, whole, strict=True):
        joined = sparse.vstack(parts, format="csr")
        for name in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(joined, name), getattr(matrix, name))
