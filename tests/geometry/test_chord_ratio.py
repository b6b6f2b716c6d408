from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import pdist

from scgeoae.geometry import chord_ratio

from ..for_each import for_each

QUANTILES = np.array([0.16, 0.5, 0.84])


def orthonormal(seed, d, features):
    random = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(features, d, generator=random, dtype=torch.float64))[0]


def half_circle(r):
    return lambda z: torch.cat([r * (z[:, :1] / r).cos(), r * (z[:, :1] / r).sin(), z[:, 1:]], dim=1)


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(0, 5), st.floats(1e-3, 1e3))
def test_a_linear_isometry_keeps_all_distances(seed, d, more, size):
    a = orthonormal(seed, d, d + more)
    z = size * torch.rand(50, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    found = chord_ratio(z, lambda z: z @ a.T + 3)
    assert found.median.item() == pytest.approx(1, abs=1e-9)
    assert found.spread.item() == pytest.approx(0, abs=1e-9)


@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_it_scales_with_the_map_and_against_the_surface(seed, on_map, across):
    random = torch.Generator().manual_seed(seed)
    z = torch.rand(60, 2, generator=random, dtype=torch.float64)
    a = torch.randn(2, 4, generator=random, dtype=torch.float64)

    def decode(z):
        return torch.tanh(3 * z @ a)

    base = chord_ratio(z, decode)
    scaled = chord_ratio(on_map * z, lambda z: across * decode(z / on_map))
    assert scaled.median.item() == pytest.approx(base.median.item() * on_map / across, rel=1e-9)
    assert scaled.spread.item() == pytest.approx(base.spread.item(), rel=1e-9)


@for_each("r", [0.1, 1.0, 40.0])
def test_half_a_circle(r):
    # cells every so often along the arc; of two on [0, L] the distance has the distribution 1 − (1 − t/L)²
    length = np.pi * r
    z = torch.linspace(0, length, 4001, dtype=torch.float64)[:, None]
    found = chord_ratio(z, half_circle(r))
    t = length * (1 - np.sqrt(1 - QUANTILES))
    low, median, high = t / (2 * r * np.sin(t / (2 * r)))
    # of 20,000 pairs
    assert found.median.item() - 1 == pytest.approx(median - 1, rel=0.03)
    assert found.spread.item() == pytest.approx((high - low) / (2 * median), rel=0.03)


def test_half_a_cylinder_against_all_pairs():
    rng = np.random.default_rng(0)
    z = rng.uniform(size=(600, 2)) * [np.pi, 2.0]
    decode = half_circle(1.0)
    found = chord_ratio(torch.from_numpy(z), decode)
    ratios = pdist(z) / pdist(decode(torch.from_numpy(z)).numpy())
    low, median, high = np.quantile(ratios, QUANTILES)
    assert ratios.min() >= 1
    assert found.median.item() - 1 == pytest.approx(median - 1, rel=0.05)
    assert found.spread.item() == pytest.approx((high - low) / (2 * median), rel=0.05)


def test_equal_cells_and_cells_on_one_point_of_the_surface_are_left_out():
    z = torch.rand(40, 2, dtype=torch.float64)
    z[10:30] = z[0]
    found = chord_ratio(z, lambda z: 4 * z)
    assert found.median.item() == pytest.approx(0.25, rel=1e-12)
    # all below 0.5 lie on one point
    line = torch.linspace(0, 1, 101, dtype=torch.float64)[:, None]
    folded = chord_ratio(line, lambda z: (z - 0.5).clamp(min=0))
    assert torch.isfinite(folded.median)
    on_map, across = pdist(line), pdist((line - 0.5).clamp(min=0))
    assert folded.median.item() == pytest.approx(np.median((on_map / across.clip(1e-300))[across > 0]), rel=0.02)


def test_of_cells_that_are_all_equal_there_is_none():
    found = chord_ratio(torch.ones(20, 2), lambda z: z)
    assert (found.median.item(), found.spread.item()) == (1, 0)
