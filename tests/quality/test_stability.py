from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist
from scipy.stats import chi2, ortho_group

from scgeoae.graphs import nearest_others
from scgeoae.quality.stability import aligned, as_graph, ellipses, order_of_groups, share_that_stays

from ..for_each import for_each


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_a_map_that_was_moved_turned_and_mirrored_comes_back(seed, d):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(20, d))
    turned = z @ (ortho_group.rvs(d, random_state=rng) if d > 1 else np.array([[-1.0]])) + rng.normal(size=d)
    np.testing.assert_allclose(aligned(turned, z), z, atol=1e-9)


def test_cells_that_jump_do_not_turn_the_others():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(100, 2))
    jumped = z.copy()
    jumped[:30] = rng.normal(size=(30, 2)) * 20 + 50
    found = aligned(jumped @ ortho_group.rvs(2, random_state=1) - 3, z)
    np.testing.assert_allclose(found[30:], z[30:], atol=1e-3)
    np.testing.assert_allclose(cdist(found, found), cdist(jumped, jumped), atol=1e-9)


def test_alignment_has_the_least_sum_of_distances():
    rng = np.random.default_rng(1)
    z, target = rng.normal(size=(2, 60, 2))
    target = target + 2 * z

    def total(x):
        angle, shift = x[0], x[1:]
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return np.linalg.norm(z @ turn + shift - target, axis=1).sum()

    best = min(minimize(total, [angle, 0, 0]).fun for angle in (0, 2, 4))
    found = aligned(np.concatenate([z, z[:3]]), target)
    assert np.linalg.norm(found[:60] - target, axis=1).sum() == pytest.approx(best, rel=1e-4)
    np.testing.assert_allclose(found[60:], found[:3])


def halves(n_fits, n, seed=0):
    rng = np.random.default_rng(seed)
    own = np.zeros((n_fits, n), dtype=bool)
    for j in range(0, n_fits, 2):
        own[j, rng.permutation(n)[: n // 2]] = True
        own[j + 1] = ~own[j]
    return own


def test_ellipses_of_normal_positions_have_the_covariance_of_a_difference_and_the_quantile_of_chi_square():
    rng = np.random.default_rng(1)
    covariance = np.array([[2.0, 0.8], [0.8, 1.0]])
    refits = rng.multivariate_normal([0, 0], covariance, size=(12, 2000))
    found = ellipses(refits, halves(12, 2000), around=np.arange(2000)[:, None] // 20 * 20 + np.arange(20))
    assert found.factor == pytest.approx(chi2.ppf(0.9, 2), rel=0.05)
    np.testing.assert_allclose(found.shape.mean(0), 2 * chi2.ppf(0.9, 2) * covariance, rtol=0.05)
    assert found.coverage.shape == (12,)
    assert found.coverage.mean() == pytest.approx(0.9, abs=0.005)
    # a map of fresh cells and the one at hand
    step = np.subtract(*rng.multivariate_normal([0, 0], covariance, size=(2, 2000)))
    inside = np.einsum("ni,ni->n", step, np.linalg.solve(found.shape, step[:, :, None])[..., 0]) <= 1
    assert inside.mean() == pytest.approx(0.9, abs=0.02)


def test_ellipses_hold_fresh_maps_if_new_cells_lie_elsewhere_than_own_ones():
    # new cells are drawn to the middle, as on a map that fits its own cells too closely
    rng, own = np.random.default_rng(2), halves(10, 1000)
    z = rng.normal(size=(1000, 2)) * 10
    refits = np.where(own[:, :, None], z, 0.8 * z) + rng.normal(size=(10, 1000, 2))
    around = KDTree(z).query(z, 16)[1]
    found = ellipses(refits, own, around=around)
    step = 0.8 * z + rng.normal(size=(1000, 2)) - (z + rng.normal(size=(1000, 2)))
    inside = np.einsum("ni,ni->n", step, np.linalg.solve(found.shape, step[:, :, None])[..., 0]) <= 1
    assert inside.mean() == pytest.approx(0.9, abs=0.03)


@for_each("n_fits", [4, 6])
def test_the_size_of_ellipses_is_that_of_leaving_out_one_pair_of_refits_after_the_other(n_fits):
    rng = np.random.default_rng(2)
    refits, own = rng.standard_t(3, size=(n_fits, 40, 2)) * [1, 3], halves(n_fits, 40)
    around = (np.arange(40)[:, None] + np.arange(12)) % 40
    found = ellipses(refits, own, around=around, level=0.8)
    # every step: (cell, from, to)
    steps = [
        (i, a, b)
        for i, a, b in product(range(40), range(n_fits), range(n_fits))
        if own[a, i] and not own[b, i] and a // 2 != b // 2
    ]
    assert len(steps) == 40 * n_fits // 2 * (n_fits // 2 - 1)

    def mean(i, without):
        near = [refits[b, j] - refits[a, j] for j, a, b in steps if j in around[i] and not {a, b} & without]
        return np.mean([np.outer(v, v) for v in near], axis=0)

    squares = np.array(
        [
            (refits[b, i] - refits[a, i]) @ np.linalg.inv(mean(i, {a, b})) @ (refits[b, i] - refits[a, i])
            for i, a, b in steps
        ]
    )
    assert found.factor == pytest.approx(np.quantile(squares, 0.8), rel=2e-3)
    of_first = np.array([0 in (a, b) for _, a, b in steps])
    bound = np.quantile(squares[~of_first], 0.8)
    assert found.coverage[0] == pytest.approx(np.mean(squares[of_first] <= bound), abs=1e-9)
    np.testing.assert_allclose(found.shape[7], found.factor * mean(7, set()), rtol=1e-3)


def test_ellipses_grow_with_the_map_and_turn_with_it():
    rng = np.random.default_rng(3)
    refits, turn = rng.normal(size=(6, 30, 2)), 7 * ortho_group.rvs(2, random_state=0)
    given = {"own": halves(6, 30), "around": np.arange(30)[:, None] // 5 * 5 + np.arange(5)}
    before, after = ellipses(refits, **given), ellipses(refits @ turn + 3, **given)
    np.testing.assert_allclose(after.shape, turn.T @ before.shape @ turn, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(after.coverage, before.coverage)


def test_maps_that_never_change_have_ellipses_of_some_area():
    refits = np.repeat(np.random.default_rng(4).normal(size=(1, 9, 2)), 4, axis=0)
    found = ellipses(refits, halves(4, 9), around=np.arange(9)[:, None])
    assert np.isfinite(found.shape).all()


def test_nearest_on_the_map_are_others_also_where_cells_have_one_place():
    rng = np.random.default_rng(5)
    z = np.concatenate([rng.normal(size=(30, 2)), np.zeros((6, 2))])
    found = nearest_others(z, 4)
    assert (found != np.arange(36)[:, None]).all()
    distances = cdist(z, z)
    np.fill_diagonal(distances, np.inf)
    np.testing.assert_allclose(np.take_along_axis(distances, found, 1), np.sort(distances, 1)[:, :4], atol=1e-12)


def test_neighbors_stay_as_often_as_they_are_among_the_nearest():
    rng = np.random.default_rng(6)
    z = rng.normal(size=(25, 2))
    near = nearest_others(z, 3)
    refits = np.stack([z, -z + 4, rng.normal(size=(25, 2))])
    distances = [cdist(refit, refit) for refit in refits]
    # rank 0 is the cell itself
    ranks = [each.argsort(1).argsort(1) for each in distances]
    expected = np.mean([np.take_along_axis(rank, near, 1) <= 5 for rank in ranks], axis=0)
    found = share_that_stays(near, refits, among=5)
    np.testing.assert_allclose(found, expected)
    assert found.min() == pytest.approx(2 / 3)
    graph = as_graph(near, found)
    assert graph.has_sorted_indices
    assert graph[4, near[4, 1]] == np.float32(found[4, 1])
    assert graph.getnnz(1).tolist() == [3] * 25


def test_the_order_of_groups_is_that_of_the_distances_of_their_means():
    at = np.array([0.0, 1, 3, 7])
    z = np.repeat(np.stack([at, 0 * at], 1), 2, axis=0) + [[0, 1], [0, -1]] * 4
    # the second and the third group change places on one of four refits
    other = z.copy()
    other[2:6] = z[[4, 5, 2, 3]]
    order = order_of_groups(z, np.stack([z, -z, z, other]), np.arange(8).reshape(4, 2))
    rows = {(a, b, c): (x, y, s) for a, b, c, x, y, s in zip(*order, strict=True)}
    assert len(rows) == 12
    assert rows[0, 1, 2] == pytest.approx((1, 3, 0.75))
    assert rows[0, 2, 3] == pytest.approx((3, 7, 1))
    assert rows[3, 2, 1] == pytest.approx((4, 6, 0.75))
    assert rows[2, 1, 0] == pytest.approx((2, 3, 0.75))
    assert (2, 0, 3) in rows
