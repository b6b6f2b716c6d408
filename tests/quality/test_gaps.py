from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from scgeoae.quality.bridge import LARGEST_SHARE, CurveFit, largest_spread, length_of, polyline, project, route
from scgeoae.quality.gaps import EMPTY, N_FOLDS, between, folds, judge, quotient
from scgeoae.quality.valley import LEVEL, N_BINS, SHARE, histogram, power, scan, valley, without_valley


def edges():
    return (np.arange(N_BINS) + 0.5) / N_BINS


def test_scan_against_all_stretches():
    counts = np.random.default_rng(0).poisson(9, size=N_BINS)
    best = -np.inf
    for first in range(1, N_BINS):
        for last in range(first + 2, N_BINS):
            sides = []
            for side in (counts[:first], counts[last:]):
                outside, inside = (k.mean() * N_BINS for k in (side, counts[first:last]))
                error = 0.5 * np.sqrt(SHARE * N_BINS / len(side) + N_BINS / (last - first))
                sides.append((np.sqrt(SHARE * outside) - np.sqrt(inside)) / error)
            if min(sides) > best:
                best, at = min(sides), (first, last)
    found = scan(counts)
    assert np.isclose(found.score, best)
    assert (found.first, found.last) == at


def test_a_shallow_valley_is_none():
    rng = np.random.default_rng(0)
    counts = np.full(N_BINS, 10_000)
    counts[10:14] = 8_500
    assert scan(counts).score == 0
    assert valley(counts, rng).p_value == 1
    counts[10:14] = 7_500
    assert scan(counts).score > 0
    assert valley(counts, rng).p_value < LEVEL


@given(st.lists(st.integers(0, 50), min_size=N_BINS, max_size=N_BINS))
def test_monotone_counts_have_no_valley(counts):
    ordered = np.sort(counts)
    assert scan(ordered).score <= 1e-9
    backward = scan(np.array(counts)[::-1])
    assert np.isclose(backward.score, scan(np.array(counts)).score)


def test_nearest_density_without_a_valley():
    u = edges()
    hill = np.exp(-((u - 0.4) ** 2) / 0.05)
    np.testing.assert_allclose(without_valley(1e7 * hill / hill.sum()), hill / hill.sum(), rtol=5e-3)
    # of a density with a valley, the log is straight
    slope = np.diff(np.log(without_valley(1000 * np.exp(3 * (u - 0.4) ** 2))))
    np.testing.assert_allclose(slope, slope[0], atol=1e-9)


@pytest.mark.slow
def test_size_of_the_test():
    rng = np.random.default_rng(0)
    samples = rng.multinomial(300, np.full(N_BINS, 1 / N_BINS), size=1500)
    found = np.mean([valley(counts, rng).p_value <= LEVEL for counts in samples])
    # a little more than 5%, as docs/gap.md says
    assert 0.03 < found < 0.08


def test_power():
    rng = np.random.default_rng(0)
    many, few = (valley(np.full(N_BINS, 100), rng), valley(np.arange(N_BINS) % 3 // 2, rng))
    assert many.p_value > 0.2
    assert power(many, rng).of_empty == 1
    assert power(many, rng).detectable >= 0.7
    assert power(few, rng).of_empty < 0.8
    assert np.isnan(power(few, rng).detectable)
    # what it says would be found is found
    detectable = power(many, rng).detectable
    counts = np.full(N_BINS, 100)
    counts[N_BINS // 3 : 2 * N_BINS // 3] = round(100 * (detectable - 0.1))
    assert valley(counts, rng).p_value <= LEVEL


def test_histogram_leaves_out_the_ends():
    counts = histogram(np.array([-0.1, 0.0, 0.01, 0.5, 0.99, 1.0, np.nan]))
    assert (counts.sum(), counts[0], counts[N_BINS // 2], counts[-1]) == (3, 1, 1, 1)


def test_projection_against_a_dense_curve():
    rng = np.random.default_rng(0)
    s = np.linspace(0, np.pi, 40)
    curve = np.stack([np.cos(s), np.sin(s), 0 * s], axis=1)
    angle, height = rng.uniform(0.1, np.pi - 0.1, 100), rng.normal(size=100)
    x = np.stack([1.3 * np.cos(angle), 1.3 * np.sin(angle), height], axis=1)
    u, distance = project(x, curve)
    np.testing.assert_allclose(u, angle / np.pi, atol=0.01)
    np.testing.assert_allclose(distance, np.hypot(0.3, height), rtol=0.02)
    # beyond the ends it goes on straight
    u, distance = project(np.array([[1.0, -0.5, 0.0]]), curve)
    np.testing.assert_allclose(u, -0.5 / np.pi, rtol=0.05)
    assert distance < 0.03


def test_projection_turns_with_the_cells():
    rng = np.random.default_rng(1)
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    x, curve = rng.normal(size=(50, 5)), np.cumsum(rng.normal(size=(9, 5)), axis=0)
    for old, new in zip(project(x, curve), project(7 * x @ turn + 3, 7 * curve @ turn + 3), strict=True):
        ratio = 7 if old.max() > 2 else 1
        np.testing.assert_allclose(ratio * old, new, rtol=1e-6, atol=1e-9)


def test_route_follows_the_cells():
    t = np.linspace(0, np.pi, 60)
    bow = np.stack([np.cos(t), np.sin(t)], axis=1)
    path = route(np.concatenate([bow, [[0.0, -0.4]]]), 0, 59)
    # by way of a far cell it would be shorter, and its steps longer
    np.testing.assert_array_equal(np.sort(path), path)
    assert (path[0], path[-1]) == (0, 59)
    assert 60 not in path
    # over a gap it takes one step
    apart = route(np.concatenate([np.arange(20.0), np.arange(40.0, 60)])[:, None], 0, 39)
    assert {19, 20} <= set(apart)


def test_polyline_has_even_steps():
    found = polyline(np.array([[0.0, 0], [3, 0], [3, 1]]))
    assert length_of(found) <= 4
    np.testing.assert_allclose(length_of(found), 4, rtol=0.02)
    np.testing.assert_allclose(found[[0, -1]], [[0, 0], [3, 1]])
    np.testing.assert_allclose(np.abs(np.diff(found, axis=0)).sum(1), 4 / (len(found) - 1))


def fitted(amplitude, spread, n=400, n_features=20):
    """Cells around a sine of one wave, and the fit of a curve to them, in two blocks."""
    rng = np.random.default_rng(0)
    s, x = rng.uniform(size=n), spread * rng.normal(size=(n, n_features))
    x[:, 0] = 10 * s
    x[:, 1] += amplitude * np.sin(np.pi * s)
    fit = CurveFit(np.array([[0.0], [10]]) * np.eye(1, n_features))
    for rows in (slice(0, 150), slice(150, n)):
        fit.add(x[rows], s[rows])
    return fit, x, s


def test_a_curve_bends_where_cells_do():
    fit, x, s = fitted(amplitude=3, spread=0.5)
    assert fit.n_waves(0.5) == 1
    curve = fit.curve(1)
    np.testing.assert_allclose(curve[len(curve) // 2, :2], [5, 3], atol=0.3)
    sines = np.sin(np.pi * np.outer(s, [1, 2]))
    off = x - 10 * s[:, None] * np.eye(1, 20)
    weights = np.linalg.lstsq(sines, off)[0]
    np.testing.assert_allclose(fit.curve(2)[[0, -1]], [0 * x[0], 10 * np.eye(20)[0]], atol=1e-9)
    _, distance = project(
        10 * np.array([[0.3]]) * np.eye(1, 20) + np.sin(0.3 * np.pi * np.array([[1, 2]])) @ weights, fit.curve(2)
    )
    assert distance < 0.01


def test_a_curve_does_not_follow_noise():
    fit, *_ = fitted(amplitude=0, spread=0.5)
    assert fit.n_waves(0.5) == 0
    np.testing.assert_allclose(fit.curve(0)[:, 0], np.linspace(0, 10, len(fit.curve(0))))
    # cells scatter too widely for a bend of one wave between ends at 10, however deep it is
    bent, *_ = fitted(amplitude=3, spread=0.5)
    widest = np.sqrt(LARGEST_SHARE) * 10 / np.pi
    assert bent.n_waves(0.99 * widest) == 1
    assert bent.n_waves(1.01 * widest) == 0


def test_cells_near_the_ends_do_not_bend_a_curve():
    rng = np.random.default_rng(0)
    for s in (np.full(40, 1e-14), np.repeat([1e-3, 1 - 1e-3], 20)):
        fit = CurveFit(np.array([[0.0, 0], [10, 0]]))
        fit.add(np.stack([10 * s, rng.normal(size=40)], axis=1), s)
        for waves in (0, 1, 2, 3):
            np.testing.assert_allclose(length_of(fit.curve(waves)), 10)
    # beside others they do not matter: one wave of height 3, which is seen at the crest alone
    fit.add(np.tile([[5.0, 3.0]], (40, 1)), np.full(40, 0.5))
    np.testing.assert_allclose(fit.curve(1)[:, 1].max(), 3, rtol=0.02)


def test_largest_spread():
    rng = np.random.default_rng(0)
    s = rng.uniform(size=20000)
    x = rng.normal(size=(20000, 3)) * [0, 2, 1]
    x[:, 0] = 10 * s
    curve = np.linspace([0, 0, 0], [10, 0, 0], 7)
    np.testing.assert_allclose(largest_spread(x, s, curve), 2, rtol=0.03)
    # not by more in a few cells, in many dimensions
    few = np.mean([largest_spread(rng.normal(size=(60, 50)), s[:60], np.zeros((5, 50))) for _ in range(50)])
    np.testing.assert_allclose(few, 1, rtol=0.1)
    # three cells give a direction and nothing to measure along it
    assert largest_spread(x[:3], s[:3], curve) == np.inf


def test_folds():
    groups = np.repeat([0, 1, 2], [11, 20, 5])
    fold = folds(groups, np.random.default_rng(0))
    counts = np.array([np.bincount(fold[groups == g], minlength=N_FOLDS) for g in range(3)])
    assert (np.ptp(counts, axis=1) <= 1).all()
    # it does not matter which group is named first
    np.testing.assert_array_equal(fold, folds(np.array([1, 0, 2])[groups], np.random.default_rng(0)))


def cells(kind, n=1000):
    """Cells whose first two coordinates are the map, and noise in three more."""
    rng = np.random.default_rng(0)
    x = 0.3 * rng.normal(size=(n, 5))
    right = np.arange(n) % 2
    if kind == "gap":
        x[:, 0] += 3 * right
    elif kind == "bow":
        t = rng.uniform(0, 1.25 * np.pi, n)
        x[:, 0] += 5 * np.cos(t)
        x[:, 1] += 5 * np.sin(t)
        right = t > 0.625 * np.pi
    else:
        t = rng.uniform(0, 6, n)
        if kind == "bridge":
            t = np.where(np.arange(n) < 40, t, 10 * right - 2)
        x[:, 0] += t
        right = t > 3
    return x, right.astype(int)


def ask(x, groups, z=None):
    def decode(z):
        return np.concatenate([z, np.zeros((len(z), 3))], axis=1)

    return between(
        lambda: [(0, x[:300]), (300, x[300:])], x[:, :2] if z is None else z, decode, groups, np.random.default_rng(0)
    )


def test_quotient_of_counts():
    for bottom, peak in ((0, 4), (3, 7), (30, 1)):
        depth, low, high = quotient(bottom, peak)
        assert depth == bottom / peak
        # at each end of the interval, 5% of the samples are as extreme
        n = bottom + peak
        np.testing.assert_allclose(binom.cdf(bottom, n, high / (1 + high)), 0.05)
        np.testing.assert_allclose(binom.sf(bottom - 1, n, low / (1 + low)), 0.05 if bottom else 1)
        assert bottom or low == 0
    assert np.isnan(quotient(3, 0)).all()


def test_verdicts_on_a_flat_map():
    gap = ask(*cells("gap"))
    assert judge(gap) == "gap"
    # two Gaussians at 10 standard deviations
    assert gap.chosen.depth.depth < 0.02
    np.testing.assert_allclose(gap.chosen.length, 3, rtol=0.1)
    start, end = gap.chosen.depth.stretch
    assert 0.1 < start < 0.45
    assert 0.55 < end < 0.9

    assert judge(ask(*cells("flat"))) == "continuum"
    bridge = ask(*cells("bridge"))
    assert judge(bridge) == "bridge"
    assert bridge.chosen.depth.n_between > bridge.chosen.depth.n_expected

    x, groups = cells("flat", 1000)
    assert judge(ask(x[:30], groups[:30])) == "too few cells"


def test_a_bow_is_filled_along_the_cells():
    found = ask(*cells("bow"))
    assert found.fullest == "cells"
    assert judge(found) == "continuum"
    np.testing.assert_allclose(found.chosen.length, 5 * 0.625 * np.pi, rtol=0.1)


def test_a_map_tears_a_continuum():
    x, groups = cells("flat")
    z = x[:, :2] + 4 * (x[:, :1] > 3) * [1, 0]
    found = ask(x, groups, z)
    assert judge(found) == "torn"
    assert found.on_map.depth.depth < 0.1 < found.chosen.depth.depth


def test_other_cells_fill_the_way():
    x, groups = cells("flat")
    groups = np.where(np.abs(x[:, 0] - 3) < 1, 2, groups)
    assert judge(ask(x, groups)) == "continuum"
    # unless they only lie beside it
    far = x.copy()
    far[groups == 2, 4] += 20
    assert judge(ask(far, groups)) == "gap"


def test_a_map_of_four_places():
    # as of positions that became booleans: the cells of a group are all at its center, and none is in between
    x, groups = cells("gap", 40)
    found = ask(x, groups, (x[:, :2] > [1.5, 0]).astype(float))
    assert found.on_map.length < 2
    assert all(bridge.length < 6 for bridge in found.bridges.values())
    # there is no highest density to compare with
    assert np.isnan(found.on_map.depth.depth)
    assert np.isnan(found.on_map.depth.interval).all()
    assert found.shown == "unclear"
    # and where this is so in the data, nothing is known
    chosen = found.chosen._replace(valley=found.chosen.valley._replace(p_value=1.0), depth=found.on_map.depth)
    certain = found.power._replace(of_empty=1.0)
    for p_value in (0.01, 1.0):
        unknown = chosen._replace(valley=chosen.valley._replace(p_value=p_value))
        assert judge(found._replace(bridges=dict.fromkeys(found.bridges, unknown), power=certain)) == "too few cells"
    known = chosen._replace(depth=chosen.depth._replace(depth=EMPTY))
    assert judge(found._replace(bridges=dict.fromkeys(found.bridges, known), power=certain)) == "continuum"


def test_two_groups_at_one_place():
    # groups of different sizes, whose means differ by rounding
    x, groups = np.full((40, 5), 5.1), (np.arange(40) < 17).astype(int)
    with pytest.raises(ValueError, match="centers of `source` and `target` are at the same place in the data"):
        ask(x, groups)
