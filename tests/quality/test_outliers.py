from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from scgeoae.quality import outliers

from ..for_each import for_each


def cells(n=1500, seed=0):
    """Two populations, one ten times as sparse as the other, in 10 dimensions."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 10)) * np.where(np.arange(n) % 3, 1.0, 5.0)[:, None]
    x[:, 0] += np.where(np.arange(n) % 3, 0, 60)
    return x


@for_each("n", [300, 1000, 3000])
@for_each("d", [2, 10, 30])
def test_three_in_two_hundred_of_fresh_cells_are_outliers_whatever_their_number(n, d):
    rng = np.random.default_rng(n + d)
    centers = 8 * rng.normal(size=(4, d))
    x = centers[rng.integers(4, size=n + 4000)] + rng.normal(size=(n + 4000, d))
    found = outliers(x[n:], x[:n])
    assert 0.003 < found.is_outlier.mean() < 0.03
    assert abs(np.median(found.score)) < 0.2
    assert np.array_equal(found.is_outlier, found.score > 1)
    assert outliers(rng.normal(size=(50, d)) + 60, x[:n]).is_outlier.all()


def test_sparse_populations_are_no_outliers():
    x = cells(9000)
    found = outliers(x[6000:], x[:6000])
    assert 0.003 < found.is_outlier.mean() < 0.03
    assert found.is_outlier[np.arange(6000, 9000) % 3 == 0].mean() < 0.05


def test_others_are_found():
    x = cells()
    rng = np.random.default_rng(1)
    other = rng.normal(size=(200, 10)) + 8 * np.eye(10)[4]
    found = outliers(np.concatenate([x[1000:], other]), x[:1000])
    assert roc_auc_score(np.repeat([0, 1], [500, 200]), found.score) > 0.95
    assert found.is_outlier[500:].mean() > 0.9
    assert found.is_outlier[:500].mean() < 0.03


@pytest.fixture(scope="module")
def components():
    """Components of 300 cells of three types, and on them 2,000 new cells of these and 200 of a fourth type."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2500, 1000)) + 0.6 * rng.normal(size=(4, 1000))[np.r_[np.arange(2300) % 3, np.full(200, 3)]]
    pca = PCA(30, svd_solver="full").fit(x[:300])
    return pca.transform(x[:300]), pca.transform(x[300:]), (x[:300].var(0, ddof=1).sum(), 1000)


def test_components_know_their_cells_and_the_flag_does_not_mind(components):
    reference, new, made_of = components
    belongs = np.arange(2200) < 2000
    found = outliers(new, reference, made_of=made_of)
    assert 0.002 < found.is_outlier[belongs].mean() < 0.03
    assert roc_auc_score(~belongs, found.score) > 0.95
    assert found.is_outlier[~belongs].mean() > 0.5
    # the reference itself lies too far out, by which new cells belong too well
    assert np.median(outliers(new[belongs], reference).score) < -0.2


def test_cells_of_the_reference_are_scored_as_though_it_did_not_have_them(components):
    reference, _, made_of = components
    again = outliers(reference + 1e-6, reference, made_of=made_of)
    assert 0.005 < again.is_outlier.mean() <= 0.02 + 1 / 300
    assert abs(np.median(again.score)) < 1e-6
    x = cells(400)
    assert 0.005 < outliers(x, x).is_outlier.mean() <= 0.015 + 1 / 400


def test_order_of_cells_does_not_matter(components):
    reference, new, made_of = components
    order = np.random.default_rng(0).permutation(len(reference))
    expected = outliers(new[:100], reference, made_of=made_of).score
    np.testing.assert_allclose(outliers(new[:100], reference[order], made_of=made_of).score, expected, atol=2e-2)
    np.testing.assert_array_equal(outliers(new[:7], reference, made_of=made_of).score, expected[:7])


@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 5))
def test_unit_position_and_orientation_do_not_matter(scale, seed):
    x = cells(300)
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(10, 10)))[0]
    moved = scale * x @ turn + rng.normal(size=10)
    order = rng.permutation(200)
    found, expected = outliers(moved[200:], moved[:200][order]).score, outliers(x[200:], x[:200]).score
    # a rank may change where two distances agree to rounding
    assert np.median(np.abs(found - expected)) < 1e-3
    assert np.abs(found - expected).max() < 0.05


def test_duplicates_tiny_references_and_a_cell_in_the_middle():
    x = cells(60)
    twice = np.concatenate([x, x])
    assert np.isfinite(outliers(x, twice).score).all()
    assert outliers(x[:3] + 100, x[:3]).is_outlier.all()
    assert np.isfinite(outliers(x, x[:3]).score).all()
    assert np.isfinite(outliers(x.mean(0, keepdims=True), x).score).all()
    assert np.isfinite(outliers(x, np.ones((30, 10))).score).all()


def test_many_features():
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(300, 3)) @ rng.normal(size=(3, 2000)) + rng.normal(size=(300, 2000)) / 4
    strange = rng.normal(size=(20, 3)) @ rng.normal(size=(3, 2000))
    assert outliers(strange, reference).is_outlier.mean() > 0.8
    assert outliers(reference[:50], reference).is_outlier.mean() < 0.1
