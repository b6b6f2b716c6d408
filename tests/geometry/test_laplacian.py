from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from scgeoae.geometry import anisotropy, relative_log_area
from scgeoae.graphs import laplacian_metric

from ..for_each import for_each

CHARTS = ["stretched Swiss roll", "stereographic", "Mercator", "plate carrée"]


def neighbors_of(x, k=15):
    lengths, neighbors = NearestNeighbors(n_neighbors=k).fit(x).kneighbors()
    return neighbors, lengths


def measures(metric):
    metric = torch.from_numpy(metric)
    return relative_log_area(metric).numpy(), anisotropy(metric).numpy()


@for_each("name", CHARTS)
def test_charts_of_known_metric(chart, name):
    x, z, truth = chart(name)
    metric = laplacian_metric(z, *neighbors_of(x))
    (area, shape), (true_area, true_shape) = measures(metric), measures(truth)
    assert np.corrcoef(area, true_area)[0, 1] > 0.98
    if name in ("stereographic", "Mercator"):  # conformal
        assert np.median(shape) < 0.09
    else:
        assert np.corrcoef(shape, true_shape)[0, 1] > 0.98
    # in the units of the representation
    scale = np.sqrt(np.trace(metric, axis1=1, axis2=2) / np.trace(truth, axis1=1, axis2=2))
    assert np.median(scale) == pytest.approx(1, abs=0.03)


@for_each("k", [8, 30])
def test_units_do_not_depend_on_the_number_of_neighbors(chart, k):
    x, z, truth = chart("stereographic")
    metric = laplacian_metric(z, *neighbors_of(x, k))
    assert np.median(np.linalg.det(metric) / np.linalg.det(truth)) == pytest.approx(1, abs=0.12)


def test_density_has_no_say():
    """Half of a plane has nine times as many points as the other half."""
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(3000, 2)) * [1, 0.5]
    x = x[(x[:, 0] < 0.5) | (rng.uniform(size=3000) < 1 / 9)]
    metric = laplacian_metric(x, *neighbors_of(x))
    dense = x[:, 0] < 0.5
    for half in (dense, ~dense):
        np.testing.assert_allclose(np.median(metric[half], axis=0), np.eye(2), atol=0.07)


def test_equivariance():
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(200, 5)), rng.normal(size=(200, 2))
    neighbors, lengths = neighbors_of(x)
    metric = laplacian_metric(z, neighbors, lengths)
    np.testing.assert_allclose(metric, metric.transpose(0, 2, 1))
    assert (np.linalg.eigvalsh(metric) > 0).all()
    angle = 0.7
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = laplacian_metric(3 * z @ rotation + [5, -2], neighbors, lengths)
    np.testing.assert_allclose(moved, rotation.T @ metric @ rotation / 9, rtol=1e-8, atol=1e-12)
    # the unit of the representation
    np.testing.assert_allclose(laplacian_metric(z, neighbors, 7 * lengths), 49 * metric, rtol=1e-8)
    order = rng.permutation(200)
    permuted = laplacian_metric(z[order], *neighbors_of(x[order]))
    np.testing.assert_allclose(permuted, metric[order], rtol=1e-8)


@for_each("d", [1, 3])
def test_other_dimensions(d):
    x = np.random.default_rng(0).uniform(size=(3000, d))
    metric = laplacian_metric(2 * x, *neighbors_of(x))
    np.testing.assert_allclose(np.median(metric, axis=0), np.eye(d) / 4, atol=0.03)


def test_cells_at_one_place():
    x = np.repeat(np.random.default_rng(0).normal(size=(6, 2)), 20, axis=0)
    for z in (x, np.zeros_like(x), np.random.default_rng(1).normal(size=x.shape)):
        metric = laplacian_metric(z, *neighbors_of(x, 5))
        assert np.isfinite(metric).all()
