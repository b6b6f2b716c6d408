from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

from scgeoae.geometry import metric_graph


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
