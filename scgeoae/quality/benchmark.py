"""The measures of OpenProblems' task "dimensionality reduction for visualization" (version 0.2)."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.utils import check_random_state

from .._runtime import one_blas_thread
from .clusters import cluster_agreement
from .coranking import coranking_measures
from .distances import average_ranks, correlation, distances, for_row_blocks, squared_norms
from .fuzzy_graph import exact_neighbors, fuzzy_graph, local_radii
from .measures import OPENPROBLEMS, Estimate, Quality
from .points import checked_labels, checked_points, count_equal, in_double_precision
from .spectral import MAX_ITERATIVE, spectral_layout

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import ArrayLike, NDArray

    from .distances import Points

    Floats = NDArray[np.float64]

# Largest number of cells between which all distances are measured.
N_WAYPOINTS = 10_000
# Neighbors without the cell itself, which OpenProblems counts as one of 30 and 15.
N_RADIUS, N_GRAPH = 29, 14
# Columns of the spectral layout, at most, and the largest number of cells for which more than `MAX_ITERATIVE` columns
# are computed. The time grows as n³: 4,000 cells take 11 s on one core.
N_SPECTRAL, MAX_CELLS_SPECTRAL = 1000, 6000
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
OF_NEIGHBORS = (*CORANKING, "density_preservation", *CLUSTERS)
# Share of the cells from which on it is said that they are equal to others.
EQUAL_CELLS = 0.01
OF_WAYPOINTS = ("waypoint_distance_correlation", "centroid_distance_correlation", *CORANKING)


def openproblems(
    x: ArrayLike | sparse.sparray | sparse.spmatrix,
    embeddings: Mapping[str, ArrayLike],
    *,
    labels: ArrayLike | None = None,
    measures: Collection[str] = OPENPROBLEMS,
    random_state: int | np.random.RandomState | None = 0,
) -> dict[str, Quality]:
    r"""Measure embeddings as OpenProblems does in its task "dimensionality reduction for visualization" (v0.2).

    ================================= ============================================================
    measure                           what it is
    ================================= ============================================================
    ``waypoint_distance_correlation`` Spearman correlation of all entries of the matrices of
                                      distances between waypoints, diagonal included
    ``centroid_distance_correlation`` the same for the distances from waypoints to the centroids
                                      of the labels, which are the means of their cells
    ``label_distance_correlation``    the same for the distances between the centroids
    ``continuity_at_k30``,            ``scgeoae.quality.coranking.coranking_measures`` of the
    ``trustworthiness_at_k30``,       waypoints
    ``qnx_at_k30``, ``lcmc_at_k30``,
    ``qnx_auc``, ``qlocal``,
    ``qglobal``
    ``density_preservation``          Pearson correlation of the logarithms of the local radii in
                                      the data and on the embedding
                                      (``scgeoae.quality.fuzzy_graph.local_radii``, 30 neighbors)
    ``normalized_mutual_information`` agreement of Leiden clusters on the embedding with the
    ``adjusted_rand_index``           labels, at the best of 20 resolutions
                                      (``scgeoae.quality.clusters.cluster_agreement``, 15 neighbors)
    ``spectral_distance_correlation`` Spearman correlation of the distances between all cells with
                                      those in a spectral layout of the data
                                      (``scgeoae.quality.spectral.spectral_layout``, 15 neighbors)
    ================================= ============================================================

    1 is best for all of them. The waypoints are all cells, or a random 10,000 of more; their standard error is then
    NaN, because OpenProblems has none. All other measures use all cells. On one core, an embedding of 10,000 cells
    with 50 columns takes about 90 s and 2 GB, half of the time for the clusters. With 68,000 cells, the clusters take
    some 15 minutes, and all others together about 70 s; leave the clusters out with `measures` if this is too long.

    The definitions are those of OpenProblems, so the numbers can be compared with its tables, with these differences:

    - All neighbors are exact, whereas umap-learn searches approximately from 4,096 cells on.
    - With 10,000 cells or more, `centroid_distance_correlation` includes only the waypoints.
    - OpenProblems sets the first entries on the diagonal of the matrix of distances to centroids to 0, in the data
      only. That matrix is not square and these entries are not 0, so they stay here.
    - Neighbors at equal distances are ranked in a random order, not in the order of the file, which often follows the
      clusters.
    - umap-learn drops the weakest edges (below 1/700 of the strongest) before it measures the radii of the data.
    - The spectral layout is computed to full precision, and is the layout of the whole graph even if it is in pieces.

    The spectral layout has min(1000, n − 2, D − 2) columns. It is computed for at most 10,000 cells, or 6,000 if it has
    more than 100 columns, because the time grows as n³ then: 4,000 cells take 11 s on one core. Where the number of
    columns is nearly the number of cells, the columns are almost a complete basis, and all distances in the layout are
    nearly equal. The measure is then close to noise: on two data sets of about 1,000 cells, the distances in the data
    themselves have a correlation of 0.2 and −0.002 with it.

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
    - ``notes`` : by name of the measure, why it is NaN, or what its value does not say, for example because cells are
      equal to others

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
    checked_x, checked, n = checked_points(x, embeddings)
    codes = None if labels is None else checked_labels(labels, n)
    # In a random order the first cells are the waypoints; and neighbors at equal distances do not come in the order of
    # the file, which often follows the clusters.
    order = check_random_state(random_state).permutation(n)
    points_x = in_double_precision(checked_x[order])
    points = {name: in_double_precision(z[order]) for name, z in checked.items()}
    codes = None if codes is None else codes[order]
    undefined = _undefined(points_x.shape, codes)
    wanted = set(measures) - undefined.keys()
    waypoints_x, waypoints = points_x[:N_WAYPOINTS], {name: z[:N_WAYPOINTS] for name, z in points.items()}
    found: dict[str, dict[str, float]] = {name: {} for name in points}

    def add(values: Mapping[str, Mapping[str, float]]) -> None:
        for name, of_name in values.items():
            found[name] |= of_name

    with one_blas_thread():
        if "waypoint_distance_correlation" in wanted:
            add(_waypoint_correlations(waypoints_x, waypoints))
        if wanted & set(CORANKING):
            # where there are too few cells for 30 neighbors, these measures are not defined, but the others are
            add(coranking_measures(waypoints_x, waypoints, k=min(K, waypoints_x.shape[0] - 2)))
        if codes is not None and wanted & {"centroid_distance_correlation", "label_distance_correlation"}:
            add(_centroid_correlations(points_x, points, codes))
        if wanted & {"density_preservation", *CLUSTERS, "spectral_distance_correlation"}:
            add(_graph_measures(points_x, points, codes, wanted, order))
    doubtful = _doubtful(points_x, n, codes, "the data")
    return {
        name: _quality(values, measures, n, undefined, _doubtful(points[name], n, codes, "the embedding") | doubtful)
        for name, values in found.items()
    }


def _quality(
    values: Mapping[str, float],
    measures: Collection[str],
    n: int,
    undefined: Mapping[str, str],
    doubtful: Mapping[str, str],
) -> Quality:
    scores, notes = {}, {}
    for measure in (name for name in OPENPROBLEMS if name in measures):
        value = values[measure] if measure not in undefined else np.nan
        n_cells = min(n, N_WAYPOINTS) if measure in OF_WAYPOINTS else n
        if np.isnan(value):
            scores[measure] = Estimate(np.nan, np.nan, 0)
            why = "all values that it would correlate are equal"
            if measure == "qglobal":
                why = "no neighborhood is larger than the best one"
            notes[measure] = undefined.get(measure, why)
        else:
            scores[measure] = Estimate(float(value), 0.0 if n_cells == n else np.nan, n_cells)
            if measure in doubtful:
                notes[measure] = doubtful[measure]
    return Quality(scores, notes)


def _doubtful(points: Points, n: int, codes: NDArray[np.intp] | None, where: str) -> dict[str, str]:
    """Return the measures whose values tell little for these points, by name, and why."""
    notes: dict[str, str] = {}
    if codes is not None and codes.max() == 1:
        notes["label_distance_correlation"] = "with two labels it is 1 for every embedding"
    n_equal = count_equal(points)
    if n_equal >= EQUAL_CELLS * n:
        why = f"{n_equal:,} of {n:,} cells are equal to others in {where}, so the order of their neighbors is random"
        notes |= dict.fromkeys(OF_NEIGHBORS, why)
    if n < 2 * K:
        notes |= dict.fromkeys(K30, f"{K} neighbors are more than half of the {n} cells")
    return notes


def _undefined(shape: tuple[int, int], codes: NDArray[np.intp] | None) -> dict[str, str]:
    """Return the measures that are not defined for these data, by name, and why."""
    n, n_features = shape
    notes: dict[str, str] = {}
    if codes is None or codes.max() == 0:
        why = "labels are needed" if codes is None else "at least two labels are needed, found one"
        notes |= dict.fromkeys(LABELS, why)
    elif not (find_spec("leidenalg") and find_spec("igraph")):
        notes |= dict.fromkeys(CLUSTERS, "Leiden clusters are needed; pip install leidenalg igraph")
    if n < MIN_CELLS_K30:
        why = f"at least {MIN_CELLS_K30} cells are needed, found {n}"
        notes |= dict.fromkeys([*K30, "density_preservation"], why)
    if n_features < 3:
        notes["spectral_distance_correlation"] = f"at least 3 features are needed, found {n_features}"
    n_columns = _n_spectral(shape)
    most = N_WAYPOINTS if n_columns <= MAX_ITERATIVE else MAX_CELLS_SPECTRAL
    if n > most:
        why = f"with {n_columns:,} columns it is computed for at most {most:,} cells, found {n:,}"
        notes["spectral_distance_correlation"] = why
    return notes


def _n_spectral(shape: tuple[int, int]) -> int:
    """Return the number of columns of the spectral layout."""
    return min(N_SPECTRAL, min(shape) - 2)


def _correlation(a: Floats, b: Floats) -> float:
    """Return the Pearson correlation, NaN if one is constant up to rounding."""
    if any(np.ptp(values) <= ROUNDING * np.abs(values).max() for values in (a, b)):
        return float("nan")
    return correlation(a, b)


class _MatrixRanks(NamedTuple):
    """Average ranks of all entries of a symmetric (n, n) matrix of distances, minus their mean."""

    pairs: Floats
    """(n (n - 1) / 2,) of the entries above the diagonal, row by row"""
    diagonal: float
    """of each entry on the diagonal"""
    n: int

    @staticmethod
    def of(points: Points) -> _MatrixRanks:
        """Rank the entries of the matrix of distances between n points."""
        n, ranks = points.shape[0], _pair_distances(points)
        is_zero = ranks == 0
        # the distances are not kept: 10,000 points have 0.4 GB of them
        average_ranks(ranks, out=ranks)
        # each pair is there twice, and on the diagonal there are n more zeros
        ranks *= 2
        ranks += n + 0.5
        zero = (n + 2 * np.count_nonzero(is_zero) - 1) / 2
        ranks[is_zero] = zero
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


def _pair_ranks(points: Points) -> Floats:
    d = _pair_distances(points)
    return average_ranks(d, out=d)


def _waypoint_correlations(x: Points, embeddings: Mapping[str, Floats]) -> dict[str, dict[str, float]]:
    ranks = _MatrixRanks.of(x)
    return {
        name: {"waypoint_distance_correlation": ranks.correlation(_MatrixRanks.of(z))} for name, z in embeddings.items()
    }


def _centroid_correlations(
    x: Points, embeddings: Mapping[str, Floats], codes: NDArray[np.intp]
) -> dict[str, dict[str, float]]:
    n_cells, m = np.bincount(codes), min(len(codes), N_WAYPOINTS)
    members = sparse.csr_array((np.ones(len(codes)), (codes, np.arange(len(codes)))))

    def ranks(points: Points) -> tuple[Floats, _MatrixRanks]:
        sums = members @ points
        centers = (sums.toarray() if sparse.issparse(sums) else sums) / n_cells[:, None]
        to_centers = np.empty((m, len(n_cells)))

        def measure(own: NDArray[np.intp]) -> None:
            to_centers[own] = distances(points[own], centers)

        # rows of sparse points become dense in a block
        for_row_blocks(measure, np.arange(m), max(len(n_cells), points.shape[1]))
        return average_ranks(to_centers.ravel()), _MatrixRanks.of(centers)

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
    x: Points,
    embeddings: Mapping[str, Floats],
    codes: NDArray[np.intp] | None,
    wanted: Collection[str],
    order: NDArray[np.intp],
) -> dict[str, dict[str, float]]:
    """Return the measures that are taken from neighbor graphs of cells that came in another order."""
    k, back = min(N_RADIUS, x.shape[0] - 1), np.argsort(order)
    found: dict[str, dict[str, float]] = {name: {} for name in embeddings}
    if not {"density_preservation", "spectral_distance_correlation"}.isdisjoint(wanted):
        neighbors_x = exact_neighbors(x, k)
    if "spectral_distance_correlation" in wanted:
        layout = spectral_layout(fuzzy_graph(neighbors_x.first(N_GRAPH)), _n_spectral(x.shape))
        ranks_x = _pair_ranks(layout)
        for name, z in embeddings.items():
            found[name]["spectral_distance_correlation"] = _correlation(ranks_x, _pair_ranks(z))
    if "density_preservation" in wanted:
        radii_x = local_radii(neighbors_x)
    for name, z in embeddings.items():
        neighbors_z = exact_neighbors(z, k)
        if "density_preservation" in wanted:
            found[name]["density_preservation"] = _correlation(radii_x, local_radii(neighbors_z))
        if codes is not None and not set(CLUSTERS).isdisjoint(wanted):
            # the clusters depend a little on the order of the cells, so they are put back
            graph = fuzzy_graph(neighbors_z.first(N_GRAPH))[back][:, back]
            graph.sort_indices()
            found[name] |= cluster_agreement(graph, codes[back])
    return found
