"""Areas of cells and densities on maps whose geometry is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import ConvexHull
from scipy.spatial.distance import cdist

from scgeoae.quality import density
from scgeoae.quality.density import cell_areas, neighborhoods


def lattice(n: int, d: int = 2) -> np.ndarray:
    return np.stack(np.meshgrid(*[np.arange(n)] * d), axis=-1).reshape(-1, d) / (n - 1)


def measure(z: np.ndarray, scale: np.ndarray, k: int) -> np.ndarray:
    return neighborhoods(z, cell_areas(z, scale), k, np.full(len(z), -1), 0).density


@pytest.mark.parametrize("d", [1, 2, 3])
def test_areas_sum_to_the_integral_of_the_area_element(d):
    z = lattice(9 if d < 3 else 6, d)
    # a linear function is integrated exactly
    slope = np.arange(1, d + 1)
    areas = cell_areas(z, 2 + z @ slope)
    assert areas.area.sum() == pytest.approx(2 + slope.sum() / 2)


def test_empty_space_belongs_to_no_cell():
    one = lattice(12)
    z = np.concatenate([one, one + np.array([3, 0])])
    assert cell_areas(z, np.ones(len(z))).area.sum() == pytest.approx(2)
    hole = one[np.linalg.norm(one - 0.5, axis=1) > 0.35]
    assert cell_areas(hole, np.ones(len(hole))).area.sum() < 0.8


@pytest.mark.parametrize("d", [2, 3])
def test_border_is_the_convex_hull_if_nothing_is_empty(monkeypatch, d):
    monkeypatch.setattr(density, "WIDEST", np.inf)
    z = np.random.default_rng(0).normal(size=(200, d))
    areas = cell_areas(z, np.ones(200))
    assert set(np.flatnonzero(areas.is_border)) == set(ConvexHull(z).vertices)
    assert areas.area.sum() == pytest.approx(ConvexHull(z).volume)


def test_cells_at_the_same_place_share_its_area():
    z = lattice(8)
    once, twice = cell_areas(z, np.ones(64)), cell_areas(np.repeat(z, 2, axis=0), np.ones(128))
    assert np.allclose(np.repeat(once.area, 2), 2 * twice.area)
    # without one of two cells, the surface is as large as before
    assert not twice.is_border.any()


def test_neighborhoods_match_all_pairs():
    rng = np.random.default_rng(0)
    z, group = rng.normal(size=(300, 2)), rng.integers(-1, 3, size=300)
    areas = cell_areas(z, rng.uniform(1, 2, size=300))
    found = neighborhoods(z, areas, 20, group, 3)
    near = np.argsort(cdist(z, z), axis=1)[:, :21]
    assert np.array_equal(found.counts, np.stack([(group[near] == g).sum(1) for g in range(3)], axis=1))
    inner = np.maximum((~areas.is_border)[near].sum(1), 1)
    assert np.allclose(found.density, inner / areas.area[near].sum(1))


def test_density_is_as_high_at_the_border_as_inside():
    z = np.random.default_rng(0).uniform(size=(4000, 2))
    ratio = measure(z, np.ones(4000), 100) / 4000
    near = np.minimum(z, 1 - z).min(1) < 0.02
    assert np.median(ratio[near]) == pytest.approx(1, abs=0.06)
    assert np.median(ratio[~near]) == pytest.approx(1, abs=0.03)
    # 1/√100 of a normal distribution
    assert np.median(np.abs(ratio - 1)) < 0.09


def test_density_that_varies():
    # density 2 exp(2x)/(e² − 1) per unit of x
    u = np.random.default_rng(0).uniform(size=(4000, 2))
    z = np.stack([np.log1p(u[:, 0] * np.expm1(2)) / 2, u[:, 1]], axis=1)
    ratio = measure(z, np.ones(4000), 100) / (8000 * np.exp(2 * z[:, 0]) / np.expm1(2))
    assert np.median(np.abs(ratio - 1)) < 0.09
    assert np.median(ratio) == pytest.approx(1, abs=0.03)


@given(factor=st.floats(1e-6, 1e6), angle=st.floats(0, 6), shift=st.floats(-100, 100), seed=st.integers(0, 99))
def test_density_is_in_units_of_the_data(factor, angle, shift, seed):
    rng = np.random.default_rng(seed)
    z, scale, order = rng.normal(size=(80, 2)), rng.uniform(1, 3, size=80), rng.permutation(80)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = factor * (z @ turn + shift)[order]
    # the same surface under a map of another scale
    assert np.allclose(measure(moved, scale[order] / factor**2, 10), measure(z, scale, 10)[order], rtol=1e-6)


def test_one_cell_far_away_changes_nothing_elsewhere():
    z = np.random.default_rng(0).normal(size=(300, 2))
    found = [measure(np.append(z, [[far, far]], axis=0), np.ones(301), 20) for far in (1e2, 1e7)]
    np.testing.assert_allclose(found[1][:-1], found[0][:-1], rtol=1e-9)
    assert found[1][-1] < 1e-9 < found[0][-1]


def test_any_number_of_dimensions_and_degenerate_maps():
    rng = np.random.default_rng(0)
    z = rng.uniform(size=(3000, 4))
    inside = np.minimum(z, 1 - z).min(1) > 0.25
    assert np.median(measure(z, np.ones(3000), 50)[inside]) == pytest.approx(3000, rel=0.2)
    line = np.repeat(rng.uniform(size=(50, 1)), 2, axis=1)
    assert np.isfinite(measure(line, np.ones(50), 5)).all()
    assert np.isfinite(measure(np.repeat([[0.0, 0.0], [1.0, 0.0]], 20, axis=0), np.ones(40), 5)).all()
