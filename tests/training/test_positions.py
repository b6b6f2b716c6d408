from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from scgeoae.training import pairs, positions
from scgeoae.training.affinities import affinities
from scgeoae.training.neighbors import nearest_neighbors
from scgeoae.training.positions import Jumps, Positions, kernel_widths

from ..for_each import for_each


@pytest.fixture(autouse=True, params=["compiled", "torch"])
def sums(request, monkeypatch):
    """Sums over pairs by compiled loops, and in PyTorch as on a device, in several blocks."""
    if request.param == "torch":
        monkeypatch.setattr(positions, "native", lambda x: x)
        monkeypatch.setattr(pairs, "N_PAIRS", 128 * 64)
        monkeypatch.setattr(positions, "TABLE_SIZE", 500)
    return request.param


def surface(a, bend=0.0):
    """A network whose decoder is z ↦ Az + bend · sin(z₁) e, with what `Positions` asks of it."""
    a = torch.tensor(a, dtype=torch.float32)
    last = torch.zeros(len(a))
    last[-1] = bend

    class Decoder:
        def __call__(self, z):
            return z @ a.T + z[:, :1].sin() * last

        def jet(self, z):
            first = a.expand(len(z), *a.shape).clone()
            first[:, :, 0] += z[:, :1].cos() * last
            return SimpleNamespace(values=self(z), first=first)

    return SimpleNamespace(decoder=Decoder())


def data(n=300, d=2, features=6, seed=0):
    rng = np.random.default_rng(seed)
    a = np.linalg.qr(rng.normal(size=(features, d)))[0]
    z = rng.normal(size=(n, d))
    return a, z, (z @ a.T + 0.3 * rng.normal(size=(n, features))).astype(np.float32)


def moving(start, x, *, k=30, perplexity=10, **kwargs):
    options = {"n_steps": 100, "rate": 0.5, "divergence_weight": 0.25, "chord_weight": 1.0, "seed": 0} | kwargs
    options.setdefault("jumps", Jumps(within=6, gain=3))
    near = nearest_neighbors(x, k)
    return Positions(torch.from_numpy(start), torch.from_numpy(x), near, perplexity=perplexity, **options)


def run(cells, model, n_steps=100):
    for _ in range(n_steps):
        cells.step(model)
    return cells.values.numpy()


@for_each("d", [1, 2, 3])
def test_the_gradient_is_that_of_what_is_minimized(d, monkeypatch):
    n = 150
    a, z, x = data(n, d)
    a[:, 0] *= 2
    # all cells are near, and all are landmarks
    monkeypatch.setattr(positions, "N_NEAR", n)
    monkeypatch.setattr(positions, "N_LANDMARKS", n)
    model, start = surface(a, bend=0.7), z.astype(np.float32)
    cells = moving(start, x, divergence_weight=0.3, chord_weight=1.5)
    cells.random = SimpleNamespace(integers=lambda n, size=None: np.arange(n) if size else 0)
    found = []
    cells.adam.step = lambda gradient, _: found.append(np.asarray(gradient).copy())
    cells.step(model)

    p = torch.from_numpy(affinities(nearest_neighbors(x, 30), 10).toarray().astype(np.float64)) / n
    width = 1 / cells.narrowness.double()
    at = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    decoded = at @ torch.tensor(a).T
    decoded = torch.cat([decoded[:, :-1], decoded[:, -1:] + 0.7 * at[:, :1].sin()], dim=1)
    error = (decoded - torch.from_numpy(x)).square().mean()
    square = (at[:, None] - at).square().sum(2)
    w = (1 - torch.eye(n)) / (1 + square / (width[:, None] * width))
    divergence = (torch.xlogy(p, p) - p * (w / w.sum()).clamp(min=1e-300).log()).sum()
    lengths = (square + torch.eye(n)).sqrt() - torch.eye(n)
    chords = torch.cdist(decoded, decoded, compute_mode="donot_use_mm_for_euclid_dist").detach()
    scale = (chords * lengths).sum() / chords.square().sum()
    misfit = (lengths - scale.detach() * chords).square().mean() / square.mean().detach()
    (expected,) = torch.autograd.grad(error + 0.3 * divergence + 1.5 * misfit, at)
    assert cells.chord_scale == pytest.approx(scale.item(), rel=1e-5)
    assert np.linalg.norm(found[0] - n * expected.numpy()) < 1e-4 * np.linalg.norm(n * expected.numpy())


def test_between_two_looks_the_decoder_is_a_plane():
    # what it is asked for once says the same as asking anew, where it is one
    a, z, x = data(100)
    cells = moving(z.astype(np.float32), x, divergence_weight=0, chord_weight=0)
    found = []
    step = cells.adam.step
    cells.adam.step = lambda gradient, length: (
        found.append((np.asarray(cells.values).copy(), np.asarray(gradient).copy())),
        step(gradient, length),
    )
    run(cells, surface(a), 10)
    for values, gradient in found:
        expected = 2 / x.shape[1] * (values @ a.T - x) @ a
        np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4)


def test_with_the_reconstruction_alone_each_cell_goes_to_its_projection():
    a, z, x = data()
    start = (z + np.random.default_rng(1).normal(size=z.shape)).astype(np.float32)
    found = run(moving(start, x, divergence_weight=0, chord_weight=0, n_steps=300), surface(a), 300)
    expected = x @ a
    assert np.abs(start - expected).max() > 1
    # 3e-3 of the spread, which is 1
    assert np.abs(found - expected).max() < 0.01


def test_where_distances_are_true_chords_do_not_move_a_cell():
    a, z, _ = data()
    flat = (z @ a.T).astype(np.float32)
    cells = moving(z.astype(np.float32), flat, divergence_weight=0)
    found = []
    cells.adam.step = lambda gradient, _: found.append(np.asarray(gradient).copy())
    cells.step(surface(a))
    assert cells.chord_scale == pytest.approx(1, rel=1e-6)
    assert np.abs(found[0]).max() < 1e-5
    # and where the map is twice as large, the scale takes it up
    cells = moving(2 * z.astype(np.float32), flat, divergence_weight=0)
    cells.decode(surface(a / 2))
    assert cells.chord_scale == pytest.approx(2, rel=1e-5)


def test_the_divergence_falls():
    a, _, x = data(400)
    p = affinities(nearest_neighbors(x, 30), 10)
    pq = p.tocoo()

    def divergence(values):
        square = np.square(values[:, None].astype(float) - values).sum(2)
        w = 1 / (1 + square / np.median(np.sort(square, 1)[:, 3]))
        np.fill_diagonal(w, 0)
        share = pq.data / pq.data.sum()
        return (share * np.log(share / (w / w.sum())[pq.row, pq.col])).sum()

    start = (x @ a).astype(np.float32)
    weights = [0.0, 0.25, 5.0]
    after = [
        divergence(run(moving(start, x, divergence_weight=weight, chord_weight=0), surface(a))) for weight in weights
    ]
    assert after[0] > after[1] > after[2]


def test_near_cells_on_the_map():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(700, 2)).astype(np.float32)
    y[100:400] = y[100]  # equal places
    cells = moving(y, rng.normal(size=(700, 5)).astype(np.float32))
    cells.renew()
    near, reach = cells.near.indices.numpy(), cells.near.reach.numpy()
    assert near.shape == (700, positions.N_NEAR)
    assert (near != np.arange(700)[:, None]).all()
    assert all(len(set(row)) == positions.N_NEAR for row in near)
    square = np.square(y[:, None].astype(float) - y).sum(2)
    np.fill_diagonal(square, np.inf)
    expected = np.sort(square, axis=1)[:, : positions.N_NEAR]
    np.testing.assert_allclose(reach, expected[:, -1], rtol=2e-5)
    np.testing.assert_allclose(np.take_along_axis(square, near, 1), expected, rtol=1e-6)
    # widths of cells on one place are small, and not nothing
    assert cells.narrowness.max() <= 1 / (positions.LEAST_SHARE**0.5 * cells.median_width) * (1 + 1e-5)


def test_kernel_widths():
    local = np.concatenate([np.full(100, 1.0), np.full(100, 4.0), np.full(101, 2.0)])
    width, median = kernel_widths(local)
    assert median == 2
    np.testing.assert_allclose(np.unique(width), np.sqrt([2, 4, 8]), rtol=1e-6)
    # they have the unit of the map
    scaled, _ = kernel_widths(1e3 * local)
    np.testing.assert_allclose(scaled, 1e3 * width, rtol=1e-6)
    # equal cells
    width, median = kernel_widths(np.concatenate([np.zeros(300), np.full(100, 3.0)]))
    assert width.min() > 0
    assert np.isfinite(width).all()
    width, median = kernel_widths(np.zeros(10))
    assert (width > 0).all()
    assert median > 0


@for_each("equal_room", [0, 0.25, 0.5, 0.9, 1])
def test_kernel_widths_between_the_local_and_the_median_one(equal_room):
    local = np.random.default_rng(0).lognormal(size=301)
    width, median = kernel_widths(local, equal_room)
    # the floor of the narrowest two percent stays
    floored = np.maximum(local, np.quantile(local, 0.02))
    assert median == pytest.approx(np.median(local))
    # halfway on a logarithmic scale at 0, and one width for all at 1
    halfway = np.log(floored / median) / 2
    np.testing.assert_allclose(np.log(width / median), (1 - equal_room) * halfway, atol=1e-6)


def test_with_one_width_for_all_the_kernels_are_those_of_tsne():
    _, z, x = data()
    start = (z * np.where(z[:, :1] > 0, 1, 0.1)).astype(np.float32)
    cells = moving(start, x, equal_room=1)
    cells.renew()
    np.testing.assert_allclose(cells.narrowness, 1 / cells.median_width, rtol=1e-5)


@for_each("block", [64, 2048])
def test_every_number_of_threads_gives_the_same_bits(block, monkeypatch):
    a, z, x = data(500)
    monkeypatch.setattr(pairs, "BLOCK", 2048)
    alone = run(moving(z.astype(np.float32), x), surface(a, 0.5), 45)
    monkeypatch.setattr(pairs, "BLOCK", block)
    for n_threads in (1, 2, 5):
        cells = moving(z.astype(np.float32), x, n_threads=n_threads)
        assert run(cells, surface(a, 0.5), 45).tobytes() == alone.tobytes()
    other = run(moving(z.astype(np.float32), x, seed=1), surface(a, 0.5), 45)
    assert other.tobytes() != alone.tobytes()


def test_the_start_is_not_changed():
    a, z, x = data(60)
    start = z.astype(np.float32)
    run(moving(start, x), surface(a), 5)
    np.testing.assert_array_equal(start, z.astype(np.float32))


@for_each("n", [4, 12, 41, 42])
def test_few_cells_are_all_near(n):
    a, z, x = data(n)
    cells = moving(z.astype(np.float32), x, k=min(5, n - 1), perplexity=3)
    found = run(cells, surface(a))
    assert cells.near.indices.shape[1] == min(n - 1, positions.N_NEAR)
    assert np.isfinite(found).all()
    assert np.linalg.norm(found - x @ a, axis=1).max() < np.ptp(x @ a, axis=0).max()


def test_cells_that_start_on_one_place_come_apart():
    a, z, x = data(100)
    found = run(moving(np.zeros_like(z, dtype=np.float32), x, n_steps=200), surface(a), 200)
    expected = x @ a
    assert np.isfinite(found).all()
    assert np.corrcoef(found[:, 0], expected[:, 0])[0, 1] > 0.9
    assert np.corrcoef(found[:, 1], expected[:, 1])[0, 1] > 0.9


def test_a_cell_jumps_to_neighbors_that_lie_together_elsewhere():
    a, _, x = data(200)
    right = (x @ a).astype(np.float32)
    start = right.copy()
    # five cells lie on the other side of the map
    lost = np.argsort(-right[:, 0])[::10][:5]
    start[lost] -= [8, 0]
    cells = moving(start, x)
    cells.renew()
    cells.jump(surface(a))
    moved = np.flatnonzero((cells.values.numpy() != start).any(1))
    np.testing.assert_array_equal(moved, np.sort(lost))
    away = np.linalg.norm(cells.values.numpy()[lost] - right[lost], axis=1)
    assert np.median(away) < 0.5
    assert away.max() < 3
    # not where the decoder would reconstruct them worse: here they lie right, and all others beside where they ought to
    start = right + np.float32([8, 0])
    start[lost] = right[lost]
    cells = moving(start, x)
    cells.renew()
    cells.jump(surface(a))
    np.testing.assert_array_equal(cells.values.numpy()[lost], start[lost])
