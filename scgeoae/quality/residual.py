"""What a map leaves out of each region of the data, and how much of that is more than noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse
from scipy.stats import pearson3
from sklearn.cluster import KMeans
from sklearn.utils.extmath import randomized_svd

from .._matrix import BLOCK_SIZE, blocks, spread_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

MIN_CELLS = 20
"""Fewer cells do not tell structure from noise."""
LEVEL = 0.05
"""Share of the regions of pure noise that stand out."""
MAX_DIMENSIONS = 20
# Skewness of the largest eigenvalue of noise: 0.35 to 0.54 for 50 to 200 cells in 20 to 50 dimensions, as measured. The
# limit for many cells and dimensions is 0.29 (Tracy & Widom 1996).
SKEWNESS = 0.5
# Features whose noise has less than this share of the mean variance count as free of noise.
NOISE_FREE = 0.01
# Cells in a region that is found on the map, in the mean, and most regions.
REGION_SIZE, MAX_REGIONS = 150, 20
# Up to this number of cells or features, all eigenvalues are computed.
MAX_EXACT = 500


class Structure(NamedTuple):
    """The directions along which cells vary more than noise does."""

    variance: float
    """Their variance beyond noise, in squared units of the representation."""
    p_value: float
    """For at least one such direction."""
    directions: NDArray[np.float64]
    """(K, D), each as long as the standard deviation along it. The first has the largest."""


class Region(NamedTuple):
    """What a map shows of the cells of a region, and what not."""

    n_cells: int
    variance: float
    """Mean squared distance of the cells from their mean."""
    hidden: float
    """Mean squared distance between cells and decoded positions, each about its mean."""
    structure: Structure | None
    """None below `MIN_CELLS` cells."""


def map_regions(z: Floats, n_regions: int | None = None, *, seed: int = 0) -> list[NDArray[np.intp]]:
    """Return the rows of the cells in each of the regions that k-means finds on a map.

    Parameters
    ----------
    z
        (n, d) positions.
    n_regions
        Number of regions, by default one for every 150 cells, but at most 20.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality.residual import map_regions
    >>> sorted(cells.tolist() for cells in map_regions(np.array([[0.0], [9.0], [1.0]]), 2))
    [[0, 2], [1]]
    """
    k = min(max(len(z) // REGION_SIZE, 1), MAX_REGIONS) if n_regions is None else n_regions
    k = min(k, len(np.unique(z, axis=0)))
    labels = KMeans(k, n_init=3, random_state=seed).fit_predict(z)
    return [cells for cells in (np.flatnonzero(labels == i) for i in range(k)) if len(cells)]


def residuals(
    matrix: Any,
    surface: Callable[[slice], tuple[Floats, Floats]],
    regions: Sequence[NDArray[np.intp]],
    *,
    by_feature: bool,
    n_draws: int,
    rng: np.random.Generator,
) -> list[Region]:
    r"""Split the variance of each region into what a map shows, noise, and structure that the map hides.

    With x a cell, D(z) its decoded position, and e = x − D(z), the variance of a region is the mean of
    :math:`\|x - \bar x\|^2`, and the hidden part of it is the mean of :math:`\|e - \bar e\|^2`. `hidden_structure`
    looks for structure in the part of e that is perpendicular to the surface. The matrix is read once, in blocks.

    Parameters
    ----------
    matrix
        (n, D) cells, in any form that can be read in `blocks`.
    surface
        Returns the decoded positions, (m, D), of some rows and an orthonormal basis of the tangent space there,
        (m, D, d).
    regions
        Rows of the cells in each region. No cell is in two of them.
    by_feature
        Whether the noise of each feature has a size of its own in each region, as that of genes does. Otherwise, the
        features have the sizes of `noise_sizes` in all regions.
    n_draws, rng
        See `hidden_structure`.
    """
    n, n_features = matrix.shape
    codes, is_used = np.full(n, -1), np.zeros(n, dtype=bool)
    for code, rows in enumerate(regions):
        codes[rows] = code
        is_used[rows[spread_rows(len(rows), max(BLOCK_SIZE // n_features, MAX_EXACT))]] = True
    sums, squares = np.zeros((2, len(regions), n_features)), np.zeros((2, len(regions)))
    # variances about the mean would drown in those about 0 of cells that are far from it
    reference: NDArray[np.float64] = np.full((len(regions), n_features), np.nan)
    used: list[list[tuple[Floats, Floats]]] = [[] for _ in regions]
    for start, block in blocks(matrix):
        here = slice(start, start + len(block))
        of, (decoded, frames) = codes[here], surface(here)
        found, first = np.unique(of, return_index=True)
        for code, row in zip(found, first, strict=True):
            if code >= 0 and np.isnan(reference[code, 0]):
                reference[code] = block[row]
        cells = np.flatnonzero(of >= 0)
        gather = sparse.csr_matrix(
            (np.ones(len(cells)), (of[cells], np.arange(len(cells)))), (len(regions), len(cells))
        )
        e = np.subtract(block, decoded, dtype=np.float64)
        for i, values in enumerate((block[cells] - reference[of[cells]], e[cells])):
            sums[i] += gather @ values
            squares[i] += gather @ (values**2).sum(1)
        across = _perpendicular(e, frames)
        for code in found[found >= 0]:
            rows = np.flatnonzero((of == code) & is_used[here])
            used[code].append((across[rows], frames[rows]))
    counts = np.array([len(rows) for rows in regions])
    variance, hidden = np.maximum(squares / counts - (sums**2).sum(2) / counts**2, 0)
    parts = [(np.concatenate([e for e, _ in each]), np.concatenate([f for _, f in each])) for each in used]
    is_tested = counts >= MIN_CELLS
    noise = None
    if is_tested.any() and not by_feature:
        noise = noise_sizes([part for part, tested in zip(parts, is_tested, strict=True) if tested])
    return [
        Region(
            int(count),
            float(variance[code]),
            float(hidden[code]),
            hidden_structure(*parts[code], noise=noise, n_draws=n_draws, rng=own) if is_tested[code] else None,
        )
        for code, (count, own) in enumerate(zip(counts, rng.spawn(len(regions)), strict=True))
    ]


def noise_sizes(parts: Sequence[tuple[Floats, Floats]]) -> Floats:
    r"""Return the standard deviation of the noise of each feature, (D,), relative to that of all features.

    With :math:`h_{ij}` the share of axis j in the tangent space at cell i, noise of variance :math:`\sigma_j^2` leaves
    :math:`\sum_i e_{ij}^2 \approx \sigma_j^2 \sum_i (1 - h_{ij})` perpendicular to the surface.
    The regions may differ in their level of noise, and some may have structure, so this is the median over the regions
    of the variance relative to that of all features, weighted by the number of cells.

    Parameters
    ----------
    parts
        Residuals perpendicular to the surface and bases of the tangent spaces, as in `hidden_structure`, for each
        region.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality.residual import noise_sizes
    >>> cells = np.random.default_rng(0).normal(size=(2000, 4)) * [1, 1, 1, 3]
    >>> noise_sizes([(cells, np.zeros((2000, 4, 0)))]).round(1)
    array([0.6, 0.6, 0.6, 1.7])
    """
    variances = np.array([_variances(*part) for part in parts])
    order, weights = variances.argsort(0), np.array([len(e) for e, _ in parts])
    below = weights[order].cumsum(0)
    middle = (below >= below[-1] / 2).argmax(0)[None]
    variance = np.take_along_axis(np.take_along_axis(variances, order, 0), middle, 0)[0]
    return np.sqrt(variance / (variance.mean() or 1))


def hidden_structure(
    residual: Floats,
    frames: Floats,
    *,
    noise: Floats | None,
    n_draws: int = 50,
    rng: np.random.Generator,
) -> Structure:
    r"""Return the directions in which residuals vary more than noise does: a parallel analysis (Horn 1965).

    The largest eigenvalue :math:`\lambda_1` of the covariance of the residuals is compared with those of noise, which
    is drawn from the residuals themselves. Features are first divided by the size of their noise. In each draw, the
    residual of each cell keeps its length and gets a random direction perpendicular to the surface. Where this size is
    not known, each value keeps its size and gets a random sign instead (Hong, Sheng & Dobriban 2020), so that each
    feature has noise of its own size. The eigenvalues of the draws give the mean and the standard deviation of a skewed
    distribution (Pearson's type III, a shifted gamma distribution), whose tail is the p-value.

    Directions are counted while :math:`\lambda_k` is above the 95% quantile of that distribution, which is scaled down
    to the variance that is left without the first k − 1 (Kritchman & Nadler 2009). An eigenvalue of n cells is too
    large in the mean; the variance beyond noise, :math:`\sigma^2`, is that of :math:`\ell` in
    :math:`\lambda = \ell (1 + \gamma \sigma^2 / (\ell - \sigma^2))` with γ the number of dimensions per cell
    (Baik & Silverstein 2006).

    Parameters
    ----------
    residual
        (n, D) parts of the residuals perpendicular to the surface.
    frames
        (n, D, d) orthonormal bases of the tangent spaces.
    noise
        (D,) relative standard deviations of the noise of the features, or None if they are not known.
    n_draws
        Number of draws, at least 2.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality.residual import hidden_structure
    >>> rng = np.random.default_rng(0)
    >>> cells, frames = rng.normal(size=(300, 10)), np.zeros((300, 10, 2))
    >>> frames[:, 0, 0] = frames[:, 1, 1] = 1
    >>> cells[:, :2] = 0
    >>> len(hidden_structure(cells, frames, noise=np.ones(10), rng=rng).directions)
    0
    >>> cells[:150, 2] += 3
    >>> len(hidden_structure(cells, frames, noise=np.ones(10), rng=rng).directions)
    1
    """
    if noise is None:
        return _structure(residual, frames, _random_signs, n_draws, rng)
    floor = np.sqrt(NOISE_FREE)
    has_noise = np.maximum(noise, np.sqrt(_variances(residual, frames))) > floor
    size = np.maximum(noise, floor)[has_noise].astype(np.float32)
    scaled = _orthonormal(frames[:, has_noise] / size[:, None])
    found = _structure(_perpendicular(residual[:, has_noise] / size, scaled), scaled, _random_directions, n_draws, rng)
    directions = np.zeros((len(found.directions), residual.shape[1]))
    directions[:, has_noise] = found.directions * size
    # without the part along the surface
    bases = frames.transpose(0, 2, 1).reshape(-1, residual.shape[1])
    directions -= (directions @ bases.T) @ bases / len(residual)
    return Structure(float((directions**2).sum()), found.p_value, directions)


def _structure(
    residual: Floats,
    frames: Floats,
    draw: Callable[[Floats, Floats, np.random.Generator], Floats],
    n_draws: int,
    rng: np.random.Generator,
) -> Structure:
    n, n_features = residual.shape
    n_across = n_features - frames.shape[2]
    centered = residual - residual.mean(0, dtype=np.float64)
    scale = np.sqrt((centered**2).sum() / n)
    if n_across < 2 or scale == 0:
        return Structure(0.0, 1.0, np.empty((0, n_features)))
    # squares of what is very small or large do not fit into float32
    centered = (centered / scale).astype(np.float32)
    most = min(MAX_DIMENSIONS, n_across - 1, n - 1)
    values, directions = _leading(centered, most, rng)
    spread = centered - _middle(centered)
    noise = np.empty(n_draws)
    for i in range(n_draws):
        drawn = draw(spread, frames, rng)
        drawn -= drawn.mean(0)
        drawn *= np.sqrt(n / (drawn**2).sum(dtype=np.float64))
        noise[i] = _leading(drawn, 1, rng)[0][0]
    # the spread of one more draw about the mean of the others
    of_noise = pearson3(SKEWNESS, loc=noise.mean(), scale=noise.std(ddof=1) * np.sqrt(1 + 1 / n_draws))
    critical = of_noise.isf(LEVEL)
    left = [(1 - values[:k].sum()) * n_across / (n_across - k) for k in range(most + 1)]
    k = next((k for k in range(most) if values[k] <= critical * left[k]), most)
    aspect = n_across / n
    level = noise.mean() * max(left[k], 0) / (1 + np.sqrt(aspect)) ** 2
    half = values[:k] + level * (1 - aspect)
    true = (half + np.sqrt(np.maximum(half**2 - 4 * level * values[:k], 0))) / 2
    beyond = np.maximum(true - level, 0) * scale**2
    return Structure(float(beyond.sum()), float(of_noise.sf(values[0])), np.sqrt(beyond)[:, None] * directions[:k])


def _middle(centered: Floats) -> Floats:
    """Return the spatial median of (n, D) values whose mean is 0, by some steps of Weiszfeld's method.

    A cell far away draws the mean towards it, so about the mean it is too near, and all others are too far.
    """
    middle = np.zeros(centered.shape[1], dtype=centered.dtype)
    for _ in range(3):
        length = np.linalg.norm(centered - middle, axis=1)
        weights = 1 / np.maximum(length, 0.1 * length.mean())
        middle = weights @ centered / weights.sum()
    return middle


def _variances(residual: Floats, frames: Floats) -> Floats:
    """Return the variance of the noise of each feature, (D,), in units of the mean over the features."""
    free = 1 - np.einsum("ija,ija->j", frames, frames) / len(residual)
    is_across = free > NOISE_FREE
    variance = np.divide(residual.var(0, dtype=np.float64), free, where=is_across, out=np.zeros(len(free)))
    mean = variance[is_across].mean() if is_across.any() else 0
    # of a feature along the surface, nothing is known, nor needed
    return np.where(is_across, variance / (mean or 1), 1)


def _orthonormal(vectors: Floats) -> Floats:
    """Return orthonormal bases of the spaces that (n, D, d) vectors span, by Gram and Schmidt."""
    found = np.empty_like(vectors)
    for axis in range(vectors.shape[2]):
        vector = _perpendicular(vectors[:, :, axis], found[:, :, :axis])
        length = np.sqrt(np.einsum("ij,ij->i", vector, vector))
        found[:, :, axis] = vector / np.maximum(length, np.finfo(np.float32).tiny)[:, None]
    return found


def _perpendicular(vectors: Floats, frames: Floats) -> Floats:
    """Return the (n, D) vectors without their parts in the tangent spaces."""
    for axis in range(frames.shape[2]):
        # orthonormal, so one after the other is as good as all at once, and einsum is fast without a third index
        frame = frames[:, :, axis]
        vectors = vectors - np.einsum("ij,ij->i", vectors, frame)[:, None] * frame
    return vectors


def _random_directions(residual: Floats, frames: Floats, rng: np.random.Generator) -> Floats:
    drawn = _perpendicular(rng.standard_normal(residual.shape, dtype=np.float32), frames)
    length, own = (np.sqrt(np.einsum("ij,ij->i", each, each)) for each in (residual, drawn))
    return drawn * (length / np.maximum(own, np.finfo(np.float32).tiny))[:, None]


def _random_signs(residual: Floats, frames: Floats, rng: np.random.Generator) -> Floats:
    return _perpendicular(np.where(rng.integers(2, size=residual.shape, dtype=np.int8), residual, -residual), frames)


def _leading(centered: Floats, k: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the largest `k` eigenvalues of the covariance of (n, D) values, and the eigenvectors, (k, D)."""
    n, n_features = centered.shape
    if n_features <= MAX_EXACT:
        values, vectors = np.linalg.eigh((centered.T @ centered).astype(np.float64) / n)
        return np.maximum(values[::-1][:k], 0), vectors.T[::-1][:k]
    _, singular, axes = randomized_svd(centered, k, random_state=int(rng.integers(2**31)))
    return singular.astype(np.float64) ** 2 / n, axes.astype(np.float64)
