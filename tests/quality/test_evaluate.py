"""Against definitions written out cell by cell, independent implementations, and laws."""

from __future__ import annotations

import math
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.spatial.distance import cdist, pdist
from scipy.stats import ortho_group, pearsonr, spearmanr
from sklearn.manifold import trustworthiness
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_info, threadpool_limits

import scgeoae as sg
from scgeoae._runtime import one_blas_thread
from scgeoae.quality import MEASURES, evaluate, scale_free_stress, stress
from scgeoae.quality.cell_scores import label_accuracy, sizes
from scgeoae.quality.distances import MAX_COLUMNS_ONE_BY_ONE, diameter
from scgeoae.quality.measures import OPENPROBLEMS

from ..for_each import for_each

N = 64
KS = (10, 20, 30)
MEASURED = [name for name, measure in MEASURES.items() if measure.about != "decoder" and name not in OPENPROBLEMS]


def cloud(seed=0, n=N, columns=6):
    """A curved cloud of three kinds of points, and a poor map of it."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=n)
    x = rng.normal(size=(n, columns)) + 2 * np.eye(3, columns)[labels]
    x[:, 0] += 0.3 * x[:, 1] ** 2
    return x, x[:, :2] + 0.5 * rng.normal(size=(n, 2)), labels


def values(x, z, labels=None, **kwargs):
    return {name: s.value for name, s in evaluate(x, {"z": z}, labels=labels, **kwargs)["z"].scores.items()}


def by_definition(x, z, labels):
    n = len(x)
    dx = [[math.dist(a, b) for b in x] for a in x]
    dz = [[math.dist(a, b) for b in z] for a in z]
    near_x = [sorted((j for j in range(n) if j != i), key=lambda j: dx[i][j]) for i in range(n)]
    near_z = [sorted((j for j in range(n) if j != i), key=lambda j: dz[i][j]) for i in range(n)]

    def shared(k):
        return sum(len(set(near_x[i][:k]) & set(near_z[i][:k])) for i in range(n)) / (k * n)

    def trust(k):
        total = 0
        for i in range(n):
            for j in set(near_z[i][:k]) - set(near_x[i][:k]):
                total += near_x[i].index(j) + 1 - k
        return 1 - 2 / (n * k * (2 * n - 3 * k - 1)) * total

    def continuity(k):
        total = 0
        for i in range(n):
            for j in set(near_x[i][:k]) - set(near_z[i][:k]):
                total += near_z[i].index(j) + 1 - k
        return 1 - 2 / (n * k * (2 * n - 3 * k - 1)) * total

    def r_nx(k):
        return ((n - 1) * shared(k) - k) / (n - 1 - k)

    def kl(sigma):
        p, q = [], []
        for d, f in ((dx, p), (dz, q)):
            largest = max(map(max, d))
            f += [sum(math.exp(-((e / largest) ** 2) / sigma) for e in row) for row in d]
        p, q = [v / sum(p) for v in p], [v / sum(q) for v in q]
        return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))

    pairs = [(dx[i][j], dz[i][j]) for i in range(n) for j in range(i)]
    a, b = np.array(pairs).T

    def centered(d):
        d = np.array(d)
        out = np.empty_like(d)
        for i in range(n):
            for j in range(n):
                out[i, j] = d[i, j] - d[i].mean() - d[:, j].mean() + d.mean()
        return out

    ca, cb = centered(dx), centered(dz)
    score = []
    for i in range(n):
        mean = {}
        for label in set(labels):
            others = [dz[i][j] for j in range(n) if labels[j] == label and j != i]
            mean[label] = sum(others) / len(others)
        own = mean.pop(labels[i])
        score.append((min(mean.values()) - own) / max(min(mean.values()), own))
    predicted = 0
    for i in range(n):
        votes = Counter(labels[j] for j in near_z[i][:15])
        winners = [label for label, count in votes.items() if count == max(votes.values())]
        predicted += (labels[i] in winners) / len(winners)
    scales = np.linspace(0, 5, 2001)
    rough = scales[np.argmin([((a - s * b) ** 2).sum() for s in scales])]
    fine = rough + np.linspace(-0.005, 0.005, 20001)
    return {
        "kNN": sum(map(shared, KS)) / len(KS),
        "Trust": sum(map(trust, KS)) / len(KS),
        "Continuity": sum(map(continuity, KS)) / len(KS),
        "kNN_10": shared(10),
        "AUC_RNX": sum(r_nx(k) / k for k in range(1, n - 1)) / sum(1 / k for k in range(1, n - 1)),
        "KL_0.1": kl(0.1),
        "KL_100": kl(100),
        "Spear": spearmanr(a, b).statistic,
        "Pearson": pearsonr(a, b).statistic,
        "dCor": math.sqrt((ca * cb).mean() / math.sqrt((ca**2).mean() * (cb**2).mean())),
        "Stress": math.sqrt(sum((u - v) ** 2 for u, v in pairs) / sum(v**2 for _, v in pairs)),
        # to the second order in the distance from the best scale, so to more than ten digits
        "Stress_scale_free": math.sqrt(min(((a - s * b) ** 2).sum() for s in fine) / (a**2).sum()),
        "silhouette": sum(score) / n,
        "purity": sum(sum(labels[j] == labels[i] for j in near_z[i][:15]) / 15 for i in range(n)) / n,
        "label_accuracy": predicted / n,
    }


@for_each("columns", [6, MAX_COLUMNS_ONE_BY_ONE + 5])
def test_definitions(columns):
    x, z, labels = cloud(columns=columns)
    found, expected = values(x, z, labels), by_definition(x, z, labels)
    assert list(found) == MEASURED
    for name in MEASURED:
        assert found[name] == pytest.approx(expected[name], abs=1e-10, rel=1e-10), name


def test_stress_of_equal_points_is_not_defined():
    apart, equal = np.array([1.0, 2.0, 3.0]), np.zeros(3)
    assert math.isnan(scale_free_stress(apart, equal))
    assert math.isnan(scale_free_stress(equal, apart))
    assert math.isnan(stress(apart, equal))
    assert stress(equal, apart) == 1


def test_independent_implementations():
    x, z, labels = cloud(1, 500)
    found = values(x, z, labels)
    expected = np.mean([trustworthiness(x, z, n_neighbors=k) for k in range(10, 201, 10)])
    assert found["Trust"] == pytest.approx(expected, abs=1e-10)
    assert found["Spear"] == pytest.approx(spearmanr(pdist(x), pdist(z)).statistic, abs=1e-10)
    assert found["Pearson"] == pytest.approx(pearsonr(pdist(x), pdist(z)).statistic, abs=1e-10)
    assert found["silhouette"] == pytest.approx(silhouette_score(z, labels), abs=1e-10)


def test_silhouette_of_a_lonely_label():
    x, z, labels = cloud()
    labels[5] = 9
    assert values(x, z, labels)["silhouette"] == pytest.approx(silhouette_score(z, labels), abs=1e-10)


def test_rank_correlation_with_equal_distances():
    x, _, _ = cloud()
    z = np.round(x[:, :2])
    assert values(x, z)["Spear"] == pytest.approx(spearmanr(pdist(x), pdist(z)).statistic, abs=1e-10)


@for_each("n, largest", [(21, 10), (40, 10), (41, 20), (400, 190), (401, 200), (1000, 200)])
def test_sizes_of_neighborhoods_stay_below_half(n, largest):
    assert list(sizes(n)) == list(range(10, largest + 1, 10))
    assert largest < n / 2


seeds = st.integers(0, 2**16)


@given(seeds, st.sampled_from([4, MAX_COLUMNS_ONE_BY_ONE + 5]))
def test_perfect_embedding(seed, columns):
    x, _, labels = cloud(seed, columns=columns)
    found = values(x, x, labels)
    for name in MEASURED:
        if MEASURES[name].about == "labels":
            continue
        assert found[name] == pytest.approx(1 if MEASURES[name].better == "higher" else 0, abs=1e-7), name


@given(seeds)
def test_neither_rotation_nor_translation_nor_order_matter(seed):
    x, z, labels = cloud(seed)
    rng = np.random.default_rng(seed)
    moved_x = x @ ortho_group.rvs(6, random_state=seed) + rng.normal(size=6)
    moved_z = z @ ortho_group.rvs(2, random_state=seed) + rng.normal(size=2)
    order = rng.permutation(N)
    found, expected = values(moved_x[order], moved_z[order], labels[order]), values(x, z, labels)
    assert found == pytest.approx(expected, abs=1e-9, rel=1e-7)


@given(seeds, st.floats(1e-3, 1e3))
def test_scale_of_the_embedding_matters_to_stress_alone(seed, scale):
    x, z, labels = cloud(seed)
    found, expected = values(x, scale * z, labels), values(x, z, labels)
    stress = found.pop("Stress"), expected.pop("Stress")
    assert found == pytest.approx(expected, abs=1e-9, rel=1e-7)
    a, b = pdist(x), scale * pdist(z)
    assert stress[0] == pytest.approx(np.sqrt(((a - b) ** 2).sum() / (b**2).sum()), rel=1e-9)


@given(seeds)
def test_measures_stay_within_their_bounds(seed):
    rng = np.random.default_rng(seed)
    x, _, labels = cloud(seed)
    found = values(x, rng.normal(size=(N, 2)) ** 3, labels)
    for name in ("kNN", "kNN_10", "Trust", "Continuity", "dCor", "Stress_scale_free", "purity", "label_accuracy"):
        assert 0 <= found[name] <= 1, name
    for name in ("Spear", "Pearson", "silhouette", "AUC_RNX"):
        assert -1 <= found[name] <= 1, name
    assert min(found["KL_0.1"], found["KL_100"], found["Stress"]) >= 0


def test_by_chance_the_area_is_0():
    rng = np.random.default_rng(0)
    areas = [values(rng.normal(size=(100, 5)), rng.normal(size=(100, 2)))["AUC_RNX"] for _ in range(20)]
    assert abs(np.mean(areas)) < 3 * np.std(areas) / np.sqrt(20)
    assert np.std(areas) < 0.05


def test_several_embeddings_at_once_are_each_by_itself():
    x, z, labels = cloud()
    both = evaluate(x, {"a": z, "b": x[:, 1:3]}, labels=labels)
    assert both["a"] == evaluate(x, {"a": z}, labels=labels)["a"]
    assert both["b"] == evaluate(x, {"b": x[:, 1:3]}, labels=labels)["b"]
    assert all(s.error == 0 and s.n_cells == N for s in both["a"].scores.values())


def test_cells_on_one_point_do_not_keep_the_order_of_the_file():
    """Sorted by cluster, as files often are, neighbors in that order would look well kept."""
    x, _, _ = cloud(n=400)
    x = x[np.argsort(x[:, 0])]
    collapsed = np.zeros((400, 2))
    collapsed[0] = 1
    assert values(x, collapsed)["kNN_10"] < 0.1


def test_arrays_are_not_changed():
    x, z, labels = cloud()
    copies = x.copy(), z.copy(), labels.copy()
    evaluate(x, {"z": z}, labels=labels, local_scores=True)
    for array, copy in zip((x, z, labels), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.fixture(scope="module")
def many():
    x, z, labels = cloud(3, 3000)
    return x, z, labels, evaluate(x, {"z": z}, labels=labels)["z"].scores


@for_each("seed", range(5))
def test_a_sample_is_within_three_errors(many, seed):
    x, z, labels, exact = many
    found = evaluate(x, {"z": z}, labels=labels, n_sample=500, random_state=seed)["z"].scores
    assert list(found) == MEASURED
    for name, estimate in found.items():
        assert estimate.n_cells == 500
        assert 0 < estimate.error < 0.1 * max(abs(exact[name].value), 0.1)
        assert abs(estimate.value - exact[name].value) < 3 * estimate.error, name


def test_stated_errors_are_neither_too_small_nor_too_large(many):
    x, z, labels, exact = many
    runs = [evaluate(x, {"z": z}, labels=labels, n_sample=300, random_state=seed)["z"].scores for seed in range(20)]
    for name in MEASURED:
        deviation = np.sqrt(np.mean([(run[name].value - exact[name].value) ** 2 for run in runs]))
        stated = np.sqrt(np.mean([run[name].error ** 2 for run in runs]))
        assert 0.6 < deviation / stated < 1.6, name


def test_same_seed_same_sample():
    x, z, _ = cloud(n=300)
    first, again, other = (
        evaluate(x, {"z": z}, n_sample=100, random_state=seed)["z"].scores for seed in (1, np.int64(1), 2)
    )
    assert first == again
    assert first["kNN"].value != other["kNN"].value


def test_chunks_do_not_matter(monkeypatch):
    x, z, labels = cloud()
    expected = values(x, z, labels)
    monkeypatch.setattr("scgeoae.quality.distances.BLOCK", 7 * N)
    assert values(x, z, labels) == pytest.approx(expected, abs=1e-13)


@for_each("form", [sparse.csr_matrix, sparse.csr_array, sparse.csc_matrix, sparse.coo_array])
@for_each("columns", [6, MAX_COLUMNS_ONE_BY_ONE + 5])
def test_a_sparse_representation_gives_what_a_dense_one_gives(form, columns):
    x, z, labels = cloud(n=300, columns=columns)
    # but for one column, so that no two distances are equal, which would be ranked by their rounding errors
    x[:, 1:] *= x[:, 1:] > 0.5
    expected = evaluate(x, {"z": z}, labels=labels, n_sample=100)["z"].scores
    found = evaluate(form(x), {"z": z}, labels=labels, n_sample=100)["z"].scores
    for name, estimate in found.items():
        assert tuple(estimate) == pytest.approx(tuple(expected[name]), abs=1e-8), name


def test_sparse_points_of_single_precision_and_with_repeated_entries():
    x, z, _ = cloud()
    x = np.maximum(x, 0).astype(np.float32)
    halves = sparse.csr_array(x)
    halves = sparse.csr_array(
        (np.repeat(halves.data / 2, 2), np.repeat(halves.indices, 2), 2 * halves.indptr), shape=halves.shape
    )
    copies = halves.data.copy(), halves.indices.copy()
    assert values(halves, z) == pytest.approx(values(x, z), abs=1e-8)
    np.testing.assert_array_equal(halves.data, copies[0])
    np.testing.assert_array_equal(halves.indices, copies[1])


def test_sparse_points_never_become_dense_as_a_whole(monkeypatch):
    dense = []
    toarray = sparse.csr_array.toarray

    def counted(self, *args, **kwargs):
        dense.append(self.shape[0])
        return toarray(self, *args, **kwargs)

    monkeypatch.setattr(sparse.csr_array, "toarray", counted)
    monkeypatch.setattr("scgeoae.quality.distances.BLOCK", 7 * 300)
    x, z, _ = cloud(n=300)
    evaluate(sparse.csr_array(np.maximum(x, 0)), {"z": z}, n_sample=100)
    # one block of cells, or the sample
    assert set(dense) <= {*range(1, 8), 100}


@for_each("columns", [6, MAX_COLUMNS_ONE_BY_ONE + 5])
def test_number_of_threads_does_not_matter(monkeypatch, columns):
    x, z, labels = cloud(n=400, columns=columns)
    monkeypatch.setattr("scgeoae.quality.distances.BLOCK", 7 * 400)
    found = []
    for n_threads in (1, 2, 5):
        monkeypatch.setattr(torch, "get_num_threads", lambda n_threads=n_threads: n_threads)
        found.append(evaluate(x, {"z": z}, labels=labels, n_sample=300)["z"].scores)
    assert found[0] == found[1] == found[2]


def test_labels_that_tie():
    # the nearest five of cell 0 are two of label 0, two of label 1 and one of label 2
    labels = np.array([0, 0, 0, 1, 1, 2])
    neighbors = np.array([[1, 2, 3, 4, 5]] * 3)
    np.testing.assert_allclose(label_accuracy(neighbors, np.array([0, 3, 5]), labels), [1 / 2, 1 / 2, 0])


def threads_of_products():
    return {info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"}


@pytest.fixture
def _three_threads():
    before = threads_of_products()
    with threadpool_limits(3, user_api="blas"):
        yield
        assert threads_of_products() == {3}
    assert threads_of_products() == before


@pytest.mark.usefixtures("_three_threads")
def test_threads_of_matrix_products_are_restored():
    x, z, _ = cloud()
    assert threads_of_products() == {3}
    with one_blas_thread(), one_blas_thread():
        assert threads_of_products() == {1}
        values(x, z)
        assert threads_of_products() == {1}
    assert threads_of_products() == {3}
    with pytest.raises(ValueError, match="n_sample"), one_blas_thread():
        evaluate(x, {"z": z}, n_sample=1)
    assert threads_of_products() == {3}


@pytest.mark.usefixtures("_three_threads")
def test_the_last_of_several_threads_restores_those_of_matrix_products():
    both, one_ended, all_ended = Barrier(2, timeout=60), Event(), Event()

    def first():
        with one_blas_thread():
            both.wait()
        one_ended.set()
        # it is alive when the other one restores what it has set
        all_ended.wait(60)

    def second():
        with one_blas_thread():
            both.wait()
            one_ended.wait(60)
            within = threads_of_products()
        found = within, threads_of_products()
        all_ended.set()
        return found

    with ThreadPoolExecutor(2) as pool:
        pool.submit(first)
        assert pool.submit(second).result(60) == ({1}, {3})


@for_each("n_sample", [100, 1000])
def test_local_scores(n_sample):
    x, z, _ = cloud(n=400)
    found = evaluate(x, {"z": z}, n_sample=n_sample, local_scores=True)["z"]
    near = [np.argsort(cdist(p, p), axis=1)[:, 1:] for p in (x, z)]
    ks = range(10, 200, 10)
    for i in (0, 17, 399):
        kept = [len(np.intersect1d(near[0][i, :k], near[1][i, :k])) / k for k in ks]
        assert found.neighborhood_preservation[i] == pytest.approx(np.mean(kept))
    # every cell was measured, whatever `n_sample` says
    for column, name in ((found.neighborhood_preservation, "kNN"), (found.trust, "Trust")):
        assert column.min() >= 0
        assert column.max() <= 1
        assert found.scores[name] == (pytest.approx(column.mean()), 0, 400)
    assert found.scores["Spear"].n_cells == min(n_sample, 400)
    assert found.scores["Trust"].value == pytest.approx(
        np.mean([trustworthiness(x, z, n_neighbors=k) for k in ks]), abs=1e-10
    )
    assert evaluate(x, {"z": z})["z"].trust is None


@given(seeds)
def test_diameter(seed):
    x, _, _ = cloud(seed, 300)
    assert diameter(x, 300) == pytest.approx(pdist(x).max(), abs=1e-12)
    assert pdist(x[:50]).max() <= diameter(x, 50) <= pdist(x).max()


@for_each(
    "arguments, message",
    [
        ({"x": np.ones(N)}, r"'x' to be of shape \(cells, dimensions\), found \(64,\)"),
        ({"z": np.ones((N, 0))}, r"'z' to be of shape \(cells, dimensions\), found \(64, 0\)"),
        ({"z": np.ones((N - 1, 2))}, "'z' to have 64 rows like the representation, found 63"),
        ({"x": np.eye(20)}, "at least 21 cells, twice a neighborhood of 10, found 20"),
        ({"x": np.ones((1, 3))}, "found 1"),
        ({"z": np.where(np.arange(N)[:, None] == 3, np.nan, 1.0)}, "1 of 64 cells have NaN or infinite values in 'z'"),
        ({"x": np.where(np.arange(N)[:, None] == 3, np.inf, 1.0)}, "1 of 64 cells have NaN or infinite values in 'x'"),
        ({"z": np.ones((N, 2))}, "All 64 cells are equal in 'z'"),
        ({"x": sparse.csr_array(np.eye(20))}, "at least 21 cells, twice a neighborhood of 10, found 20"),
        ({"x": sparse.csr_array(np.full((N, 2), np.nan))}, "64 of 64 cells have NaN or infinite values in 'x'"),
        ({"x": sparse.csr_array(np.diag([0, 0, np.inf, *np.ones(N - 3)]))}, "1 of 64 cells have NaN or infinite"),
        ({"x": sparse.csr_array((N, 2))}, "All 64 cells are equal in 'x'"),
        ({"x": sparse.csr_array(np.ones((N, 2)))}, "All 64 cells are equal in 'x'"),
        ({"labels": np.zeros(N - 1)}, r"`labels` to be of shape \(64,\), found \(63,\)"),
        ({"labels": np.zeros(N)}, "`labels` to have at least 2 values, and fewer than the 64 cells, found 1"),
        ({"labels": np.arange(N)}, "found 64"),
        ({"n_sample": 99}, "`n_sample` to be an integer >= 100, found 99"),
        ({"n_sample": 1e4}, "`n_sample` to be an integer >= 100, found 10000.0"),
    ],
)
def test_refused(arguments, message):
    x, z, labels = cloud()
    given_all = {"x": x, "z": z, "labels": labels} | arguments
    x, z = given_all.pop("x"), given_all.pop("z")
    with pytest.raises(ValueError, match=message):
        evaluate(x, {"z": z}, **given_all)


def test_table_of_measures_is_that_of_the_documentation():
    for name in MEASURED:
        assert f"``{name}``" in evaluate.__doc__
        assert f"``{name}``" in sg.tl.evaluate.__doc__
    assert {m.better for m in MEASURES.values()} == {"higher", "lower"}
    assert all(m.meaning for m in MEASURES.values())


def test_real_cells(reference):
    adata = reference("pbmc3k_pca")
    x = adata.obsm["X_pca"]
    found = evaluate(x, {"pca": x[:, :2], "all": x[:, :30]}, labels=adata.obs["louvain"], n_sample=500)
    for name in MEASURED:
        if MEASURES[name].about not in ("neighbors", "distances"):
            continue
        sign = 1 if MEASURES[name].better == "higher" else -1
        assert sign * found["all"].scores[name].value > sign * found["pca"].scores[name].value, name
