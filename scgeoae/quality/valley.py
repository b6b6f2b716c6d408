"""Valleys in the density of cells between two places on a line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The way between the two places is cut into this many bins. A valley is at least two of them wide.
N_BINS = 24
FIRST, LAST = (side + 1 for side in np.triu_indices(N_BINS - 1, 2))
FIRST, LAST = FIRST[LAST < N_BINS], LAST[LAST < N_BINS]
WIDTHS = np.array([FIRST, LAST - FIRST, N_BINS - LAST]) / N_BINS
# A valley is lower than this share of both sides. A curve that does not quite follow the cells makes shallower ones.
SHARE = 0.8
ERRORS = np.sqrt(SHARE / WIDTHS[[0, 2]] + 1 / WIDTHS[1])
CENTERS = (np.arange(N_BINS) + 0.5) / N_BINS - 0.5
# The constant, the slope and the bend of a log density.
TERMS = np.stack([np.ones(N_BINS), CENTERS, CENTERS**2 - np.mean(CENTERS**2)], axis=1)
# Samples drawn for a p-value, and for a power.
N_DRAWS, N_THINNED = 999, 200
# The middle third of the way, which is thinned to find out which valley would have been seen.
MIDDLE = slice(N_BINS // 3, 2 * N_BINS // 3)
SHARES = np.arange(0, 1, 0.1)
LEVEL, POWER = 0.05, 0.8


class Scan(NamedTuple):
    """The deepest valley of one or several histograms."""

    score: Any
    """How much lower it is than `SHARE` of both sides, in standard errors; 0 if no stretch is."""
    first: Any
    """Its first bin."""
    last: Any
    """The first bin after it."""


def histogram(u: NDArray[Any]) -> NDArray[np.int64]:
    """Count the cells in each of the bins between 0 and 1, (N_BINS,)."""
    inside = u[(u > 0) & (u < 1)]
    return np.bincount((inside * N_BINS).astype(np.intp), minlength=N_BINS)


def scan(counts: NDArray[Any]) -> Scan:
    r"""Find the stretch that is clearly emptier than all that is to its left, and than all that is to its right.

    Square roots of Poisson counts have a standard deviation of about ½ whatever their mean. With counts
    :math:`k_0, k_1, k_2` to the left of a stretch, in it, and to its right, of widths :math:`w`, its score is

    .. math:: \min_{s \in \{0, 2\}} \frac{\sqrt{q k_s/w_s} - \sqrt{k_1/w_1}}{\frac12 \sqrt{q/w_s + 1/w_1}}

    in which q is `SHARE`, or 0 if that is negative. A density without a valley has no stretch that is emptier than both
    of its sides, so its counts have a positive score only by chance.

    Parameters
    ----------
    counts
        (…, N_BINS) counts.
    """
    sums = np.concatenate([np.zeros((*counts.shape[:-1], 1)), counts.cumsum(-1)], axis=-1)
    start, end = sums[..., FIRST], sums[..., LAST]
    left, inside, right = (
        np.sqrt(k / w)
        for k, w in zip((SHARE * start, end - start, SHARE * (sums[..., -1:] - end)), WIDTHS, strict=True)
    )
    scores = 2 * np.minimum((left - inside) / ERRORS[0], (right - inside) / ERRORS[1])
    at = scores.argmax(-1)
    return Scan(np.maximum(np.take_along_axis(scores, at[..., None], -1)[..., 0], 0), FIRST[at], LAST[at])


def without_valley(counts: NDArray[Any]) -> NDArray[np.float64]:
    """Return the share of each bin, (N_BINS,), in the nearest density without a valley.

    Its logarithm is a parabola that bends down or is straight, fitted by maximum likelihood (a Poisson regression).
    Near its top every smooth density is such a parabola.
    """
    terms, weights = TERMS, _poisson_regression(TERMS, counts)
    if weights[2] > 0:
        terms = TERMS[:, :2]
        weights = _poisson_regression(terms, counts)
    expected = np.exp(terms @ weights)
    return np.asarray(expected / expected.sum(), dtype=np.float64)


def _poisson_regression(terms: NDArray[Any], counts: NDArray[Any]) -> NDArray[np.float64]:
    """Return the coefficients, by Newton's method."""
    weights = np.zeros(terms.shape[1])
    weights[0] = np.log(max(counts.mean(), 1e-3))
    for _ in range(50):
        expected = np.exp(np.clip(terms @ weights, -50, 50))
        # or it would be singular where all cells lie in one bin
        precision = terms.T @ (expected[:, None] * terms) + 1e-6 * np.eye(len(weights))
        step = np.linalg.solve(precision, terms.T @ (counts - expected))
        weights = weights + np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-8:
            break
    return weights


class Valley(NamedTuple):
    """Whether the density has a valley."""

    p_value: float
    """Share of samples from the nearest density without a valley in which a stretch stands out as much, or more; 1 if
    no stretch is lower than `SHARE` of both sides."""
    n_cells: int
    """Cells between the two places."""
    shares: NDArray[np.float64]
    """(N_BINS,) of them in each bin, in the nearest density without a valley."""
    critical: float
    """Score that 5% of these samples exceed."""


def valley(counts: NDArray[Any], rng: np.random.Generator) -> Valley:
    """Test whether the density of cells between two places has a valley.

    The null distribution of the score of `scan` is that in samples from the nearest density without a valley.
    """
    n, shares = int(counts.sum()), without_valley(counts)
    null = scan(rng.multinomial(n, shares, size=N_DRAWS)).score
    p_value = (1 + np.count_nonzero(null >= scan(counts).score)) / (N_DRAWS + 1)
    return Valley(float(p_value), n, shares, float(np.quantile(null, 1 - LEVEL)))


class Power(NamedTuple):
    """Which valleys would have been found."""

    of_empty: float
    """Chance of a p-value of 5% or less if there were no cells in the middle third of the way."""
    detectable: float
    """Largest density in the middle third, relative to that without a valley, that is found with a chance of 80%."""


def power(found: Valley, rng: np.random.Generator) -> Power:
    """Find out which valleys would have been found, by thinning the middle third of samples without one."""
    drawn = rng.multinomial(found.n_cells, found.shares, size=N_THINNED)
    chances = []
    for share in SHARES:
        thinned = drawn.copy()
        thinned[:, MIDDLE] = rng.binomial(drawn[:, MIDDLE], share)
        chances.append(np.mean(scan(thinned).score > found.critical))
    seen = SHARES[np.array(chances) >= POWER]
    return Power(float(chances[0]), float(seen.max()) if len(seen) else np.nan)
