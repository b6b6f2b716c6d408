"""The measures of OpenProblems' task "dimensionality reduction for visualization" (version 0.2)."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.utils import check_random_state

from .._runtime import one_blas_thread
from .clusters import cluster_agreement
from .coranking import coranking_measures
from .distances import MAX_COLUMNS_ONE_BY_ONE, average_ranks, correlation, distances, for_row_blocks, squared_norms
from .evaluation import Estimate, _checked
from .fuzzy_graph import exact_neighbors, fuzzy_graph, local_radii
from .measures import OPENPROBLEMS
from .spectral import spectral_layout

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import ArrayLike, NDArray

    from .distances import Points

    Floats = NDArray[np.float64]

# Largest number of cells between which all distances are measured.
N_WAYPOINTS = 10_000
# Neighbors without the cell itself, which OpenProblems counts as one of 30 and 15.
N_RADIUS, N_GRAPH = 29, 14
# Columns of the spectral layout, at most.
N_SPECTRAL = 1000
# Size of the neighborhoods.
K = 30
# Differences that are rounding errors, as a share of the values.
ROUNDING = 1e-12
# With fewer cells the co-ranking measures of 30 neighbors are not defined.
MIN_CELLS_K30 = K + 2
K30 = ("continuity_at_k30", "trustworthiness_at_k30", "qnx_at_k30", "lcmc_at_k30")
CORANKING = (*K30, "qnx_auc", "qlocal", "qglobal")
CLUSTERS = ("normalized_mutual_information", "adjusted_rand_index")
LABELS = ("centroid_distance_correlation", "label_distance_correlation", *CLUSTERS)
OF_WAYPOINTS = ("waypoint_distance_correlation", "centroid_distance_correlation", *CORANKING)


class Benchmark(NamedTuple):
    """The measures of one embedding."""

    scores: dict[str, Estimate]
    """By name, in the order of `MEASURES`; NaN where a measure is not defined"""
    notes: dict[str, str]
    """By name, why a measure is NaN, or what its value does not say"""


def openproblems(
    x: ArrayLike | sparse.sparray | sparse.spmatrix,
    embeddings: Mapping[str, ArrayLike],
    *,
    labels: ArrayLike | None = None,
    measures: Collection[str] = OPENPROBLEMS,
    random_state: int | np.random.RandomState | None = 0,
) -> dict[str, Benchmark]:
    r"""Measure embeddings as OpenProblems does in its task "dimensionality reduction for visualization" (v0.2).

    ================================= ============================================================
    measure                           what it is
    ================================= ============================================================
    ``waypoint_distance_correlation`` Spearman correlation of all entries of the matrices of
                                      distances between waypoints, diagonal included
    ``centroid_distance_correlation`` the same for the distances from waypoints to the centroids
                                      of the labels, which are the means of their cells
    ``label_distance_correlation``    the same for the distances between the centroids
    ``continuity_at_k30``,            `scgeoae.quality.coranking.coranking_measures` of the
    ``trustworthiness_at_k30``,       waypoints
    ``qnx_at_k30``, ``lcmc_at_k30``,
    ``qnx_auc``, ``qlocal``,
    ``qglobal``
    ``density_preservation``          Pearson correlation of the logarithms of the local radii in
                                      the data and on the embedding
                                      (`scgeoae.quality.fuzzy_graph.local_radii`, 30 neighbors)
    ``normalized_mutual_information`` agreement of Leiden clusters on the embedding with the
    ``adjusted_rand_index``           labels, at the best of 20 resolutions
                                      (`scgeoae.quality.clusters.cluster_agreement`, 15 neighbors)
    ``spectral_distance_correlation`` Spearman correlation of the distances between all cells with
                                      those in a spectral layout of the data
                                      (`scgeoae.quality.spectral.spectral_layout`, 15 neighbors)
    ================================= ============================================================

    1 is best for all of them. The waypoints are all cells, or a random 10,000 of more; their standard error is then
    NaN, because OpenProblems has none. All other measures use all cells.

    The definitions are those of OpenProblems, so the numbers can be compared with its tables, with these differences:

    - All neighbors are exact, whereas umap-learn searches approximately from 4,096 cells on.
    - With 10,000 cells or more, `centroid_distance_correlation` includes only the waypoints.
    - OpenProblems sets the first entries on the diagonal of the matrix of distances to centroids to 0, in the data
      only. That matrix is not square and these entries are not 0, so they stay here.
    - Neighbors at equal distances are ranked in a random order, not in the order of the file, which often follows the
      clusters.
    - umap-learn drops the weakest edges (below 1/700 of the strongest) before it measures the radii of the data.
    - The spectral layout is computed to full precision, and is the layout of the whole graph even if it is in pieces.

    The spectral layout has min(1000, n − 2, D − 2) columns. Where this is nearly the number of cells, the columns are
    almost a complete basis, and all distances in the layout are nearly equal. The measure is then close to noise: on
    two data sets of about 1,000 cells, the distances in the data themselves have a correlation of 0.2 and −0.002 with
    it.

    Parameters
    ----------
    x
        (n, D) data. A sparse matrix, such as log1p counts of all genes, is never dense as a whole. OpenProblems
        compares with all genes.
    embeddings
        By name, (n, d) positions of the same cells; the work on `x` is done once for all embeddings.
    labels
        (n,) label of each cell, for the measures that need labels.
    measures
        Names of the measures to compute.
    random_state
        Seed of the waypoints, and of the order in which neighbors at equal distances are counted.

    Returns
    -------
    By name, a named tuple of

    - ``scores`` : by name of the measure, a named tuple of ``value``, ``error`` and ``n_cells``; the value is NaN where
      the measure is not defined
    - ``notes`` : by name of the measure, why it is NaN, or what its value does not say

    Raises
    ------
    ValueError
        If shapes do not fit, values are not finite, all points of an array are equal, or there are fewer than 21 cells.

    References
    ----------
    Luecken et al. 2025, *Defining and benchmarking open problems in single-cell analysis*, Nature Biotechnology;
    Lee & Verleysen 2009; Narayan, Berger & Cho 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality import openproblems
    >>> x = np.random.default_rng(0).normal(size=(200, 10))
    >>> found = openproblems(x, {"two of ten": x[:, :2]}, measures=["qnx_auc"])
    >>> round(found["two of ten"].scores["qnx_auc"].value, 2)
    0.61
    """
    points_x = _points(_checked(x, "x"))
    n = points_x.shape[0]
    points = {name: _points(_checked(z, name, n)) for name, z in embeddings.items()}
    codes = None if labels is None else _codes(labels, n)
    notes = _undefined(points_x.shape, codes)
    wanted = set(measures) - notes.keys()
    waypoints = check_random_state(random_state).permutation(n)[:N_WAYPOINTS]
    found: dict[str, dict[str, float]] = {name: {} for name in points}

    def add(values: Mapping[str, Mapping[str, float]]) -> None:
        for name, of_name in values.items():
            found[name] |= of_name

    with one_blas_thread():
        if "waypoint_distance_correlation" in wanted:
            add(_waypoint_correlations(points_x[waypoints], {name: z[waypoints] for name, z in points.items()}))
        if wanted & set(CORANKING):
            # where there are too few cells for 30 neighbors, these measures are not defined, but the others are
            of_waypoints = {name: z[waypoints] for name, z in points.items()}
            add(coranking_measures(points_x[waypoints], of_waypoints, k=min(K, len(waypoints) - 2)))
        if codes is not None and wanted & {"centroid_distance_correlation", "label_distance_correlation"}:
            add(_centroid_correlations(points_x, points, codes, waypoints))
        if wanted & {"density_preservation", *CLUSTERS, "spectral_distance_correlation"}:
            add(_graph_measures(points_x, points, codes, wanted))
    return {name: _benchmark(values, measures, n, notes, codes) for name, values in found.items()}


def _benchmark(
    values: Mapping[str, float],
    measures: Collection[str],
    n: int,
    undefined: Mapping[str, str],
    codes: NDArray[np.intp] | None,
) -> Benchmark:
    notes = dict(undefined)
    scores = {}
    for measure in (name for name in OPENPROBLEMS if name in measures):
        value = values[measure] if measure not in undefined else np.nan
        n_cells = min(n, N_WAYPOINTS) if measure in OF_WAYPOINTS else n
        if np.isnan(value):
            scores[measure] = Estimate(np.nan, np.nan, 0)
            notes.setdefault(
                measure,
                "no neighborhood is larger than the best one"
                if measure == "qglobal"
                else "all values that it would correlate are equal",
            )
        else:
            scores[measure] = Estimate(float(value), 0.0 if n_cells == n else np.nan, n_cells)
    if codes is not None and codes.max() == 1:
        notes.setdefault("label_distance_correlation", "with two labels it is 1 for every embedding")
    return Benchmark(scores, {name: note for name, note in notes.items() if name in scores})


def _undefined(shape: tuple[int, int], codes: NDArray[np.intp] | None) -> dict[str, str]:
    """Return the measures that are not defined for these data, by name, and why."""
    n, n_features = shape
    notes: dict[str, str] = {}
    if codes is None or codes.max() == 0:
        why = "it needs labels" if codes is None else "it needs at least two labels, found one"
        notes |= dict.fromkeys(LABELS, why)
    elif not (find_spec("leidenalg") and find_spec("igraph")):
        notes |= dict.fromkeys(CLUSTERS, "it needs Leiden clusters: pip install leidenalg igraph")
    if n < MIN_CELLS_K30:
        why = f"it needs at least {MIN_CELLS_K30} cells, found {n}"
        notes |= dict.fromkeys([*K30, "density_preservation"], why)
    if n_features < 3:
        notes["spectral_distance_correlation"] = f"it needs at least 3 features, found {n_features}"
    if n > N_WAYPOINTS:
        notes["spectral_distance_correlation"] = f"it is computed for at most {N_WAYPOINTS:,} cells, found {n:,}"
    return notes


def _points(points: Any) -> Points:
    """Return the points in double precision."""
    points = points.astype(np.float64)
    if sparse.issparse(points):
        points.sum_duplicates()
    elif points.shape[1] > MAX_COLUMNS_ONE_BY_ONE:
        # for matrix products; where differences are computed, it would only make equal distances unequal
        points -= points.mean(0)
    return points


def _correlation(a: Floats, b: Floats) -> float:
    """Return the Pearson correlation, NaN if one is constant up to rounding."""
    if any(np.ptp(values) <= ROUNDING * np.abs(values).max() for values in (a, b)):
        return float("nan")
    return correlation(a, b)


def _codes(labels: ArrayLike, n: int) -> NDArray[np.intp]:
    labels = np.asarray(labels)
    if labels.shape != (n,):
        msg = f"Expected `labels` to be of shape ({n},), found {labels.shape}."
        raise ValueError(msg)
    return np.unique(labels, return_inverse=True)[1]


class _MatrixRanks(NamedTuple):
    """Average ranks of all entries of a symmetric (n, n) matrix of distances, minus their mean."""

    pairs: Floats
    """(n (n - 1) / 2,) of the entries above the diagonal, row by row"""
    diagonal: float
    """of each entry on the diagonal"""
    n: int

    @staticmethod
    def of(d: Floats, n: int) -> _MatrixRanks:
        """Rank the entries of the matrix with these distances above its diagonal."""
        ranks = average_ranks(d)
        n_zero = np.count_nonzero(d == 0)
        # each pair is there twice, and on the diagonal there are n more zeros
        ranks *= 2
        ranks += n + 0.5
        zero = (n + 2 * n_zero - 1) / 2
        ranks[d == 0] = zero
        mean = (n**2 - 1) / 2
        ranks -= mean
        return _MatrixRanks(ranks, zero - mean, n)

    def dot(self, other: _MatrixRanks) -> float:
        return float(2 * np.vdot(self.pairs, other.pairs) + self.n * self.diagonal * other.diagonal)

    def correlation(self, other: _MatrixRanks) -> float:
        norms = np.sqrt(self.dot(self) * other.dot(other))
        return self.dot(other) / norms if norms > 0 else float("nan")


def _pair_distances(points: Points) -> Floats:
    """Return the distances of all pairs of n points, (n (n - 1) / 2,), in the order of SciPy's ``pdist``."""
    n = points.shape[0]
    found, squares = np.empty(n * (n - 1) // 2), squared_norms(points)

    def measure(own: NDArray[np.intp]) -> None:
        first, last = own[0], own[-1]
        d = distances(points[own], points[first:], squares[first:])
        start, stop = (i * n - i * (i + 1) // 2 for i in (first, last + 1))
        found[start:stop] = d[np.triu(np.ones(d.shape, dtype=bool), 1)]

    for_row_blocks(measure, np.arange(n), n)
    return found


def _waypoint_correlations(x: Points, embeddings: Mapping[str, Floats]) -> dict[str, dict[str, float]]:
    n = x.shape[0]
    ranks = _MatrixRanks.of(_pair_distances(x), n)
    return {
        name: {"waypoint_distance_correlation": ranks.correlation(_MatrixRanks.of(_pair_distances(z), n))}
        for name, z in embeddings.items()
    }


def _centroid_correlations(
    x: Points, embeddings: Mapping[str, Floats], codes: NDArray[np.intp], waypoints: NDArray[np.intp]
) -> dict[str, dict[str, float]]:
    n_cells = np.bincount(codes)
    members = sparse.csr_array((np.ones(len(codes)), (codes, np.arange(len(codes)))))

    def ranks(points: Points) -> tuple[Floats, _MatrixRanks]:
        sums = members @ points
        centers = (sums.toarray() if sparse.issparse(sums) else sums) / n_cells[:, None]
        to_centers = np.empty((len(codes), len(n_cells)))

        def measure(own: NDArray[np.intp]) -> None:
            to_centers[own] = distances(points[own], centers)

        # rows of sparse points become dense in a block
        for_row_blocks(measure, waypoints, max(len(n_cells), points.shape[1]))
        return average_ranks(to_centers[waypoints].ravel()), _MatrixRanks.of(_pair_distances(centers), len(n_cells))

    cells_x, labels_x = ranks(x)
    found = {}
    for name, z in embeddings.items():
        cells_z, labels_z = ranks(z)
        found[name] = {
            "centroid_distance_correlation": _correlation(cells_x, cells_z),
            "label_distance_correlation": labels_x.correlation(labels_z),
        }
    return found


def _graph_measures(
    x: Points, embeddings: Mapping[str, Floats], codes: NDArray[np.intp] | None, wanted: Collection[str]
) -> dict[str, dict[str, float]]:
    """Return the measures that are taken from neighbor graphs."""
    k = min(N_RADIUS, x.shape[0] - 1)
    found: dict[str, dict[str, float]] = {name: {} for name in embeddings}
    if not {"density_preservation", "spectral_distance_correlation"}.isdisjoint(wanted):
        neighbors_x = exact_neighbors(x, k)
    if "spectral_distance_correlation" in wanted:
        n_components = min(N_SPECTRAL, min(x.shape) - 2)
        layout = spectral_layout(fuzzy_graph(neighbors_x.first(N_GRAPH)), n_components)
        ranks_x = average_ranks(_pair_distances(layout))
        for name, z in embeddings.items():
            found[name]["spectral_distance_correlation"] = _correlation(ranks_x, average_ranks(_pair_distances(z)))
    if "density_preservation" in wanted:
        radii_x = local_radii(neighbors_x)
    for name, z in embeddings.items():
        neighbors_z = exact_neighbors(z, k)
        if "density_preservation" in wanted:
            found[name]["density_preservation"] = _correlation(radii_x, local_radii(neighbors_z))
        if codes is not None and not set(CLUSTERS).isdisjoint(wanted):
            found[name] |= cluster_agreement(fuzzy_graph(neighbors_z.first(N_GRAPH)), codes)
    return found
