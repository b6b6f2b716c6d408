"""Structure in residuals: found where it was planted, and not in noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from scgeoae import _matrix
from scgeoae.quality.residual import MIN_CELLS, hidden_structure, map_regions, noise_sizes, residuals


def plane(e):
    """Return residuals without the part along a random plane, and the plane at each cell."""
    n, n_features = e.shape
    q = np.linalg.qr(np.random.default_rng(1).normal(size=(n_features, 2)))[0]
    return e - e @ q @ q.T, np.broadcast_to(q, (n, n_features, 2))


def noise(seed, n=200, n_features=20):
    return np.random.default_rng(seed).normal(size=(n, n_features))


def test_a_planted_split_is_found_with_its_direction_and_variance():
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(np.c_[np.linalg.qr(rng.normal(size=(20, 2)))[0], rng.normal(size=(20, 2))])[0]
    _, frames = plane(noise(0))
    axes = np.linalg.qr(np.c_[frames[0], axes])[0][:, 2:4]
    sides = rng.choice([-1.0, 1.0], size=(1000, 2)) * [3.0, 2.0]
    e, frames = plane(noise(0, 1000) + sides @ axes.T)
    found = hidden_structure(e, frames, noise=np.ones(20), rng=rng)
    assert found.p_value < 1e-6
    assert len(found.directions) == 2
    assert found.variance == pytest.approx(9 + 4, rel=0.05)
    np.testing.assert_allclose((found.directions**2).sum(1), [9, 4], rtol=0.1)
    np.testing.assert_allclose(np.abs(found.directions @ axes), np.diag([3, 2]), atol=0.2)


def test_noise_stands_out_at_the_level_of_the_test():
    rng, found = np.random.default_rng(0), []
    for _ in range(150):
        # cells of different quality
        e, frames = plane(rng.laplace(size=(60, 8)) * rng.gamma(4, 0.25, (60, 1)))
        found.append(hidden_structure(e, frames, noise=np.ones(8), n_draws=25, rng=rng).p_value)
    # three standard errors of a share of 5%
    assert np.mean(np.array(found) <= 0.05) == pytest.approx(0.05, abs=0.054)
    assert np.mean(found) == pytest.approx(0.5, abs=0.08)


def test_noise_of_features_has_their_own_size_only_if_asked():
    e, rng = noise(0), np.random.default_rng(0)
    frames = np.zeros((200, 20, 2))
    frames[:, 0, 0] = frames[:, 1, 1] = 1
    e[:, :2] = 0
    e[:, 5] *= 4
    assert len(hidden_structure(e, frames, noise=np.ones(20), rng=rng).directions) == 1
    assert len(hidden_structure(e, frames, noise=None, rng=rng).directions) == 0
    # two features that vary together are structure either way
    e[:, 6] = e[:, 5] + noise(1)[:, 6]
    found = hidden_structure(e, frames, noise=None, rng=rng)
    assert len(found.directions) == 1
    assert set(np.abs(found.directions[0]).argsort()[-2:]) == {5, 6}


def tilted(e):
    """Return residuals across a plane that is aligned with one axis only."""
    q = np.zeros((e.shape[1], 2))
    q[0, 0], q[1:3, 1] = 1, [0.8, 0.6]
    return e - e @ q @ q.T, np.broadcast_to(q, (*e.shape, 2))


def test_sizes_of_the_noise_are_those_across_the_surface():
    sd = np.array([9.0, 1, 1, 1, 2, 4])
    noisy, quiet, split = noise(0, 4000, 6) * sd, 0.1 * noise(1, 3000, 6) * sd, noise(2, 3000, 6) * sd
    split[:1500, 4] += 40
    found = noise_sizes([tilted(e) for e in (noisy, quiet, split)])
    # nothing is known about noise along the first axis
    np.testing.assert_allclose(found[1:] / found[1], sd[1:] / sd[1], rtol=0.05)


def test_noise_that_differs_between_features_is_no_structure():
    rng, found = np.random.default_rng(0), []
    sd = np.array([1.0, 1, 1, 1, 1.5, 2, 3, 0])
    for _ in range(60):
        e, frames = tilted(rng.normal(size=(60, 8)) * sd)
        found.append(hidden_structure(e, frames, noise=sd, n_draws=25, rng=rng).p_value)
    # three standard errors
    assert np.mean(np.array(found) <= 0.05) < 0.135
    assert np.mean(found) == pytest.approx(0.5, abs=0.12)
    assert hidden_structure(*tilted(noise(0, 60, 8) * sd), noise=np.ones(8), rng=rng).p_value < 1e-3


def test_a_split_beside_noise_that_differs_between_features_has_its_variance():
    sd = np.array([1.0, 1, 1, 1, 1.5, 2, 3, 4])
    e = noise(0, 2000, 8) * sd
    e[:1000, 3] += 4
    e, frames = tilted(e)
    found = hidden_structure(e, frames, noise=sd, rng=np.random.default_rng(0))
    assert found.variance == pytest.approx(4, rel=0.1)
    np.testing.assert_allclose(np.abs(found.directions), [[0, 0, 0, 2, 0, 0, 0, 0]], atol=0.25)
    np.testing.assert_allclose(found.directions @ frames[0], 0, atol=1e-6)


def test_features_without_noise():
    """Constant features are no noise of size 0: the others do not stand out beside them."""
    e, frames = tilted(np.c_[noise(0, 300, 8), 1e-4 * noise(1, 300, 12)])
    sizes = noise_sizes([(e, frames)])
    found = hidden_structure(e, frames, noise=sizes, rng=np.random.default_rng(0))
    assert found.p_value > 0.05
    # unless they vary in this region
    e[:100, 15] += 3
    assert hidden_structure(e, frames, noise=sizes, rng=np.random.default_rng(0)).p_value < 1e-6


@pytest.mark.parametrize("sizes", [np.ones(20), None])
def test_a_cell_far_away_is_no_structure(sizes):
    e, frames = plane(noise(0, 100))
    e[3] += 20 * plane(noise(1))[0][0]
    found = [hidden_structure(e, frames, noise=sizes, rng=np.random.default_rng(seed)).p_value for seed in range(3)]
    assert min(found) > 0.01


def test_scale():
    e, frames = plane(noise(0))
    e[:100, 3] += 3
    one = hidden_structure(e, frames, noise=np.ones(20), n_draws=10, rng=np.random.default_rng(0))
    for factor in (1e-30, 3.0, 1e30):
        other = hidden_structure(factor * e, frames, noise=np.ones(20), n_draws=10, rng=np.random.default_rng(0))
        assert other.variance == pytest.approx(factor**2 * one.variance, rel=1e-4)
        assert np.log(other.p_value) == pytest.approx(np.log(one.p_value), rel=1e-3)


@given(st.integers(0, 10**6))
def test_order_of_cells_and_orientation_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    e, frames = plane(noise(seed, 60, 6))
    e[:30] += 6 * np.linalg.qr(np.c_[frames[0], rng.normal(size=6)])[0][:, 2]
    turn, order = np.linalg.qr(rng.normal(size=(6, 6)))[0], rng.permutation(60)
    one, other = (
        hidden_structure(values, basis, noise=np.ones(6), n_draws=5, rng=np.random.default_rng(0))
        for values, basis in ((e, frames), ((e @ turn)[order], (turn.T @ frames)[order]))
    )
    # up to the draws of the noise, which enter the variance as a small correction
    assert other.variance == pytest.approx(one.variance, rel=0.1)
    np.testing.assert_allclose(np.abs(one.directions[0] @ turn), np.abs(other.directions[0]), rtol=0.1, atol=0.02)


def test_without_anything_to_find():
    rng = np.random.default_rng(0)
    for e, frames in (
        (np.zeros((30, 5)), np.zeros((30, 5, 2))),
        (noise(0, 30, 2), np.zeros((30, 2, 2))),
        (noise(0, 30, 3), np.zeros((30, 3, 2))),
    ):
        found = hidden_structure(e, frames, noise=np.ones(e.shape[1]), rng=rng)
        assert found.variance == 0
        assert found.p_value == 1
        assert found.directions.shape == (0, e.shape[1])


def test_many_features():
    """The leading directions of a randomized decomposition are those of all."""
    rng = np.random.default_rng(0)
    e, frames = noise(0, 100, 700), np.zeros((100, 700, 2))
    e[:50, :40] += 2
    found = hidden_structure(e, frames, noise=None, n_draws=10, rng=rng)
    direction = found.directions[0] / np.linalg.norm(found.directions[0])
    centered = e - e.mean(0)
    exact = np.linalg.svd(centered, full_matrices=False)[2][0]
    assert abs(direction @ exact) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_shares_of_regions(monkeypatch, form):
    rng = np.random.default_rng(0)
    x, decoded = noise(0, 90, 6) + 1e4, noise(1, 90, 6) + 1e4
    _, frames = plane(noise(2, 90, 6))
    regions = [rng.permutation(90)[:40], np.arange(0)]
    regions[1] = np.setdiff1d(np.arange(80), regions[0])
    regions = [np.sort(rows) for rows in regions]
    monkeypatch.setattr(_matrix, "BLOCK_SIZE", 6 * 7)  # blocks of seven cells
    found = residuals(
        form(x),
        lambda here: (decoded[here], frames[here]),
        regions,
        by_feature=False,
        n_draws=5,
        rng=np.random.default_rng(0),
    )
    e, _ = plane(x - decoded)
    sizes = noise_sizes([(e[rows], frames[rows]) for rows in regions])
    for region, rows, own in zip(found, regions, np.random.default_rng(0).spawn(2), strict=True):
        assert region.n_cells == len(rows)
        assert region.variance == pytest.approx(x[rows].var(0).sum(), rel=1e-6)
        assert region.hidden == pytest.approx((x - decoded)[rows].var(0).sum(), rel=1e-6)
        alone = hidden_structure(e[rows].astype(np.float32), frames[rows], noise=sizes, n_draws=5, rng=own)
        assert region.structure.p_value == pytest.approx(alone.p_value, rel=1e-3)


def test_a_region_of_few_cells_is_not_tested():
    x = noise(0, MIN_CELLS + 1, 4)
    _, frames = plane(x)
    few, one = residuals(
        x,
        lambda here: (0 * x[here], frames[here]),
        [np.arange(1, MIN_CELLS), np.array([0])],
        by_feature=False,
        n_draws=5,
        rng=np.random.default_rng(0),
    )
    assert few.structure is None
    assert few.variance == pytest.approx(few.hidden)
    assert few.variance > 0
    assert one.variance == one.hidden == 0


def test_regions_of_a_map():
    z = noise(0, 450, 2)
    regions = map_regions(z)
    assert len(regions) == 3
    np.testing.assert_array_equal(np.sort(np.concatenate(regions)), np.arange(450))
    for a, b in zip(regions, map_regions(z), strict=True):
        np.testing.assert_array_equal(a, b)
    # no more regions than positions
    assert [len(rows) for rows in map_regions(np.repeat([[0.0, 0], [1, 1]], 5, 0), 4)] == [5, 5]
