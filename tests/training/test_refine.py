from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from scipy.spatial import procrustes
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr
from sklearn.neighbors import NearestNeighbors

from scgeoae.geometry import chord_ratio, distortion
from scgeoae.nn import Autoencoder
from scgeoae.training import Settings, fit
from scgeoae.training.neighbors import Neighbors, nearest_neighbors
from scgeoae.training.positions import Jumps, Positions
from scgeoae.training.refine import FEW, among_nearest, share_kept

QUICK = {"hidden": (32,), "batch_size": 64, "n_steps": 200}


def fitted_to(x, **kwargs):
    return fit(np.asarray(x, dtype=np.float32), Settings(**(QUICK | kwargs)))


def mapped(x, **kwargs):
    return fitted_to(x, **kwargs).embedding


def groups(sizes, d=10, apart=6.0, seed=0):
    """Return groups whose spread is 0.7, and which each cell is of."""
    rng = np.random.default_rng(seed)
    kind = np.repeat(np.arange(len(sizes)), sizes)
    centers = apart * rng.normal(size=(len(sizes), d)) / np.sqrt(2 * d)
    return (centers[kind] + rng.normal(size=(len(kind), d)) / np.sqrt(2 * d)).astype(np.float32), kind


def nearest(x, k):
    return NearestNeighbors(n_neighbors=k).fit(x).kneighbors(return_distance=False)


def recall(x, z, k=10):
    return np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(nearest(x, k), nearest(z, k), strict=True)])


def purity(z, kind, k):
    return np.mean(kind[nearest(z, k)] == kind[:, None])


def check_extent(z):
    assert np.isfinite(z).all()
    # no cell flies off: further from the middle than four times the root of the mean square
    assert np.linalg.norm(z - z.mean(0), axis=1).max() < 4 * np.sqrt(z.var(0).sum())


def agreement(a, b):
    return np.corrcoef(*(positions.ravel() for positions in procrustes(a, b)[:2]))[0, 1]


@pytest.fixture(scope="module")
def model(reduced):
    x = reduced.obsm["X_pca"].astype(np.float32)[:350]
    return x, fitted_to(x)


@pytest.fixture(scope="module")
def cells(model):
    x, fitted = model
    return x, fitted.embedding


def test_the_same_seed_gives_the_same_bits_and_another_another_map(cells):
    x, z = cells
    assert mapped(x).tobytes() == z.tobytes()
    other = mapped(x, seed=1)
    assert np.abs(other - z).max() > 1e-3 * z.std()
    # 0.995
    assert agreement(other, z) > 0.98


@pytest.mark.parametrize(
    "change", ["rotated", "permuted", *(pytest.param(f"times {f}", marks=pytest.mark.slow) for f in ("1e3", "1e-3"))]
)
def test_what_does_not_matter(cells, change):
    x, z = cells
    rng = np.random.default_rng(0)
    order, unit = np.arange(len(x)), 1.0
    if change == "rotated":
        found = mapped(x @ np.linalg.qr(rng.normal(size=(50, 50)))[0])
    elif change == "permuted":
        order = rng.permutation(len(x))
        found = mapped(x[order])
    else:
        unit = float(change.split()[1])
        found = mapped(unit * x)
    # all 700 cells: rotated 0.997, permuted 0.994, scaled 0.999; another seed 0.996
    assert agreement(found, z[order]) > 0.98
    # the map has the unit of the representation
    assert found.std() / z.std() == pytest.approx(unit, rel=0.03)


@pytest.mark.slow
def test_positions_move_with_any_number_of_threads_to_the_same_bits(cells, monkeypatch):
    from scgeoae.training import pairs

    x, z = cells
    monkeypatch.setattr(pairs, "BLOCK", 50)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert mapped(x).tobytes() == z.tobytes()


def test_more_weight_of_the_divergence_keeps_more_neighbors_and_fewer_distances(cells):
    x, z = cells

    def stress(z):
        true, length = pdist(x), pdist(z)
        scaled = length * (length * true).sum() / np.square(length).sum()
        return np.sqrt(np.square(scaled - true).sum() / np.square(true).sum())

    none, much = mapped(x, tsne_weight=0), mapped(x, tsne_weight=5)
    # all 700 cells: 0.29, 0.43, 0.44 of the ten nearest, and stress of 0.35, 0.36, 0.39
    assert recall(x, z) > 1.2 * recall(x, none)
    assert recall(x, much) > 0.98 * recall(x, z)
    assert stress(none) < stress(z) * 1.01
    assert stress(z) < 0.98 * stress(much)


def test_the_unit_is_that_of_chords(model):
    _, fitted = model
    found = chord_ratio(torch.from_numpy(fitted.embedding), fitted.model.decode)
    assert found.median.item() == pytest.approx(1, abs=1e-3)
    decoded = fitted.model.decode(torch.from_numpy(fitted.embedding)).numpy()
    assert np.median(pdist(fitted.embedding) / pdist(decoded)) == pytest.approx(1, abs=0.02)


def spacing(z, cells, k=10):
    return np.median(NearestNeighbors(n_neighbors=k + 1).fit(z).kneighbors(z[cells])[0][:, k])


@pytest.fixture(scope="module")
def dense_and_sparse():
    """Two groups of 150 cells, one of which is five times as wide, and maps of both by `equal_room`."""
    rng = np.random.default_rng(0)
    is_sparse = np.arange(300) >= 150
    x = rng.normal(size=(300, 10)) * np.where(is_sparse, 1, 0.2)[:, None]
    x[:, 0] += 8 * is_sparse
    x = x.astype(np.float32)
    return x, is_sparse, {share: fitted_to(x, equal_room=share) for share in (0, 1)}


def test_with_equal_room_a_dense_group_is_as_large_as_a_sparse_one(dense_and_sparse):
    x, is_sparse, fits = dense_and_sparse
    ratio = {share: spacing(f.embedding, is_sparse) / spacing(f.embedding, ~is_sparse) for share, f in fits.items()}
    # 5 in the data, 1.5 and 1.04 on the maps
    assert ratio[0] > 1.3
    assert ratio[1] == pytest.approx(1, abs=0.15)
    # circles stay circles, and the scale says how much more room the dense group has
    side = {share: np.sqrt(np.linalg.det(f.metric)) ** 0.5 for share, f in fits.items()}
    scale = {share: np.median(s[is_sparse]) / np.median(s[~is_sparse]) for share, s in side.items()}
    assert scale[0] == pytest.approx(1, abs=0.05)
    assert scale[1] > 2
    for fitted in fits.values():
        assert distortion(torch.from_numpy(fitted.metric)).cn < 0.1
    # 0.40 on both
    assert recall(x, fits[1].embedding) > 0.95 * recall(x, fits[0].embedding)


def test_the_map_of_the_encoder_never_takes_the_place_of_equal_room():
    # a flat sheet, of which it keeps more neighbors
    x = np.random.default_rng(0).uniform(size=(200, 2)) @ np.eye(2, 5)
    of = {"n_steps": 300, "equal_room": 0}
    assert fitted_to(x, **of).displacement is None
    assert fitted_to(x, **(of | {"equal_room": 0.5})).displacement is not None


@pytest.mark.slow
def test_where_areas_are_held_a_step_has_on_average_the_length_of_its_image(model):
    x, _ = model
    areas = fitted_to(x, regularizer="volume")
    assert np.trace(areas.metric.mean(0)) / 2 == pytest.approx(1, rel=1e-3)


def test_fifty_cells():
    x, kind = groups([20, 20, 10])
    z = mapped(x)
    check_extent(z)
    assert purity(z, kind, 9) == 1
    # 0.97
    assert spearmanr(pdist(x), pdist(z)).statistic > 0.93


def test_three_features():
    rng = np.random.default_rng(0)
    true = rng.uniform(size=(200, 2)) * [4, 2]
    z = mapped(np.c_[true, 0.02 * rng.normal(size=200)])
    check_extent(z)
    # 0.994 and 0.88
    assert spearmanr(pdist(true), pdist(z)).statistic > 0.98
    assert recall(true, z) > 0.75
    assert np.median(pdist(z) / pdist(true)) == pytest.approx(1, rel=0.1)


def test_hundreds_of_equal_cells():
    x, _ = groups([100, 100, 100])
    # steps are as long as the cells are apart in the median, where half of them are equal: they need all of them
    z = mapped(np.vstack([np.repeat(x[:1], 300, 0), x]), n_steps=400)
    check_extent(z)
    # they stay together, within a fortieth of the map, and do not keep the others from their neighbors: 0.42
    assert np.ptp(z[:300], 0).max() < 0.1 * np.ptp(z, 0).max()
    assert recall(x[1:], z[301:]) > 0.33
    assert np.linalg.norm(z[300] - z[:300].mean(0)) < 0.1 * np.ptp(z, 0).max()


@pytest.mark.slow
def test_rare_types_beside_one_huge_group():
    x, kind = groups([1800] + [10] * 20, d=20, apart=12)
    z = mapped(x)
    assert np.isfinite(z).all()
    # of a type there are nine others
    rare = np.flatnonzero(kind)
    near = kind[nearest(z, 15)[rare]]
    majority = np.array([np.bincount(row).argmax() for row in near])
    # all of them
    assert np.mean(majority == kind[rare]) > 0.95
    centers = [np.array([cells[kind == i].mean(0) for i in range(21)]) for cells in (x, z)]
    assert spearmanr(*map(pdist, centers)).statistic > 0.4


@pytest.mark.parametrize("apart", [pytest.param(10.0, marks=pytest.mark.slow), 1000.0])
def test_many_groups_that_are_far_apart(apart):
    x, kind = groups([30] * 15, apart=apart)
    z = mapped(x)
    check_extent(z)
    assert purity(z, kind, 29) == 1
    # within each it is as well sorted as elsewhere: 0.66
    own = [recall(x[kind == i], z[kind == i]) for i in range(15)]
    assert np.mean(own) > 0.5
    # and is no point: cells of so small a group have equal affinities, which draws them to 0.09 of their spread
    spread = [np.mean([cells[kind == i].var(0).sum() for i in range(15)]) for cells in (x, z)]
    assert 0.03 < np.sqrt(spread[1] / spread[0]) < 3
    centers = [np.array([cells[kind == i].mean(0) for i in range(15)]) for cells in (x, z)]
    # as far as a plane can hold fifteen places of ten dimensions: 0.66, and 0.66 of the encoder alone
    assert spearmanr(*map(pdist, centers)).statistic > 0.55


def test_a_graph_whose_groups_are_not_linked():
    x, kind = groups([12] * 10, apart=10)
    own = [nearest_neighbors(x[kind == i], 8) for i in range(10)]
    rows = np.full((120, 20), -1, dtype=np.int32)
    lengths = np.full((120, 20), np.inf, dtype=np.float32)
    rows[:, :8] = np.vstack([12 * i + found.indices for i, found in enumerate(own)])
    lengths[:, :8] = np.vstack([found.distances for found in own])
    z = fit(x, Settings(**QUICK), graph=Neighbors(rows, lengths)).embedding
    check_extent(z)
    assert purity(z, kind, 11) > 0.95
    centers = [np.array([cells[kind == i].mean(0) for i in range(10)]) for cells in (x, z)]
    assert spearmanr(*map(pdist, centers)).statistic > 0.6


def test_a_few_cells_a_thousand_spreads_away():
    x, _ = groups([300])
    x[:3] += 1e3 * np.eye(10, dtype=np.float32)[:3]
    z = mapped(x)
    assert np.isfinite(z).all()
    far, share = (np.linalg.norm(z[:3] - z[3:].mean(0), axis=1), x[3:].var(0).sum() ** 0.5 / 1e3)
    # they stay about as far as they are: 864
    assert 500 < far.min() <= far.max() < 2000
    # the others, 0.0007 of that way wide, are no point, and keep their neighbors: 0.39
    assert z[3:].var(0).sum() ** 0.5 / far.mean() > share
    assert recall(x[3:], z[3:]) > 0.3


@pytest.mark.slow
def test_two_batches():
    rng = np.random.default_rng(0)
    x = 0.1 * rng.normal(size=(400, 10))
    place = np.tile(rng.uniform(size=(200, 2)) * [4, 2], (2, 1))
    x[:, :2] += place
    x[200:, 5] += 3
    batch = np.repeat([0, 1], 200)
    z = mapped(x)
    check_extent(z)
    # they lie beside each other as in the data, which is for others to mend
    assert purity(z, batch, 15) > 0.98
    for i in (0, 1):
        assert spearmanr(pdist(place[batch == i]), pdist(z[batch == i])).statistic > 0.9
    # pair by pair as far apart as they are: 1.16 against 1.00 of the median distance
    apart = [np.median(np.linalg.norm(c[:200] - c[200:], axis=1)) / np.median(pdist(c)) for c in (x, z)]
    assert apart[1] / apart[0] == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("given", [np.asarray, torch.from_numpy])
def test_cells_start_among_the_nearest_of_the_sample(given):
    rng = np.random.default_rng(0)
    true = rng.uniform(size=(600, 2)).astype(np.float32)
    x = np.c_[true, true[:, :1] * true[:, 1:]].astype(np.float32)
    found = np.asarray(among_nearest(given(x), given(x[:400]), given(true[:400])))
    assert found.shape == (600, 2)
    # in the middle of the square; a mean of neighbors lies inside of an edge
    inner = (np.abs(true - 0.5) < 0.4).all(1)
    assert np.abs(found - true)[inner].max() < 0.06
    # between two cells, and of one the place of this one
    ends, places = np.float32([[0.0], [1.0]]), np.float32([[2.0], [4.0]])
    both = among_nearest(given(np.float32([[0.5]])), given(ends), given(places))
    assert both.item() == pytest.approx(3)
    one = among_nearest(given(np.float32([[0.5]])), given(ends[:1]), given(places[:1]))
    assert one.item() == pytest.approx(2)


def test_a_stage_that_diverges_says_what_to_lower(monkeypatch):
    monkeypatch.setattr("scgeoae.training.refine.FEW", FEW._replace(n_steps=3, rate=float("inf")))
    with pytest.raises(RuntimeError, match=r"second stage diverged within 3 steps\. Lower `tsne_weight`"):
        mapped(groups([40, 40])[0], n_steps=20)


def test_a_sample_moves_first(cells, monkeypatch):
    x, z = cells
    # half of them; among very few, one that differs from all others is pushed far out
    monkeypatch.setattr("scgeoae.training.refine.N_COARSE", 175)
    coarse = mapped(x)
    check_extent(coarse)
    # 0.98 of the neighbors that all at once keep
    assert recall(x, coarse) > 0.9 * recall(x, z)
    assert agreement(coarse, z) > 0.95


@pytest.fixture
def as_on_a_device(monkeypatch):
    """Refine in PyTorch alone, as on CUDA."""
    for module in ("fit", "neighbors", "positions", "refine"):
        monkeypatch.setitem(sys.modules[f"scgeoae.training.{module}"].__dict__, "native", lambda x: x)


def test_pytorch_alone_gives_the_same_map(cells, as_on_a_device):
    x, z = cells
    found = mapped(x)
    assert found.tobytes() == mapped(x).tobytes()
    # 0.99999, another seed 0.995
    assert np.corrcoef(found.ravel(), z.ravel())[0, 1] > 0.999
    assert recall(x, found) == pytest.approx(recall(x, z), abs=0.01)


def test_pytorch_alone_moves_a_sample_first(cells, as_on_a_device, monkeypatch):
    x, z = cells
    monkeypatch.setattr("scgeoae.training.refine.N_COARSE", 175)
    # the neighbors in lists, too
    monkeypatch.setattr("scgeoae.training.neighbors.MAX_EXACT", 100)
    found = mapped(x)
    check_extent(found)
    assert recall(x, found) > 0.9 * recall(x, z)
    assert agreement(found, z) > 0.95


def test_the_share_that_is_kept_is_the_same_in_pytorch(cells, monkeypatch):
    x, z = cells
    near = nearest_neighbors(x, 15)
    expected = share_kept(z, near)
    monkeypatch.setattr("scgeoae.training.refine.native", lambda x: x)
    tensors = Neighbors(*map(torch.from_numpy, near))
    assert share_kept(torch.from_numpy(z), tensors) == pytest.approx(expected, abs=1e-3)
    assert expected == pytest.approx(recall(x, z), abs=1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("n_coarse", [10_000, 175])
def test_cuda_gives_the_same_map(cells, monkeypatch, n_coarse):
    x, _ = cells
    monkeypatch.setattr("scgeoae.training.refine.N_COARSE", n_coarse)
    # noise is drawn on the device, and differs from that of the CPU
    found = [fit(x, Settings(noise=0.0, **QUICK), device="cuda").embedding for _ in range(2)]
    assert found[0].tobytes() == found[1].tobytes()
    assert np.corrcoef(found[0].ravel(), mapped(x, noise=0.0).ravel())[0, 1] > 0.999


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_the_memory_of_a_million_cells_on_cuda():
    n = 1_000_000
    x = torch.randn(n, 50, device="cuda")
    torch.cuda.reset_peak_memory_stats()
    found = nearest_neighbors(x, 50)
    cells = Positions(
        x[:, :2], x, found, perplexity=25, n_steps=2, rate=0.5, divergence_weight=0.25, chord_weight=1.5,
        jumps=Jumps(3, 1.5), seed=0,
    )  # fmt: skip
    for _ in range(2):
        cells.step(Autoencoder(50, 2).cuda())
    assert cells.values.isfinite().all()
    assert torch.cuda.max_memory_allocated() < 10e9
