"""p-values of shares, against enumeration, SciPy and simulated variances."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import ttest_ind

from scgeoae.quality import abundance
from scgeoae.quality.abundance import cell_p_values, sample_p_values


def test_cells_against_all_ways_to_label_them():
    drawn = [sum(cell < 5 for cell in own) for own in combinations(range(9), 4)]
    for count in range(5):
        tail = min(np.mean(np.array(drawn) <= count), np.mean(np.array(drawn) >= count))
        assert cell_p_values(np.array([count]), np.array([5]), 4, 9)[0] == pytest.approx(min(1, 2 * tail))


def test_sizes_of_neighborhoods_may_differ():
    counts, sizes = np.array([3, 3, 0]), np.array([10, 4, 10])
    each = [cell_p_values(counts[[i]], sizes[[i]], 20, 50)[0] for i in range(3)]
    assert np.allclose(cell_p_values(counts, sizes, 20, 50), each)


def drawn_counts(rng, n, sizes, share, spread):
    donor = rng.gamma(1 / spread**2, spread**2, size=(n, len(sizes)))
    return rng.poisson(share * donor * sizes)


def test_samples_without_moderation_are_compared_by_a_t_test(monkeypatch):
    monkeypatch.setattr(abundance, "moderated", lambda variance, df, _: (variance, df))
    sizes = np.full(7, 5000)
    counts = drawn_counts(np.random.default_rng(0), 200, sizes, 0.05, 0.3)
    condition = np.array([0, 0, 0, 1, 1, 1, 1])
    found = sample_p_values(counts, sizes, condition, condition == 0, condition == 1, 200)
    shares = np.arcsin(np.sqrt(counts / sizes))
    assert np.allclose(found, ttest_ind(shares[:, :3], shares[:, 3:], axis=1).pvalue)


def test_samples_that_agree_too_well_are_no_evidence():
    # counts of 5 and 6 of 1,000 cells each: less than counting noise apart, and without any spread between samples
    counts, condition = np.array([[5, 5, 6, 6]]), np.array([0, 0, 1, 1])
    assert sample_p_values(counts, np.full(4, 1000), condition, condition == 0, condition == 1, 1)[0] > 0.5


@pytest.mark.parametrize("n_samples", [4, 10])
def test_p_values_of_samples_are_uniform_without_a_difference(n_samples):
    sizes = np.full(n_samples, 400)
    counts = drawn_counts(np.random.default_rng(1), 5000, sizes, 0.03, 0.3)
    condition = np.arange(n_samples) % 2
    p = sample_p_values(counts, sizes, condition, condition == 0, condition == 1, 5000)
    for level in (0.01, 0.05, 0.2):
        assert np.mean(p < level) == pytest.approx(level, rel=0.25)


def test_variances_are_moved_toward_the_common_one_as_far_as_they_vary_by_chance():
    rng = np.random.default_rng(0)
    n, df, prior, common = 40_000, 6, 10, 2.5
    true = common * prior / rng.chisquare(prior, size=n)
    variance = true * rng.chisquare(df, size=n) / df
    found, df_found = abundance.moderated(variance, df, n)
    assert df_found == pytest.approx(prior + df, rel=0.1)
    assert np.allclose(found, (prior * common + df * variance) / (prior + df), rtol=0.1)
    # no more degrees of freedom than the data have
    assert abundance.moderated(variance, df, 2)[1] <= 2 * df
    # all the same: what they have in common
    chance = common * rng.chisquare(df, size=n) / df
    assert np.allclose(abundance.moderated(chance, df, 1000)[0], common, rtol=0.05)
