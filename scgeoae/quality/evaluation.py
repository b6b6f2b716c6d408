"""All quality measures of several embeddings of the same cells."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse
from scipy.spatial.distance import squareform
from sklearn.utils import check_random_state

from .._arguments import checked_integer
from .._matrix import is_stored
from .._runtime import one_blas_thread, parallel_blocks
from .cell_scores import (
    N_NEIGHBORS,
    auc_rnx,
    density_kl,
    exchange_ranks,
    inverse_order,
    kernel_density,
    label_accuracy,
    neighbor_order,
    purity,
    ranks_in_order,
    recall,
    silhouette,
    sizes,
    trust,
)
from .distances import (
    average_ranks,
    correlation,
    diameter,
    distance_correlation,
    distances,
    for_row_blocks,
    scale_free_stress,
    squared_norms,
    stress,
    thread_count,
)
from .measures import MEASURES, Estimate, Quality
from .points import checked_labels, checked_points, in_double_precision
from .stored import StoredPoints

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import ArrayLike, NDArray

    from .distances import Points

    Floats = NDArray[np.float64]

# Disjoint groups of the sample, for measures that are not means over cells.
N_GROUPS = 10
MIN_SAMPLE = 10 * N_GROUPS
SIGMAS = (0.1, 100)
# The key of the representation, beside the names of the embeddings.
REPRESENTATION = None


def evaluate(
    x: ArrayLike | sparse.sparray | sparse.spmatrix,
    embeddings: Mapping[str, ArrayLike],
    *,
    labels: ArrayLike | None = None,
    n_sample: int = 3000,
    local_scores: bool = False,
    random_state: int | np.random.RandomState | None = 0,
) -> dict[str, Quality]:
    r"""Measure how well embeddings keep the neighbors, densities and distances of a representation.

    ======================= ====== ==============================================================
    measure                 best   what it is
    ======================= ====== ==============================================================
    ``kNN``                 1 ↑    share of the k nearest neighbors that are kept, averaged over
                                   k = 10, 20, …, 200, as far as k < n/2
    ``Trust``               1 ↑    trustworthiness (Venna & Kaski 2001), averaged over the same k
    ``Continuity``          1 ↑    continuity (Venna & Kaski 2001), averaged over the same k
    ``kNN_10``              1 ↑    share of the 10 nearest neighbors that are kept
    ``AUC_RNX``             1 ↑    neighborhoods of all sizes K, weighted 1/K, above chance (Lee,
                                   Peluffo-Ordóñez & Verleysen 2015)
    ``KL_0.1``, ``KL_100``  0 ↓    divergence KL(representation ‖ embedding) of the densities
                                   (Moor et al. 2020)
    ``Spear``, ``Pearson``  1 ↑    correlation of all pairwise distances
    ``dCor``                1 ↑    distance correlation (Székely, Rizzo & Bakirov 2007)
    ``Stress``              0 ↓    misfit of all distances, in their units
    ``Stress_scale_free``   0 ↓    misfit of all distances at the best scale
    ``silhouette``          1 ↑    silhouette of the labels on the embedding
    ``purity``              1 ↑    share of the 15 nearest neighbors on the embedding with the
                                   same label
    ``label_accuracy``      1 ↑    share of cells whose label is that of most of their 15 nearest
                                   neighbors on the embedding; a tie of t labels counts 1/t
    ======================= ====== ==============================================================

    The last three need `labels`.

    Up to `n_sample` cells all values are exact. With more cells, a random sample of m = `n_sample` is measured. The
    neighbors, densities and silhouettes of the sample are counted among *all* n cells, so they estimate the value of
    all cells without bias; only ``Spear``, ``Pearson``, ``dCor`` and the stresses use the pairs within the sample.

    Every value has a standard error:

    - 0 if all cells were measured;
    - :math:`\mathrm{sd}/\sqrt m \cdot \sqrt{1 - m/n}` for means over cells (``kNN``, ``Trust``, ``Continuity``,
      ``kNN_10``, ``AUC_RNX``, ``silhouette``, ``purity``, ``label_accuracy``);
    - by batch means for the others: the standard deviation of the measure over ten disjoint random groups of the
      sample, divided by √10, times the same :math:`\sqrt{1 - m/n}`. As it rests on ten numbers, expect it to be right
      within a factor of 1.5 or so.

    Parameters
    ----------
    x
        (n, D) representation, a NumPy array or a SciPy sparse matrix. A sparse one is never made dense as a whole; it
        takes a copy in double precision. A Dask array or a matrix on disk is read in blocks of rows: memory holds one
        block, the sample and 0.5 GB of distances. For a sample of m cells, it is read about m × n / 67 million times.
    embeddings
        By name, (n, d) positions of the same cells; the work on `x` is done once for all embeddings.
    labels
        (n,) label of each cell, at least two different ones.
    n_sample
        Largest number of cells to measure, at least 100. Time grows as ``n_sample`` × n log n, memory as the square of
        ``n_sample`` (60 bytes each).
    local_scores
        Return neighborhood preservation and trustworthiness of each cell. Neighbors and densities of every cell are
        then measured, which takes time in proportion to n² log n.
    random_state
        Seed of the sample, and of the order in which neighbors at equal distances are counted.

    Returns
    -------
    By name, a named tuple of

    - ``scores`` : by name of the measure, a named tuple of ``value``, ``error`` and ``n_cells``
    - ``neighborhood_preservation``, ``trust`` : (n,) float64, or None without `local_scores`

    Raises
    ------
    ValueError
        If shapes do not fit, values are not finite, all points of an array are equal, there are fewer than 21 cells,
        or an argument is out of its range.

    References
    ----------
    Venna & Kaski 2001, ICANN; Székely, Rizzo & Bakirov 2007, *Annals of Statistics* 35; Lee, Peluffo-Ordóñez &
    Verleysen 2015, *Neurocomputing* 169; Moor et al. 2020, ICML. Nazari, Damrich & Hamprecht 2023, arXiv 2306.17638,
    use this set of measures.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality import evaluate
    >>> x = np.random.default_rng(0).normal(size=(200, 10))
    >>> found = evaluate(x, {"two of ten": x[:, :2], "all": x})
    >>> [round(found[name].scores["kNN"].value, 2) for name in found]
    [0.4, 1.0]
    """
    checked_x, checked, n = checked_points(x, embeddings)
    codes = None if labels is None else checked_labels(labels, n)
    if codes is not None and not 1 <= codes.max() < n - 1:
        msg = f"Expected `labels` to have at least 2 values, and fewer than the {n} cells, found {codes.max() + 1}."
        raise ValueError(msg)
    n_sample = checked_integer(n_sample, "n_sample", MIN_SAMPLE)
    # In a random order the first cells are a sample, and so is every part of them; and neighbors at equal distances do
    # not come in the order of the file, which often follows the clusters.
    order = check_random_state(random_state).permutation(n)
    m = min(n, n_sample)
    cells_x = StoredPoints(checked_x, order, m) if is_stored(checked_x) else in_double_precision(checked_x[order])
    points = {name: in_double_precision(z[order]) for name, z in checked.items()}
    codes = None if codes is None else codes[order]
    with one_blas_thread():
        cells = _measure_cells(cells_x, points, codes, n if local_scores else m)
        sample = cells_x.sample if isinstance(cells_x, StoredPoints) else cells_x[:m]
        pairs = _measure_pairs(sample, {name: z[:m] for name, z in points.items()}, n)
    found = {}
    for name in points:
        scores = _of_cells(cells[name], n) | _of_densities(cells[REPRESENTATION], cells[name], n) | pairs[name]
        # `order` is a permutation, so sorting it puts the cells back
        back = np.argsort(order) if local_scores else None
        kept, trusted = (None if back is None else cells[name][measure][back] for measure in ("kNN", "Trust"))
        scores = {measure: scores[measure] for measure in MEASURES if measure in scores}
        found[name] = Quality(scores, {}, kept, trusted)
    return found


class _Side(NamedTuple):
    """The representation or an embedding."""

    points: Points
    squares: Floats
    """(n,) squared norms of the points"""
    diameter: float

    def distances(self, own: NDArray[np.intp]) -> Floats:
        d = distances(self.points[own], self.points, self.squares)
        # which matrix products only approximate
        d[np.arange(len(own)), own] = 0
        return d


def _densities(d: Floats, diameter: float) -> dict[str, Floats]:
    return {f"KL_{sigma:g}": kernel_density(d, diameter, sigma) for sigma in SIGMAS}


def _measure_cells(
    x: Points | StoredPoints, points: Mapping[str, Points], codes: NDArray[np.intp] | None, m: int
) -> dict[str | None, dict[str, Floats]]:
    """Return the scores of each of the first m cells by embedding, and densities of the representation under None."""
    n = len(next(iter(points.values())))
    ks = sizes(n)
    sides = {name: _Side(z, squared_norms(z), diameter(z, m)) for name, z in points.items()}
    if codes is not None:
        members = sparse.csr_array((np.ones(n), (codes, np.arange(n))))
        n_members = np.bincount(codes)
    blocks: dict[int, dict[str | None, dict[str, Floats]]] = {}

    def measure(own: NDArray[np.intp], d: Floats, diameter_x: float) -> None:
        block: dict[str | None, dict[str, Floats]] = {REPRESENTATION: _densities(d, diameter_x)}
        rank_x = inverse_order(neighbor_order(d, own))
        for name in points:
            d = sides[name].distances(own)
            order_z = neighbor_order(d, own)
            # of all cells, in the order of their distances on the embedding
            rank = ranks_in_order(rank_x, order_z)
            near = rank[:, 1 : max(ks) + 1]
            block[name] = _densities(d, sides[name].diameter) | {
                "kNN": recall(near, ks),
                "Trust": trust(near, n, ks),
                "Continuity": trust(exchange_ranks(rank, max(ks)), n, ks),
                "kNN_10": recall(near, [10]),
                "AUC_RNX": auc_rnx(rank, np.arange(n, dtype=np.int32)),
            }
            if codes is not None:
                near_z = order_z[:, 1 : N_NEIGHBORS + 1]
                block[name] |= {
                    "silhouette": silhouette((members @ d.T).T, n_members, codes[own]),
                    "purity": purity(near_z, own, codes),
                    "label_accuracy": label_accuracy(near_z, own, codes),
                }
        blocks[own[0]] = block

    if isinstance(x, StoredPoints):
        diameter_x = x.diameter()
        for rows, gathered in x.distances(m):
            first = rows[0]
            for_row_blocks(lambda own: measure(own, gathered[own - first], diameter_x), rows, n)  # noqa: B023
    else:
        of_x = _Side(x, squared_norms(x), diameter(x, m))
        for_row_blocks(lambda own: measure(own, of_x.distances(own), of_x.diameter), np.arange(m), n)
    done = [blocks[start] for start in sorted(blocks)]
    return {name: {k: np.concatenate([block[name][k] for block in done]) for k in done[0][name]} for name in done[0]}


def _of_cells(cells: dict[str, Floats], n: int) -> dict[str, Estimate]:
    return {
        name: Estimate(float(values.mean()), error_of_mean(values, n), len(values))
        for name, values in cells.items()
        if not name.startswith("KL")
    }


def _of_densities(of_x: dict[str, Floats], of_z: dict[str, Floats], n: int) -> dict[str, Estimate]:
    def measure(rows: slice) -> dict[str, float]:
        return {name: density_kl(of_x[name][rows], of_z[name][rows]) for name in of_x}

    return _with_errors(measure, len(of_x["KL_100"]), n)


def _measure_pairs(x: Points, points: Mapping[str, Points], n: int) -> dict[str, dict[str, Estimate]]:
    """Return the measures of all pairs of some cells, which are a sample of n."""
    square_x = _square_distances(x)
    ranks_x = average_ranks(_condensed(square_x))
    return {name: _compare_pairs(square_x, ranks_x, _square_distances(z), n) for name, z in points.items()}


def _compare_pairs(square_x: Floats, ranks_x: Floats, square_z: Floats, n: int) -> dict[str, Estimate]:
    m = len(square_x)

    def rank_correlation(rows: slice) -> dict[str, float]:
        of_x = ranks_x if rows == slice(0, m) else average_ranks(_condensed(square_x[rows, rows]))
        return {"Spear": correlation(of_x, average_ranks(_condensed(square_z[rows, rows])))}

    def dependence(rows: slice) -> dict[str, float]:
        return {"dCor": distance_correlation(square_x[rows, rows], square_z[rows, rows])}

    def misfits(rows: slice) -> dict[str, float]:
        of_x, of_z = _condensed(square_x[rows, rows]), _condensed(square_z[rows, rows])
        return {
            "Pearson": correlation(of_x, of_z),
            "Stress": stress(of_x, of_z),
            "Stress_scale_free": scale_free_stress(of_x, of_z),
        }

    tasks = [rank_correlation, dependence, misfits]
    found: dict[str, Estimate] = {}

    def estimate(start: int, stop: int) -> None:
        for task in tasks[start:stop]:
            found.update(_with_errors(task, m, n))

    parallel_blocks(estimate, len(tasks), block=1, n_threads=thread_count())
    return found


def _square_distances(points: Points) -> Floats:
    # makes the results of matrix products exactly symmetric
    return squareform(_condensed(distances(points, points)))


def _condensed(square: Floats) -> Floats:
    return squareform(square, checks=False)


def _with_errors(measure: Callable[[slice], dict[str, float]], m: int, n: int) -> dict[str, Estimate]:
    """Return the measures of the first m of n cells; `measure` computes them for a slice of the cells."""
    values = measure(slice(0, m))
    if m == n:
        return {name: Estimate(value, 0.0, m) for name, value in values.items()}
    bounds = np.linspace(0, m, N_GROUPS + 1).astype(int)
    groups = [measure(slice(*b)) for b in pairwise(bounds)]
    return {
        name: Estimate(value, error_of_groups(np.array([g[name] for g in groups]), m, n), m)
        for name, value in values.items()
    }


def error_of_mean(values: NDArray[np.float64], n: int) -> float:
    r"""Return the standard error of a mean over m of n cells, :math:`\mathrm{sd}/\sqrt m \cdot \sqrt{1-m/n}`."""
    m = len(values)
    return 0.0 if m == n else float(values.std(ddof=1) * np.sqrt((1 - m / n) / m))


def error_of_groups(values: NDArray[np.float64], m: int, n: int) -> float:
    r"""Return the standard error of a measure of m cells drawn from n by the method of batch means.

    .. math:: \mathrm{sd}/\sqrt{g} \cdot \sqrt{1 - m/n}

    with the standard deviation of the g values of the measure on disjoint random groups of m/g cells each. To first
    order a smooth measure is a mean over cells, so its variance is inversely proportional to their number.
    """
    return float(values.std(ddof=1) / np.sqrt(len(values)) * np.sqrt(1 - m / n))
