"""Whether groups of cells are more or less abundant in a neighborhood than elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma, polygamma
from scipy.stats import hypergeom, t

if TYPE_CHECKING:
    from numpy.typing import NDArray


def cell_p_values(
    counts: NDArray[np.integer], sizes: NDArray[np.integer], n_own: int, n_all: int
) -> NDArray[np.float64]:
    r"""Return two-sided p-values that a share of the cells in neighborhoods is that of all cells, (n,).

    Exact if the labels of the cells are exchangeable: of s cells drawn from M, of which K have the label, the number x
    that have it is hypergeometric. :math:`p = \min(1, 2 \min(P(X \le x), P(X \ge x)))`.

    Parameters
    ----------
    counts
        (n,) number x of cells of the group in each neighborhood.
    sizes
        (n,) number s of cells in each neighborhood.
    n_own, n_all
        Number K of cells of the group, and M of all cells.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality.abundance import cell_p_values
    >>> cell_p_values(np.array([3]), np.array([3]), 3, 6)  # one of the 20 ways to draw 3 of 6, and two sides
    array([0.1])
    """
    # the same few numbers come back in many neighborhoods
    found, where = np.unique(np.stack([counts, sizes]), axis=1, return_inverse=True)
    law = hypergeom(n_all, n_own, found[1])
    return np.minimum(1, 2 * np.minimum(law.cdf(found[0]), law.sf(found[0] - 1)))[where.ravel()]


def sample_p_values(
    counts: NDArray[np.integer],
    sizes: NDArray[np.integer],
    condition: NDArray[np.integer],
    is_own: NDArray[np.bool_],
    is_other: NDArray[np.bool_],
    n_independent: float,
) -> NDArray[np.float64]:
    r"""Return two-sided p-values that samples of two kinds have equal shares of their cells in neighborhoods, (n,).

    A moderated t-test (Smyth 2004) of the shares on a scale on which counting noise has the same variance everywhere,
    :math:`\arcsin\sqrt{\text{count}/\text{size}}`, as in propeller (Phipson et al. 2022). The variance between samples
    of the same condition is never taken to be smaller than that of counting, :math:`1/(4\,\text{size})`.

    Parameters
    ----------
    counts
        (n, s) number of cells of each sample in each neighborhood.
    sizes
        (s,) number of cells of each sample.
    condition
        (s,) condition of each sample, from 0.
    is_own, is_other
        (s,) samples to compare.
    n_independent
        Number of neighborhoods that do not overlap, from which the variance is learned.
    """
    shares = np.arcsin(np.sqrt(counts / sizes))
    means = np.stack([shares[:, condition == c].mean(1) for c in range(condition.max() + 1)], axis=1)
    df = len(sizes) - means.shape[1]
    variance = np.square(shares - means[:, condition]).sum(1) / df
    of_counts = np.mean(1 / (4 * sizes))
    # counts that happen to be equal have no logarithm of a variance
    variance, df_moderated = moderated(np.maximum(variance, of_counts / 20), df, n_independent)
    difference = shares[:, is_own].mean(1) - shares[:, is_other].mean(1)
    error = np.sqrt(np.maximum(variance, of_counts) * (1 / is_own.sum() + 1 / is_other.sum()))
    return 2 * t.sf(np.abs(difference) / error, df_moderated)


def moderated(variance: NDArray[np.float64], df: float, n_independent: float) -> tuple[NDArray[np.float64], float]:
    r"""Return variances moved toward a common one, and their degrees of freedom.

    Empirical Bayes of limma (Smyth 2004, *Stat. Appl. Genet. Mol. Biol.* 3:3): true variances are taken to follow a
    scaled inverse χ² distribution with d₀ degrees of freedom, which is fitted to the mean and variance of the
    logarithms of the n given ones. The degrees of freedom, df + d₀, are at most those of `n_independent` variances.
    """
    logs = np.log(variance) - digamma(df / 2) + np.log(df / 2)
    excess = logs.var() - polygamma(1, df / 2)
    most = df * max(n_independent, 1)
    if excess <= polygamma(1, most / 2):
        return np.full_like(variance, np.exp(logs.mean())), most
    prior = 2 * brentq(lambda half: polygamma(1, half) - excess, 1e-6, most / 2)
    common = np.exp(logs.mean() + digamma(prior / 2) - np.log(prior / 2))
    return (prior * common + df * variance) / (prior + df), min(prior + df, most)
