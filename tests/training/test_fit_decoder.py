from __future__ import annotations

import numpy as np
import pytest
import torch

from scgeoae.geometry import anisotropy, relative_log_area
from scgeoae.training import Settings, fit_decoder

from ..for_each import for_each


def agreement(metric, truth):
    """Correlations of log area and anisotropy with the true ones, the median anisotropy, and the median scale."""
    metric, truth = torch.from_numpy(metric).double(), torch.from_numpy(truth)
    area, shape = (np.corrcoef(f(metric), f(truth))[0, 1] for f in (relative_log_area, anisotropy))
    scale = (metric.diagonal(dim1=1, dim2=2).sum(1) / truth.diagonal(dim1=1, dim2=2).sum(1)).sqrt().median()
    return area, shape, float(anisotropy(metric).median()), float(scale)


def test_plate_carree(chart):
    x, z, truth = chart("plate carrée")
    area, shape, _, scale = agreement(fit_decoder(x, z, Settings(n_steps=700)).metric, truth)
    assert area > 0.98
    assert shape > 0.98
    assert scale == pytest.approx(1, abs=0.02)


@pytest.mark.slow
@for_each("name", ["stretched Swiss roll", "stereographic", "Mercator", "plate carrée"])
@pytest.mark.filterwarnings("ignore:invalid value encountered in divide")  # the anisotropy of a conformal chart
def test_charts_of_known_metric(chart, name):
    x, z, truth = chart(name)
    fitted = fit_decoder(x, z, Settings())
    area, shape, median, scale = agreement(fitted.metric, truth)
    assert area > 0.99
    if name in ("stereographic", "Mercator"):
        assert median < 0.05
    else:
        assert shape > 0.99
    assert scale == pytest.approx(1, abs=0.02)
    assert fitted.error[fitted.held_out].mean() < 2e-3
    assert fitted.displacement[fitted.held_out].mean() < 2e-3


@pytest.fixture(scope="module")
def sheet():
    rng = np.random.default_rng(0)
    z = rng.uniform(-1, 1, size=(300, 2))
    x = np.stack([3 * z[:, 0], z[:, 1], z[:, 0] ** 2, 0.1 * rng.normal(size=300)], axis=1)
    return x, z, fit_decoder(x, z, Settings(n_steps=200))


def test_the_model_takes_and_gives_the_given_positions(sheet):
    x, z, fitted = sheet
    assert fitted.embedding is z
    model = fitted.model.double()
    np.testing.assert_allclose(model.metric(torch.from_numpy(z)), fitted.metric, rtol=1e-4, atol=1e-5)
    error = (model.decode(torch.from_numpy(z)) - torch.from_numpy(x)).square().mean(1) / float(model.scale) ** 2
    np.testing.assert_allclose(error, fitted.error, rtol=1e-3, atol=1e-6)
    placed = model.encode(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(placed, z, atol=0.15)
    displacement = np.square(placed - z).mean(1) / z.var()
    np.testing.assert_allclose(displacement, fitted.displacement, rtol=0.05, atol=1e-6)
    assert fitted.history.keys() >= {"step", "reconstruction", "encoding", "held_out_reconstruction"}


def test_similarities_of_the_positions(sheet):
    """The same tensors, but for what they do to the unit and the axes."""
    x, z, fitted = sheet
    mirrored = np.array([[0.6, 0.8], [0.8, -0.6]])
    moved = fit_decoder(x, 50 * z @ mirrored + [1000, -300], Settings(n_steps=200))
    expected = mirrored.T @ fitted.metric.astype(float) @ mirrored / 2500
    assert np.abs(moved.metric - expected).max() < 0.02 * np.abs(expected).max()
    np.testing.assert_allclose(moved.model.encode(torch.from_numpy(x).float()), moved.embedding, atol=0.15 * 50)


def test_the_same_bits(sheet):
    x, z, _ = sheet
    first, again, other = (fit_decoder(x, z, Settings(n_steps=20, seed=seed)).metric for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_order_of_the_cells_matters_little(sheet):
    x, z, fitted = sheet
    order = np.random.default_rng(1).permutation(300)
    permuted = fit_decoder(x[order], z[order], Settings(n_steps=200)).metric
    error = np.linalg.norm(permuted - fitted.metric[order], axis=(1, 2)) / np.linalg.norm(fitted.metric, axis=(1, 2))
    assert np.median(error) < 0.1
