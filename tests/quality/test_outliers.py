from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from scgeoae.quality import outliers


def cells(n=1500, seed=0):
    """Two populations, one ten times as sparse as the other, in 10 dimensions."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 10)) * np.where(np.arange(n) % 3, 1.0, 5.0)[:, None]
    x[:, 0] += np.where(np.arange(n) % 3, 0, 60)
    return x


def test_one_in_a_hundred_of_cells_that_belong_is_an_outlier():
    x = cells(9000)
    found = outliers(x[6000:], x[:6000])
    assert 0.003 < found.is_outlier.mean() < 0.03
    # the sparse population is none for being sparse
    sparse = np.arange(6000, 9000) % 3 == 0
    assert found.is_outlier[sparse].mean() < 0.05
    assert abs(np.median(found.score)) < 0.2
    assert np.array_equal(found.is_outlier, found.score > 1)


def test_others_are_found():
    x = cells()
    rng = np.random.default_rng(1)
    other = rng.normal(size=(200, 10)) + 8 * np.eye(10)[4]
    found = outliers(np.concatenate([x[1000:], other]), x[:1000])
    assert roc_auc_score(np.repeat([0, 1], [500, 200]), found.score) > 0.95


@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 5))
def test_unit_position_and_orientation_do_not_matter(scale, seed):
    x = cells(300)
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(10, 10)))[0]
    moved = scale * x @ turn + rng.normal(size=10)
    order = rng.permutation(200)
    np.testing.assert_allclose(
        outliers(moved[200:], moved[:200][order]).score, outliers(x[200:], x[:200]).score, atol=1e-3
    )


def test_duplicates_tiny_references_and_a_cell_in_the_middle():
    x = cells(60)
    twice = np.concatenate([x, x])
    assert np.isfinite(outliers(x, twice).score).all()
    assert np.isfinite(outliers(x, x[:3]).score).all()
    assert np.isfinite(outliers(x.mean(0, keepdims=True), x).score).all()
    assert np.isfinite(outliers(x, np.ones((30, 10))).score).all()
