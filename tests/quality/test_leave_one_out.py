from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from scgeoae.quality.outlier_detection import leave_one_out_scores, moments

from ..for_each import for_each


def counts_like(n, p, seed=0):
    """Three populations on two axes, and noise."""
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(n, p))
        + 12 * rng.normal(size=(3, 2))[np.arange(n) % 3] @ np.linalg.qr(rng.normal(size=(p, 2)))[0].T
    )


def test_with_all_components_it_is_the_pca_without_the_cell():
    x = np.random.default_rng(0).normal(size=(60, 8)) * 1.7 ** np.arange(8)
    x -= x.mean(0)
    _, axes = np.linalg.eigh(x.T @ x)
    scores = x @ axes[:, ::-1]
    found = leave_one_out_scores(scores, moments(scores), x.var(0, ddof=1).sum(), 8)
    for i in (0, 7, 33):
        rest = np.delete(x, i, axis=0)
        _, without = np.linalg.eigh(np.cov(rest.T))
        expected = np.abs((x[i] - rest.mean(0)) @ without[:, ::-1])
        np.testing.assert_allclose(np.abs(found[i]), expected, rtol=1e-4)


@for_each("n, p", [(150, 600), (400, 300)])
def test_of_the_first_components_it_is_where_new_cells_lie(n, p):
    x = counts_like(n + 2000, p)
    pca = PCA(10, svd_solver="full").fit(x[:n])
    scores = pca.transform(x[:n])
    found = leave_one_out_scores(scores, moments(scores), x[:n].var(0, ddof=1).sum(), p)
    new, noise = pca.transform(x[n:]), slice(2, None)
    size, expected, before = ((y[:, noise] ** 2).sum(1).mean() ** 0.5 for y in (found, new, scores))
    assert before > 1.5 * expected
    assert size == pytest.approx(expected, rel=0.1)
    # what separates the populations stays
    assert (found[:, :2] ** 2).mean() == pytest.approx((new[:, :2] ** 2).mean(), rel=0.1)


def test_many_cells_are_known_by_no_component_and_some_of_them_are_returned():
    x = counts_like(3000, 6)
    pca = PCA(6).fit(x)
    scores = pca.transform(x)
    found = leave_one_out_scores(scores, moments(scores), x.var(0, ddof=1).sum(), 6)
    assert (found**2).sum() == pytest.approx((scores**2).sum(), rel=0.02)
    some = leave_one_out_scores(scores[::7], moments(scores), x.var(0, ddof=1).sum(), 6)
    assert np.linalg.norm(some - found[::7]) < 0.02 * np.linalg.norm(found[::7])


def test_components_without_variance_stay():
    scores = np.zeros((30, 4), dtype=np.float32)
    scores[:, 0] = np.linspace(-1, 1, 30)
    found = leave_one_out_scores(scores, moments(scores), scores.var(0, ddof=1).sum(), 4)
    assert np.isfinite(found).all()
    assert not found[:, 1:].any()
