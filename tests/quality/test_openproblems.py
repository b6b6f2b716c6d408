"""OpenProblems' measures, against definitions written out, independent implementations, and laws."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.spatial.distance import cdist, pdist
from scipy.stats import ortho_group, pearsonr, rankdata, spearmanr
from sklearn.manifold import trustworthiness
from sklearn.utils import check_random_state

from scgeoae.quality import MEASURES, benchmark, fuzzy_graph, openproblems, spectral
from scgeoae.quality.coranking import coranking_measures
from scgeoae.quality.distances import average_ranks, distances
from scgeoae.quality.fuzzy_graph import exact_neighbors, local_radii
from scgeoae.quality.measures import OPENPROBLEMS
from scgeoae.quality.spectral import spectral_layout

from ..for_each import for_each

CLUSTERS = ("normalized_mutual_information", "adjusted_rand_index")
WITHOUT_CLUSTERS = [name for name in OPENPROBLEMS if name not in CLUSTERS]


def cloud(seed=0, n=300, columns=6):
    rng = np.random.default_rng(seed)
    labels = rng.integers(4, size=n)
    x = rng.normal(size=(n, columns)) + 2 * np.eye(4, columns)[labels]
    return x, x[:, :2] + 0.5 * rng.normal(size=(n, 2)), labels


def tied(seed=0, n=300):
    """Points on a grid, so that many distances are equal, and some points more than once."""
    x, z, labels = cloud(seed, n)
    x, z = np.round(2 * x), np.round(8 * z)
    x[10:14], z[20:26] = x[9], z[19]
    x[40:43], z[40:43] = x[39], z[39]
    return x, z, labels


def values(x, z, labels=None, **kwargs):
    return {name: score.value for name, score in openproblems(x, {"z": z}, labels=labels, **kwargs)["z"].scores.items()}


def radii_by_definition(x, k=30):
    """As umap-learn and densMAP, in loops; k counts the cell itself."""
    n = len(x)
    d = cdist(x, x)
    near = [sorted((j for j in range(n) if j != i), key=lambda j: (d[i, j], j))[: k - 1] for i in range(n)]
    one_way = np.zeros((n, n))
    mean_of_all = np.mean([[0.0, *d[i, near[i]]] for i in range(n)])
    for i in range(n):
        own = d[i, near[i]]
        positive = own[own > 0]
        rho = positive.min() if len(positive) else 0.0
        low, high, sigma = 0.0, np.inf, 1.0
        for _ in range(64):
            total = sum(np.exp(-(e - rho) / sigma) if e > rho else 1.0 for e in own)
            if abs(total - np.log2(k)) < 1e-5:
                break
            if total > np.log2(k):
                high = sigma
                sigma = (low + high) / 2
            else:
                low = sigma
                sigma = 2 * sigma if high == np.inf else (low + high) / 2
        sigma = max(sigma, 1e-3 * (own.sum() / k if rho > 0 else mean_of_all))
        for j in near[i]:
            one_way[i, j] = np.exp(-max(d[i, j] - rho, 0) / sigma)
    graph = one_way + one_way.T - one_way * one_way.T
    return graph, np.log(1e-8 + (graph * d).sum(1) / graph.sum(1))


def coranking_matrix(x, z):
    """Entry (k, l): pairs of rank k + 1 in the data and l + 1 on the map; equally far ones in order of the rows."""
    n = len(x)
    q = np.zeros((n - 1, n - 1), dtype=int)
    dx, dz = cdist(x, x), cdist(z, z)
    for i in range(n):
        others = np.delete(np.arange(n), i)
        ranks = [np.empty(n, dtype=int) for _ in range(2)]
        for d, rank in zip((dx, dz), ranks, strict=True):
            rank[sorted(others, key=lambda j: (d[i, j], j))] = np.arange(n - 1)
        np.add.at(q, (ranks[0][others], ranks[1][others]), 1)
    return q


def coranking_by_definition(x, z, k=30):
    q, n = coranking_matrix(x, z), len(x)
    row, column = np.arange(1, n)[:, None], np.arange(1, n)
    g = n * k * (2 * n - 3 * k - 1) if k < n / 2 else n * (n - k) * (n - k - 1)
    curve = np.array([q[:m, :m].sum() / (m * n) for m in range(1, n)])
    lcmc = curve - np.arange(1, n) / (n - 1)
    best = list(lcmc).index(max(lcmc)) + 1
    return {
        "trustworthiness_at_k30": 1 - 2 / g * ((row - k) * q)[(row > k) & (column <= k)].sum(),
        "continuity_at_k30": 1 - 2 / g * ((column - k) * q)[(row <= k) & (column > k)].sum(),
        "qnx_at_k30": curve[k - 1],
        "lcmc_at_k30": lcmc[k - 1],
        "qnx_auc": curve.mean(),
        "qlocal": curve[:best].mean(),
        "qglobal": curve[best:].mean(),
    }


def layout_distances_by_definition(graph, m):
    degrees = graph.sum(0)
    laplacian = np.eye(len(graph)) - graph / np.sqrt(np.outer(degrees, degrees))
    smallest, vectors = np.linalg.eigh(laplacian)
    assert smallest[1] > 1e-6, "the graph is in one piece"
    return pdist(vectors[:, 1 : m + 1])


def by_definition(x, z, labels):
    # neighbors at equal distances are in a random order
    order = check_random_state(0).permutation(len(x))
    x, z, labels = x[order], z[order], labels[order]
    kinds = np.unique(labels)
    centers = [np.array([points[labels == kind].mean(0) for kind in kinds]) for points in (x, z)]
    graph, _ = radii_by_definition(x, 15)
    layout = layout_distances_by_definition(graph, min(1000, min(x.shape) - 2))
    return {
        "waypoint_distance_correlation": spearmanr(cdist(x, x), cdist(z, z), axis=None).statistic,
        "centroid_distance_correlation": spearmanr(cdist(x, centers[0]), cdist(z, centers[1]), axis=None).statistic,
        "label_distance_correlation": spearmanr(*(cdist(c, c) for c in centers), axis=None).statistic,
        **coranking_by_definition(x, z),
        "density_preservation": pearsonr(radii_by_definition(x)[1], radii_by_definition(z)[1]).statistic,
        "spectral_distance_correlation": spearmanr(layout, pdist(z)).statistic,
    }


def test_definitions():
    x, z, labels = tied()
    found, expected = values(x, z, labels, measures=WITHOUT_CLUSTERS), by_definition(x, z, labels)
    assert set(found) == set(expected) == set(WITHOUT_CLUSTERS)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-10), name


@for_each("n", [45, 70])
def test_neighborhoods_of_half_the_cells_and_more(n):
    x, z, _ = tied(1, n)
    found = coranking_measures(x, {"z": z})["z"]
    for name, value in coranking_by_definition(x, z).items():
        assert found[name] == pytest.approx(value, abs=1e-12), name


def test_trustworthiness_of_scikit_learn():
    x, z, _ = cloud(1, columns=20)
    found = values(x, z, measures=["trustworthiness_at_k30", "continuity_at_k30"])
    assert found["trustworthiness_at_k30"] == pytest.approx(trustworthiness(x, z, n_neighbors=30), abs=1e-10)
    assert found["continuity_at_k30"] == pytest.approx(trustworthiness(z, x, n_neighbors=30), abs=1e-10)


def test_example_of_coranking():
    """The data frames of the tests of the R package coRanking; the matrix of their ranks is written out by hand."""
    x = np.array([[2.0, 1], [3, 2], [4, 3], [5, 4]])
    z = np.array([[2.0, 3], [3, 2], [4, 4], [5, 2]])
    assert coranking_matrix(x, z).tolist() == [[2, 2, 0], [1, 1, 2], [1, 1, 2]]
    assert coranking_matrix(x, x).tolist() == coranking_matrix(z, z).tolist() == (4 * np.eye(3)).tolist()
    expected = {
        "qnx_at_k30": 1 / 2,
        "lcmc_at_k30": 1 / 2 - 1 / 3,
        "qnx_auc": 3 / 4,
        "qlocal": 1 / 2,
        "qglobal": 7 / 8,
        "trustworthiness_at_k30": 1 - 2 / 16 * 3,
        "continuity_at_k30": 1 - 2 / 16 * 2,
    }
    assert coranking_measures(x, {"z": z}, k=1)["z"] == pytest.approx(expected, abs=1e-15)
    other_way = coranking_measures(z, {"x": x}, k=1)["x"]
    assert other_way["qnx_auc"] == 3 / 4
    assert other_way["trustworthiness_at_k30"] == 3 / 4


def test_radii():
    for points in tied()[:2]:
        found = local_radii(exact_neighbors(points, 29))
        np.testing.assert_allclose(found, radii_by_definition(points)[1], atol=1e-10)


def test_neighbors_of_duplicates():
    x = np.repeat(np.arange(3.0), 40)[:, None] + [[0.0, 0.0]]
    near = exact_neighbors(x, 29)
    assert (near.distances == 0).all()
    assert not (near.indices == np.arange(120)[:, None]).any()
    assert np.isfinite(local_radii(near)).all()


@pytest.mark.slow
def test_umap_learn_and_scanpy():
    import scanpy as sc
    from anndata import AnnData
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that Tensorflow is not there
        from umap.umap_ import fuzzy_simplicial_set

    x, z, labels = cloud(n=500)
    near = exact_neighbors(x, 29)
    cells = np.arange(500)[:, None]
    indices, distances = np.hstack([cells, near.indices]), np.hstack([0.0 * cells, near.distances])
    graph, _, _, lengths = fuzzy_simplicial_set(
        x, 30, None, "euclidean", knn_indices=indices, knn_dists=distances, return_dists=True
    )
    graph = graph.tocoo()
    length = np.array([lengths[i, j] for i, j in zip(graph.row, graph.col, strict=True)])
    # as umap-learn's simplicial_set_embedding sums them for densMAP
    total, weight = np.zeros(500), np.zeros(500)
    for end in (graph.row, graph.col):
        np.add.at(total, end, graph.data * length)
        np.add.at(weight, end, graph.data)
    np.testing.assert_allclose(local_radii(near), np.log(1e-8 + total / weight), atol=2e-5)

    adata = AnnData(np.zeros((500, 1), dtype=np.float32), obsm={"X_emb": z})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc.pp.neighbors(adata, use_rep="X_emb")
        ours = fuzzy_graph.fuzzy_graph(exact_neighbors(z, 14))
        assert abs(ours - adata.obsp["connectivities"]).max() < 1e-5
        best = (-1.0, -1.0)
        for i in range(1, 21):
            sc.tl.leiden(adata, resolution=i / 10, flavor="leidenalg")
            nmi = normalized_mutual_info_score(labels, adata.obs["leiden"])
            if nmi > best[0]:
                best = (nmi, adjusted_rand_score(labels, adata.obs["leiden"]))
    assert tuple(values(x, z, labels, measures=CLUSTERS).values()) == pytest.approx(best, abs=1e-12)


@pytest.mark.slow
def test_spectral_layout_of_umap_learn():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that Tensorflow is not there
        from umap.spectral import spectral_layout as layout_of_umap

    x, _, _ = cloud(n=400, columns=12)
    graph = fuzzy_graph.fuzzy_graph(exact_neighbors(x, 14))
    expected = layout_of_umap(x, graph, 10, np.random.RandomState(0), tol=1e-10)
    np.testing.assert_allclose(pdist(spectral_layout(graph, 10)), pdist(expected), atol=1e-6)


@for_each("pieces", [1, 3])
def test_spectral_layout_of_many_cells(pieces, monkeypatch):
    x, _, _ = cloud(n=90, columns=5)
    x += 100 * (np.arange(90) % pieces)[:, None]
    graph = fuzzy_graph.fuzzy_graph(exact_neighbors(x, 14))
    dense = spectral_layout(graph, 6)
    monkeypatch.setattr(spectral, "MAX_DENSE", 50)
    np.testing.assert_allclose(pdist(spectral_layout(graph, 6)), pdist(dense), atol=1e-10)
    # neither is the trivial coordinate, which tells nothing about the pieces
    assert np.abs(np.sqrt(np.asarray(graph.sum(0)).ravel()) @ dense).max() < 1e-8


seeds = st.integers(0, 2**16)


@settings(max_examples=10, deadline=None)
@given(seeds, st.sampled_from([4, 20]))
def test_perfect_embedding(seed, columns):
    x, _, labels = cloud(seed, 60, columns)
    found = values(x, 3 * x @ ortho_group.rvs(columns, random_state=seed), labels, measures=WITHOUT_CLUSTERS)
    del found["spectral_distance_correlation"]
    assert found.pop("lcmc_at_k30") == pytest.approx(1 - 30 / 59)
    assert found == pytest.approx(dict.fromkeys(found, 1.0), abs=1e-6)


@settings(max_examples=10, deadline=None)
@given(seeds, st.floats(1e-3, 1e3))
def test_laws(seed, scale):
    x, z, labels = cloud(seed, 60)
    rng = np.random.default_rng(seed)
    expected = pytest.approx(values(x, z, labels, measures=WITHOUT_CLUSTERS), abs=1e-6)
    moved = scale * z @ ortho_group.rvs(2, random_state=rng) + [3, -5]
    # the fuzzy graph depends on the scale up to the tolerance of its widths
    assert values(x, moved, labels, measures=WITHOUT_CLUSTERS) == pytest.approx(expected.expected, abs=1e-4)
    order = rng.permutation(60)
    assert values(x[order], z[order], labels[order], measures=WITHOUT_CLUSTERS) == expected
    names = np.array(["d", "a", "c", "b"])[labels]
    assert values(x, z, names, measures=WITHOUT_CLUSTERS) == expected


def test_clusters_that_are_the_labels():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 40)
    z = rng.normal(size=(120, 2)) + 50 * np.eye(3, 2)[labels]
    x = np.hstack([z, z])
    found = values(x, z, labels, measures=CLUSTERS)
    assert found == pytest.approx(dict.fromkeys(CLUSTERS, 1.0))
    shuffled = values(x, z, rng.permutation(labels), measures=CLUSTERS)
    assert shuffled["normalized_mutual_information"] < 0.2


def genes(n=120, n_genes=400):
    return sparse.random(n, n_genes, 0.05, "csr", random_state=np.random.default_rng(0))


def test_sparse_data_stay_sparse(monkeypatch):
    x = genes()
    _, z, labels = cloud(n=120)
    expected = values(x.toarray(), z, labels)
    toarray = sparse.csr_array.toarray

    def toarray_of_some(self, *args, **kwargs):
        assert self.shape != x.shape, "the whole matrix is made dense"
        return toarray(self, *args, **kwargs)

    for kind in (sparse.csr_array, sparse.csr_matrix):
        monkeypatch.setattr(kind, "toarray", toarray_of_some)
    monkeypatch.setattr("scgeoae.quality.distances.BLOCK", 120 * 50)
    for form in (x, x.tocsc(), sparse.csr_array(x)):
        assert values(form, z, labels) == pytest.approx(expected, abs=1e-10)


def test_number_of_threads(monkeypatch):
    x, z, labels = cloud(n=150, columns=20)
    monkeypatch.setattr("scgeoae.quality.distances.BLOCK", 150 * 7)
    found = []
    for n_threads in (1, 2, 5):
        monkeypatch.setattr(torch, "get_num_threads", lambda n_threads=n_threads: n_threads)
        found.append(values(x, z, labels))
    assert found[0] == found[1] == found[2]


def test_more_cells_than_waypoints(monkeypatch):
    x, z, labels = cloud(n=200)
    whole = values(x, z, labels)
    monkeypatch.setattr(benchmark, "N_WAYPOINTS", 100)
    found = openproblems(x, {"z": z}, labels=labels)["z"]
    some = check_random_state(0).permutation(200)[:100]
    few = values(x[some], z[some], measures=["waypoint_distance_correlation", "qnx_auc"])
    for name, score in found.scores.items():
        if name == "spectral_distance_correlation":
            assert np.isnan(score.value)
            assert found.notes == {name: "with 4 columns it is computed for at most 100 cells, found 200"}
        elif name in benchmark.OF_WAYPOINTS:
            assert score.n_cells == 100
            assert np.isnan(score.error)
        else:
            assert (score.value, score.error, score.n_cells) == (pytest.approx(whole[name]), 0, 200)
    assert found.scores["waypoint_distance_correlation"].value == pytest.approx(few["waypoint_distance_correlation"])
    centers = [np.array([points[labels == kind].mean(0) for kind in range(4)]) for points in (x, z)]
    expected = spearmanr(cdist(x[some], centers[0]), cdist(z[some], centers[1]), axis=None).statistic
    assert found.scores["centroid_distance_correlation"].value == pytest.approx(expected, abs=1e-10)


def missing(x, z, labels=None, **kwargs):
    """Return why measures are NaN, all of which have a reason."""
    found = openproblems(x, {"z": z}, labels=labels, **kwargs)["z"]
    nan = {name for name, score in found.scores.items() if np.isnan(score.value)}
    assert all(found.scores[name].n_cells == 0 for name in nan)
    assert nan <= set(found.notes)
    return {name: found.notes[name] for name in nan}


def test_not_defined(monkeypatch):
    x, z, labels = cloud(n=60)
    assert missing(x, z, labels) == {}
    assert missing(x, z) == dict.fromkeys(benchmark.LABELS, "labels are needed")
    assert missing(x, z, np.ones(60)) == dict.fromkeys(benchmark.LABELS, "at least two labels are needed, found one")
    assert missing(z, z, labels) == {"spectral_distance_correlation": "at least 3 features are needed, found 2"}
    few = missing(x[:31], z[:31], labels[:31])
    assert few == dict.fromkeys([*benchmark.K30, "density_preservation"], "at least 32 cells are needed, found 31")
    assert missing(x[:32], z[:32], labels[:32]) == {}
    with_half_the_cells = openproblems(x[:40], {"z": z[:40]}, measures=benchmark.K30)["z"]
    assert with_half_the_cells.notes == dict.fromkeys(benchmark.K30, "30 neighbors are more than half of the 40 cells")
    # a map of two points is the same at all cells of a half
    halves = np.repeat([[0.0, 0.0], [1.0, 1.0]], 30, axis=0)
    assert missing(x, halves, np.arange(60) % 2, measures=["density_preservation"]) == {
        "density_preservation": "all values that it would correlate are equal"
    }
    monkeypatch.setattr(benchmark, "MAX_CELLS_SPECTRAL", 59)
    monkeypatch.setattr(benchmark, "MAX_ITERATIVE", 3)
    why = "with 4 columns it is computed for at most 59 cells, found 60"
    assert missing(x, z, labels) == {"spectral_distance_correlation": why}
    monkeypatch.undo()
    monkeypatch.setattr(benchmark, "find_spec", lambda name: None)
    assert missing(x, z, labels) == dict.fromkeys(CLUSTERS, "Leiden clusters are needed; pip install leidenalg igraph")


@for_each("kind", [np.asarray, sparse.csr_array])
def test_duplicates(kind):
    x, z, _ = cloud(n=100)
    measures = ["waypoint_distance_correlation", "qnx_auc"]
    assert openproblems(kind(x), {"z": z}, measures=measures)["z"].notes == {}
    z[90:92] = z[80:82]
    found = openproblems(kind(x), {"z": z}, measures=measures)["z"]
    why = "of 100 cells are equal to others in the {}, so the order of their neighbors is random"
    assert found.notes == {"qnx_auc": f"4 {why.format('embedding')}"}
    x[60:80] = x[40:60]
    found = openproblems(kind(x), {"z": z}, measures=measures)["z"]
    assert found.notes == {"qnx_auc": f"40 {why.format('data')}"}


@for_each("kind", [np.asarray, sparse.csr_array])
def test_equal_cells_are_at_distance_0(kind):
    """Although matrix products round."""
    x = np.random.default_rng(0).normal(size=(60, 30)) + 10
    x[30:] = x[:30]
    x = kind(x)
    assert (distances(x, x)[np.arange(60), np.arange(60) - 30] == 0).all()
    assert np.count_nonzero(distances(x, x)) == 60 * 58


def test_ties_of_whole_numbers():
    """Equal distances of counts stay equal if matrix products compute them."""
    x = np.random.default_rng(0).integers(3, size=(80, 25))
    z = x[:, :2] + np.random.default_rng(1).normal(size=(80, 2))
    expected = spearmanr(cdist(x, x), cdist(z, z), axis=None).statistic
    for points in (x, x.astype(np.float16), sparse.csc_matrix(x)):
        assert values(points, z, measures=["waypoint_distance_correlation"]) == pytest.approx(
            {"waypoint_distance_correlation": expected}, abs=1e-10
        )


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40))
def test_average_ranks(numbers):
    values = np.array(numbers, dtype=float)
    expected = rankdata(values) - 1
    np.testing.assert_array_equal(average_ranks(values), expected)
    np.testing.assert_array_equal(average_ranks(values, out=values), expected)


def test_two_labels():
    x, z, labels = cloud(n=60)
    found = openproblems(x, {"z": z}, labels=labels > 1, measures=["label_distance_correlation"])["z"]
    assert found.scores["label_distance_correlation"].value == pytest.approx(1)
    assert found.notes == {"label_distance_correlation": "with two labels it is 1 for every embedding"}


@for_each(
    "spoil, message",
    [
        (lambda x, z: (x * np.nan, z), "60 of 60 cells have NaN or infinite values in 'x'"),
        (lambda x, z: (sparse.csr_matrix(x * np.nan), z), "60 of 60 cells have NaN or infinite values in 'x'"),
        (lambda x, z: (x, z * 0), "All 60 cells are equal in 'z'"),
        (lambda x, z: (x, z[:50]), "'z' to have 60 rows"),
        (lambda x, z: (x[:20], z[:20]), "at least 21 cells"),
    ],
)
def test_refused(spoil, message):
    x, z, _ = cloud(n=60)
    x, z = spoil(x, z)
    with pytest.raises(ValueError, match=message):
        openproblems(x, {"z": z})


def test_table():
    assert len(OPENPROBLEMS) == 14
    assert {MEASURES[name].better for name in OPENPROBLEMS} == {"higher"}
    x, z, labels = cloud(n=60)
    assert list(values(x, z, labels)) == list(OPENPROBLEMS)
