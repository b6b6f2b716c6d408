from __future__ import annotations

import math
import re
from importlib import import_module

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.spatial.distance import pdist
from sklearn.neighbors import NearestNeighbors

from scgeoae.geometry import trace
from scgeoae.geometry.regularizers import REGULARIZERS
from scgeoae.training import Objective, Settings, Term, fit
from scgeoae.training import refine as refine_module
from scgeoae.training.batches import METRIC_CELLS, Cells, batches, shuffled
from scgeoae.training.device import choose_device
from scgeoae.training.fit import default_steps
from scgeoae.training.neighbors import NOISE, Neighbors, find_neighbors, nearest_neighbors, suitable_noise, within
from scgeoae.training.optimizer import AdamW
from scgeoae.training.refine import share_kept
from scgeoae.training.sampling import gaussian, mixup, uniform
from scgeoae.training.standardization import standardize_rows

from ..for_each import for_each

# what regularizers do without the contrastive loss, in half the time
PURE = {"neighbors_weight": 0, "batch_size": 128, "learning_rate": 5e-3}


def sheet(n=400, seed=0):
    """A half cylinder of radius 1 and length 3, rolled isometrically from a flat sheet, in 6 dimensions."""
    rng = np.random.default_rng(seed)
    flat = rng.uniform(0, 1, size=(n, 2)) * [math.pi, 3]
    x = np.zeros((n, 6))
    x[:, 0], x[:, 1], x[:, 2] = np.cos(flat[:, 0]), np.sin(flat[:, 0]), flat[:, 1]
    return x, flat


@pytest.fixture(scope="module")
def unrolled():
    x, flat = sheet()
    return fit(x, Settings(refine=False)), x, flat


@pytest.fixture(scope="module")
def refined():
    x, flat = sheet()
    return fit(x, Settings(refine=True)), x, flat


def test_unrolls_a_cylinder(unrolled):
    fitted, _, flat = unrolled
    # the sheet is developable, so its true distances are those of the flat sheet
    true, seen = pdist(flat), pdist(fitted.embedding)
    assert np.corrcoef(true, seen)[0, 1] > 0.995
    # and one unit of the map is one unit of the data
    assert np.median(seen / true) == pytest.approx(1, abs=0.03)


def test_unrolls_a_cylinder_with_places_of_their_own_for_the_cells(refined):
    fitted, x, flat = refined
    seen = pdist(fitted.embedding)
    assert np.corrcoef(pdist(flat), seen)[0, 1] > 0.98
    # one unit of the map is one of the data straight through the cylinder
    assert np.median(seen / pdist(fitted.model.decode(torch.from_numpy(fitted.embedding)))) == pytest.approx(
        1, abs=0.01
    )
    assert np.median(seen / pdist(x)) == pytest.approx(1, abs=0.06)
    # the encoder follows
    assert fitted.displacement.mean() < 0.01


def test_results_of_refined_cells_agree_with_the_model(refined):
    fitted, x, _ = refined
    x, z = torch.as_tensor(x, dtype=torch.float32), torch.from_numpy(fitted.embedding)
    torch.testing.assert_close(fitted.model.metric(z), torch.from_numpy(fitted.metric), rtol=1e-4, atol=1e-4)
    error = (fitted.model.decode(z) - x).square().mean(1) / fitted.model.scale**2
    torch.testing.assert_close(error, torch.from_numpy(fitted.error), rtol=1e-3, atol=1e-5)
    away = (fitted.model.encode(x) - z).square().mean(1) / z.var(0, correction=0).mean()
    torch.testing.assert_close(away, torch.from_numpy(fitted.displacement), rtol=1e-2, atol=1e-6)


def test_regularizer_lowers_the_distortion_tenfold():
    from scgeoae.geometry import distortion

    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 10)) * np.linspace(3, 0.5, 10)
    x[:, 2:4] += 0.3 * x[:, :2] ** 2
    measures = {
        name: distortion(torch.from_numpy(fit(x, Settings(regularizer=name, n_steps=400, **PURE)).metric))
        for name in (None, "volume", "conformal", "isometric")
    }
    assert measures["volume"].vpres < measures[None].vpres / 10
    assert measures["conformal"].cn < measures[None].cn / 3
    assert measures["isometric"].iso < measures[None].iso / 10


def test_results_agree_with_the_model(unrolled):
    fitted, x, _ = unrolled
    x = torch.as_tensor(x, dtype=torch.float32)
    z = torch.from_numpy(fitted.embedding)
    torch.testing.assert_close(fitted.model.encode(x), z, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(fitted.model.metric(z), torch.from_numpy(fitted.metric), rtol=1e-4, atol=1e-4)
    error = (fitted.model.decode(z) - x).square().mean(1) / fitted.model.scale**2
    torch.testing.assert_close(error, torch.from_numpy(fitted.error), rtol=1e-3, atol=1e-5)


def test_frame(unrolled):
    fitted, x, _ = unrolled
    assert (trace(torch.from_numpy(fitted.metric)) / 2).mean() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(fitted.embedding.mean(0), 0, atol=1e-4)
    from sklearn.decomposition import PCA

    # no rotation brings the map nearer to the principal components: the product is symmetric
    product = fitted.embedding.T @ PCA(2).fit_transform(x)
    assert product[0, 1] == pytest.approx(product[1, 0], abs=1e-3 * abs(product).max())
    assert (np.linalg.eigvalsh(product) > 0).all()


def test_held_out_cells_are_embedded_and_no_gradient_sees_them():
    x, _ = sheet(200)
    first = fit(x, Settings(n_steps=5))
    assert len(first.held_out) == 10
    assert np.isfinite(first.embedding).all()
    # batches are drawn from the others only
    rows = torch.from_numpy(first.trained)
    stream = shuffled(rows, 32, generator=torch.Generator().manual_seed(0))
    seen = torch.cat([next(stream) for _ in range(30)])
    assert set(seen.tolist()) == set(rows.tolist())


@for_each("n_steps", [1, 2, 3, 7])
def test_few_steps(n_steps):
    x, _ = sheet(100)
    fitted = fit(x, Settings(n_steps=n_steps))
    assert fitted.history["step"][-1] == n_steps


@for_each("n, d", [(4, 2), (5, 3), (3, 1), (19, 2)])
def test_few_cells(n, d):
    x = np.random.default_rng(0).normal(size=(n, 4))
    fitted = fit(x, Settings(n_components=d, n_steps=20))
    assert np.isfinite(fitted.embedding).all()
    assert not len(fitted.held_out)
    with pytest.raises(ValueError, match=f"needs at least {d + 2} cells, found {d + 1}"):
        fit(x[: d + 1], Settings(n_components=d))


def test_as_many_components_as_features():
    x = np.random.default_rng(0).normal(size=(50, 3))
    assert fit(x, Settings(n_components=3, n_steps=10)).embedding.shape == (50, 3)
    with pytest.raises(ValueError, match="`n_components` to be at most 3, the number of features, found 4"):
        fit(x, Settings(n_components=4))


def test_same_seed_same_bits_other_seed_other_bits():
    x, _ = sheet(150)
    a, b, c = (fit(x, Settings(n_steps=30, seed=seed)).embedding for seed in (1, 1, 2))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_no_global_state_is_touched():
    x, _ = sheet(100)
    torch_state, numpy_state, threads = torch.get_rng_state(), np.random.get_state()[1], torch.get_num_threads()  # noqa: NPY002
    original = x.copy()
    fit(x, Settings(n_steps=3))
    assert torch.equal(torch_state, torch.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])  # noqa: NPY002
    assert threads == torch.get_num_threads()
    assert np.array_equal(x, original)


@for_each("batch_size", [2, 16])
def test_small_batches_still_see_64_points_of_geometry(batch_size, monkeypatch):
    x, _ = sheet(200)
    seen = []
    real = Objective.__call__

    def spy(self, model, batch):
        seen.append(len(batch.x if batch.metric_x is None else batch.metric_x))
        return real(self, model, batch)

    monkeypatch.setattr(Objective, "__call__", spy)
    fit(x, Settings(n_steps=5, batch_size=batch_size))
    assert min(seen) == 64


def test_history_names_every_part():
    x, _ = sheet(200)
    history = fit(x, Settings(regularizer={"isometric": 0.1, "curvature": 0.01}, n_steps=40)).history
    parts = ("reconstruction", "contrast", "isometric", "curvature")
    assert list(history) == ["step", *parts, *(f"held_out_{part}" for part in parts)]
    assert {len(values) for values in history.values()} == {20}


@for_each("min_steps, settings", [(60, {}), (61, {}), (60, {"strength": "auto"})])
def test_every_second_step_of_a_long_run_is_penalized_twice_as_much(monkeypatch, min_steps, settings):
    called = []

    def spied(self, step):
        found = original(self, step)
        called.append((float(found.factor), bool(found.terms)))
        return found

    original = Objective.at_step
    monkeypatch.setattr(Objective, "at_step", spied)
    monkeypatch.setattr("scgeoae.training.settings.MIN_LAZY_STEPS", min_steps)
    x, _ = sheet(200)
    history = fit(x, Settings(n_steps=60, regularizer="isometric", refine=False, **settings)).history
    if settings:
        # the steps of the autoencoder without penalties are among them
        assert sum(penalized for _, penalized in called) == 60
    elif min_steps > 60:
        assert all(penalized for _, penalized in called)
    else:
        assert [penalized for _, penalized in called] == [True, False] * 30
        assert {factor for factor, penalized in called if penalized} == {2.0}
    # its mean over the steps that saw it, not over all
    ratio = np.divide(history["isometric"], history["held_out_isometric"])[5:]
    assert 0.7 < np.median(ratio) < 1.4


@pytest.mark.slow
def test_curvature_flattens():
    from scgeoae.geometry import extrinsic_curvature

    x, _ = sheet()
    bending = []
    for weights in ({"isometric": 0.1}, {"isometric": 0.1, "curvature": 0.3}):
        fitted = fit(x, Settings(regularizer=weights, n_steps=300, **PURE))
        with torch.no_grad():
            jet = fitted.model.jet(torch.from_numpy(fitted.embedding), order=2)
            bending.append(extrinsic_curvature(jet).mean())
    assert bending[1] < bending[0] / 2


def test_sampling_regularizes_where_there_are_no_cells():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 6)) * [3, 2, 0.1, 0.1, 0.1, 0.1]
    x = x[np.abs(x[:, 0]) > 2]  # a gap in the middle
    x[:, 2] = 0.3 * x[:, 0] ** 2
    middle = torch.stack([torch.linspace(-1, 1, 20), torch.zeros(20)], dim=1)
    spread = {}
    for where in ("data", "mixup", "gaussian"):
        model = fit(x, Settings(sampling=where, n_steps=400, **PURE)).model
        spread[where] = trace(model.metric(middle)).log().std().item()
    assert spread["mixup"] < spread["data"]
    assert spread["gaussian"] < spread["data"]


@given(seed=st.integers(0, 100))
def test_samples(seed):
    z = torch.randn(2000, 2, generator=torch.Generator().manual_seed(seed)) @ torch.tensor([[2.0, 0.5], [0.0, 1.0]]) + 3
    drawn = gaussian(z, torch.Generator().manual_seed(seed + 1))
    torch.testing.assert_close(drawn.T.cov(), z.T.cov(), rtol=0.2, atol=0.2)
    torch.testing.assert_close(drawn.mean(0), z.mean(0), rtol=0, atol=0.2)
    line = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    mixed = mixup(line.repeat(500, 1), torch.Generator().manual_seed(seed))
    assert -0.2 <= mixed[:, 0].min() < -0.1
    assert 1.1 < mixed[:, 0].max() <= 1.2
    torch.testing.assert_close(mixed[:, 1], 2 * mixed[:, 0])


@pytest.fixture
def interrupted(monkeypatch):
    """Return what lets Ctrl-C come at the n-th call of a method, and the list of its calls."""

    def at(kind, method, n):
        real, calls = getattr(kind, method), []

        def interrupting(self, *args, **kwargs):
            calls.append(self)
            if len(calls) == n:
                raise KeyboardInterrupt
            return real(self, *args, **kwargs)

        monkeypatch.setattr(kind, method, interrupting)
        return calls

    return at


@for_each("stage", ["first", "second"])
def test_an_interrupt_is_raised(interrupted, stage):
    x, _ = sheet(100)
    kind, method = {
        "first": (AdamW, "step"),
        "second": (refine_module.Positions, "step"),
    }[stage]
    interrupted(kind, method, 20)
    with pytest.raises(KeyboardInterrupt):
        fit(x, Settings(n_steps=30, refine=True))


@for_each("strength", [None, "auto"])
def test_an_interrupt_can_keep_the_best_state(interrupted, strength):
    x, _ = sheet(300)
    settings = {"n_steps": 200, "refine": True, "strength": strength}
    interrupted(AdamW, "step", 120)
    message = r"Interrupted at (step \d+ of 200 of the training); the state of step (\d+) is kept"
    with pytest.warns(UserWarning, match=message) as record:
        fitted = fit(x, Settings(on_interrupt="keep", **settings))
    at, step = re.match(message, str(record[0].message)).groups()
    assert (fitted.interrupted_at, fitted.step) == (at, int(step))
    assert fitted.step in fitted.history["step"]
    # the map of the encoder alone
    assert fitted.displacement is None
    np.testing.assert_allclose(fitted.model.encode(torch.from_numpy(x).float()), fitted.embedding, rtol=0, atol=1e-4)
    assert len({len(values) for values in fitted.history.values()}) == 1
    assert fitted.factor == (1 if strength is None else fitted.history["factor"][-1])


@for_each("n", [1, 10])
def test_an_interrupt_before_the_first_evaluation_is_raised(interrupted, n):
    x, _ = sheet(300)
    interrupted(AdamW, "step", n)
    with pytest.raises(KeyboardInterrupt):
        fit(x, Settings(n_steps=200, on_interrupt="keep"))


@for_each("n_coarse, at", [(10_000, 20), (200, 20), (200, 50)])
def test_an_interrupt_can_keep_the_positions(interrupted, monkeypatch, n_coarse, at):
    x, _ = sheet(300)
    monkeypatch.setattr(refine_module, "N_COARSE", n_coarse)
    calls = interrupted(refine_module.Positions, "step", at)
    with pytest.warns(UserWarning, match=r"at step 19 of 30 of the second stage; the positions so far are kept"):
        fitted = fit(x, Settings(n_steps=30, refine=True, on_interrupt="keep"))
    assert fitted.interrupted_at == "step 19 of 30 of the second stage"
    # one Ctrl-C ends all of it, and cells that were not of the sample are among those that were
    moved = [len(positions.values) for positions in calls]
    assert moved == ([200] * min(at, 30) + [300] * (at - 30) if n_coarse < 300 else [300] * at)
    assert np.isfinite(fitted.embedding).all()
    assert fitted.displacement.mean() < 0.1


@for_each("n_coarse", [10_000, 200])
def test_number_of_threads_does_not_change_the_positions(monkeypatch, n_coarse):
    x, _ = sheet(300)
    monkeypatch.setattr(refine_module, "N_COARSE", n_coarse)
    monkeypatch.setattr("scgeoae.training.pairs.BLOCK", 70)
    found, real = [], refine_module.Positions
    for n_threads in (1, 3):
        monkeypatch.setattr(refine_module, "Positions", lambda *a, n=n_threads, **k: real(*a, **(k | {"n_threads": n})))
        found.append(fit(x, Settings(n_steps=20, refine=True)).embedding)
    np.testing.assert_array_equal(*found)


def test_divergence_says_what_to_do():
    x, _ = sheet(200)
    with pytest.raises(RuntimeError, match=r"The loss became .* Lower `learning_rate`"):
        fit(x, Settings(learning_rate=1e30, n_steps=60))


def test_early_stopping():
    # noise: whatever is learnt is wrong for held-out cells
    x = np.random.default_rng(0).normal(size=(60, 40))
    fitted = fit(x, Settings(regularizer=None, n_steps=2000, learning_rate=2e-2))
    assert fitted.history["step"][-1] < 2000
    assert fitted.step < fitted.history["step"][-1]


def test_step_budget_stops_growing():
    assert [default_steps(n, 256) for n in (10, 800, 2_000, 10**6)] == [200, 375, 937, 1200]


def test_the_step_budget_is_smaller_where_refinement_follows(monkeypatch):
    monkeypatch.setattr(import_module("scgeoae.training.fit"), "MAX_STEPS_BEFORE_REFINEMENT", 30)
    x, _ = sheet(100)
    steps = [fit(x, Settings(refine=refine)).history["step"][-1] for refine in (True, False)]
    assert steps[0] <= 30 < steps[1]
    assert fit(x, Settings(refine=True, n_steps=40)).history["step"][-1] > 30


@for_each("dtype", [np.float32, np.float64, np.int32, np.float16])
def test_standardization(dtype, monkeypatch):
    monkeypatch.setattr("scgeoae._matrix.BLOCK_SIZE", 64)
    raw = (np.random.default_rng(0).normal(size=(500, 4)) * [10, 5, 2, 0] + 30).astype(dtype)
    (center, scale, _), x = standardize_rows(raw, np.arange(500))
    assert x.dtype == np.float32
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-5)
    assert np.square(x, dtype=np.float64).mean() == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(x * scale + center, raw, rtol=1e-5, atol=1e-5)
    assert not x[:, 3].any()  # a constant feature stays where it is


def test_small_variation_on_a_large_offset_survives():
    variation = np.random.default_rng(0).normal(size=(100, 3))
    _, x = standardize_rows(variation + 1e9, np.arange(100))
    _, expected = standardize_rows(variation, np.arange(100))
    np.testing.assert_allclose(x, expected, atol=1e-5)


@for_each("scale", [1e-12, 1e12])
def test_unit_of_the_data_carries_over(scale):
    x, _ = sheet(150)
    settings = Settings(n_steps=30)
    np.testing.assert_allclose(
        fit(x * scale, settings).embedding / scale, fit(x, settings).embedding, rtol=1e-3, atol=1e-3
    )


def test_batches_cover_each_epoch_once():
    stream = shuffled(torch.arange(10), 5, generator=torch.Generator().manual_seed(0))
    epochs = [sorted(torch.cat([next(stream), next(stream)]).tolist()) for _ in range(3)]
    assert epochs == [list(range(10))] * 3
    assert len(next(shuffled(torch.arange(3), 5, generator=torch.Generator()))) == 3


def test_device():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device(torch.device("cpu")) == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(ValueError, match=r"`device` to be 'auto' or a torch device.*found 'gpu'"):
        choose_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match=r"The device 'cuda:0' is not available to torch .*; use device='auto'"):
            choose_device("cuda:0")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_same_map():
    x, _ = sheet()
    on_gpu = fit(x, Settings(), device="cuda")
    assert next(on_gpu.model.parameters()).device.type == "cpu"
    on_cpu = fit(x, Settings(), device="cpu")
    for a in range(2):
        assert np.corrcoef(on_gpu.embedding[:, a], on_cpu.embedding[:, a])[0, 1] > 0.98


@for_each("name", REGULARIZERS)
def test_every_regularizer_trains(name):
    x, _ = sheet(120)
    for side in REGULARIZERS[name].sides:
        fitted = fit(x, Settings(regularizer=name, side=side, n_steps=20))
        assert np.isfinite(fitted.embedding).all()
        assert np.isfinite(fitted.encoder_metric).all()
        if REGULARIZERS[name].loss is not None:
            labels = [term.label for term in Settings(regularizer=name, side=side).terms]
            assert all(f"held_out_{label}" in fitted.history for label in labels)


@for_each("name", REGULARIZERS)
def test_every_regularizer_has_a_second_stage(name):
    x, _ = sheet(120)
    for side in REGULARIZERS[name].sides:
        fitted = fit(x, Settings(regularizer=name, side=side, n_steps=5, batch_size=16, refine=True))
        assert np.isfinite(fitted.embedding).all()
        assert fitted.displacement is not None


def curved(n=500):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 10)) * np.linspace(3, 0.5, 10)
    x[:, 2:4] += 0.3 * x[:, :2] ** 2
    return x


@pytest.mark.slow
def test_encoder_regularizer_lowers_the_distortion_of_the_encoder():
    from scgeoae.geometry import distortion

    x = curved()
    runs = {
        (name, side): fit(x, Settings(regularizer=name, side=side, n_steps=400, **PURE))
        for name, side in [(None, None), ("isometric", "decoder"), ("isometric", "encoder"), ("isometric", "both")]
    }
    iso = {
        network: {run: distortion(torch.from_numpy(getattr(f, metric))).iso for run, f in runs.items()}
        for network, metric in {"decoder": "metric", "encoder": "encoder_metric"}.items()
    }
    for network in ("decoder", "encoder"):
        for held in (network, "both"):
            assert iso[network]["isometric", held] < iso[network][None, None] / 10
    # each network is served best by its own regularizer
    assert iso["decoder"]["isometric", "decoder"] < iso["decoder"]["isometric", "encoder"]
    assert iso["encoder"]["isometric", "encoder"] < iso["encoder"]["isometric", "decoder"]


@pytest.mark.slow
def test_unit_isometric_makes_the_encoder_the_orthogonal_projection():
    """With both terms zero, B = Aᵀ, so both metrics are the identity at one scale."""
    x, _ = sheet()
    fitted = fit(x, Settings(regularizer="iae", strength=0.5, n_steps=3000, batch_size=128, learning_rate=5e-3))
    b = fitted.model.encoder_jacobian(torch.as_tensor(x, dtype=torch.float32))
    a = fitted.model.jacobian(torch.from_numpy(fitted.embedding))
    assert (b - a.mT).norm(dim=(1, 2)).median() < 0.1
    assert (torch.from_numpy(fitted.metric) - torch.eye(2)).norm(dim=(1, 2)).median() < 0.1


def test_contractive_and_gradient_penalties_shrink_their_network():
    x = curved()
    plain = fit(x, Settings(regularizer=None, n_steps=200))
    contracted = fit(x, Settings(regularizer="contractive", strength=0.1, n_steps=200))
    penalised = fit(x, Settings(regularizer="gradient_penalty", strength=0.1, n_steps=200))
    cells = torch.from_numpy(x).float()

    def size(fitted, network):
        # in the networks' own units, since the map has those of the decoder
        model = fitted.model
        standardized = model.standardize(cells)
        if network == "encoder":
            return model.encoder.rows(standardized).first.square().sum((1, 2)).mean()
        return model.decoder.jet(model.encoder(standardized)).first.square().sum((1, 2)).mean()

    assert size(contracted, "encoder") < size(plain, "encoder") / 2
    assert size(penalised, "decoder") < size(plain, "decoder") / 2


@given(st.integers(0, 100), st.integers(1, 6))
def test_neighbors_are_the_nearest_others_of_the_training_cells(seed, k):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(20, 3, generator=g)
    train = torch.randperm(20, generator=g)[:12]
    found = find_neighbors(x, train, k)
    assert found.shape == (20, k)
    with pytest.MonkeyPatch.context() as patch:
        # as on CUDA, in PyTorch alone
        patch.setattr("scgeoae.training.neighbors.native", lambda x: x)
        assert torch.equal(find_neighbors(x, train, k), found)
    distances = torch.cdist(x, x)
    distances.fill_diagonal_(math.inf)
    distances[:, [i for i in range(20) if i not in train.tolist()]] = math.inf
    expected = distances.argsort(dim=1)[:, :k]
    assert torch.equal(found, expected)
    assert find_neighbors(x, train, 50).shape == (20, 11)


@given(st.integers(0, 100))
def test_neighbors_within_the_training_cells(seed):
    rng = np.random.default_rng(seed)
    table = np.stack([rng.permutation(np.r_[-1, -1, 0:10])[:4] for _ in range(10)])
    rows = np.sort(rng.permutation(10)[: rng.integers(5, 11)])
    train = torch.from_numpy(rng.permutation(len(rows))[:5])
    for i, (cell, row) in enumerate(zip(rows, within(table, rows, train).tolist(), strict=True)):
        allowed = [j for j in table[cell].tolist() if j in rows[train]]
        found = rows[row].tolist()
        assert found == [allowed[a % len(allowed)] for a in range(4)] if allowed else row == [i] * 4


def test_neighbors_of_some():
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    among, of = torch.arange(5, 40), torch.tensor([1, 8, 30])
    found = find_neighbors(x, among, 4, of=of)
    assert torch.equal(found[of], find_neighbors(x, among, 4)[of])
    rest = np.setdiff1d(np.arange(40), of)
    assert (found[rest] == torch.from_numpy(rest)[:, None]).all()


def test_noise_is_shorter_than_the_way_to_the_neighbors():
    g = torch.Generator().manual_seed(0)
    far = 100 * torch.randn(50, 4, generator=g)
    every = torch.arange(50)
    partners = find_neighbors(far, every, 3)
    assert suitable_noise(far, partners, every) == NOISE
    near = far / 1e4
    distance = np.median([(near[p] - c).norm(dim=1).mean() for p, c in zip(partners, near, strict=True)])
    assert suitable_noise(near, partners, every) * 4**0.5 == pytest.approx(2 / 3 * distance, rel=0.1)
    assert suitable_noise(torch.zeros(50, 4), partners, every) == 0


def test_neighbors_of_duplicated_cells():
    x = torch.zeros(6, 2)
    found = find_neighbors(x, torch.arange(6), 5)
    assert all(i not in row for i, row in enumerate(found.tolist()))


def test_uniform_draws_fill_the_box_of_the_codes():
    z = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
    drawn = uniform(z, torch.Generator().manual_seed(1))
    assert (drawn >= z.amin(0)).all()
    assert (drawn <= z.amax(0)).all()
    np.testing.assert_allclose(drawn.mean(0), (z.amin(0) + z.amax(0)) / 2, atol=0.2)


def test_ambient_metric_decides_what_is_held():
    """The same data: where the second feature counts tenfold, the map is isometric for that metric and no other."""
    from scgeoae.geometry import Ambient, distortion

    x = curved()
    h = torch.ones(10)
    h[1:4] = 10.0
    fitted = fit(x, Settings(n_steps=400), ambient=Ambient(h))
    z = torch.from_numpy(fitted.embedding)
    measured = distortion(fitted.model.metric(z)).iso
    fitted.model.ambient = None
    assert measured < distortion(fitted.model.metric(z)).iso / 5
    np.testing.assert_allclose(np.trace(fitted.metric, axis1=1, axis2=2).mean(), 2, rtol=1e-4)


class OnDisk:
    """What gives rows to a slice, and says how many it gave at most."""

    def __init__(self, matrix):
        self.matrix, self.shape, self.most = matrix, matrix.shape, 0

    def __getitem__(self, rows):
        assert isinstance(rows, slice)
        part = self.matrix[rows]
        self.most = max(self.most, part.shape[0])
        return part


@for_each("form", ["sparse", "dask", "on disk"])
def test_matrices_are_read_in_blocks(form, monkeypatch):
    x, _ = sheet(300)
    x = np.maximum(x, 0).astype(np.float32)
    settings = Settings(n_steps=20, refine=False)
    expected = fit(x, settings)
    monkeypatch.setattr("scgeoae._matrix.BLOCK_SIZE", 64 * x.shape[1])
    if form == "sparse":
        matrix = sparse.csr_matrix(x)
    elif form == "dask":
        matrix = pytest.importorskip("dask.array").from_array(x, chunks=(70, -1))
    else:
        matrix = OnDisk(sparse.csr_matrix(x))
    found = fit(matrix, settings)
    np.testing.assert_allclose(found.embedding, expected.embedding, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.metric, expected.metric, rtol=1e-3, atol=1e-3)
    if form == "on disk":
        assert matrix.most == 64


def test_bad_cells_are_counted_over_all_blocks(monkeypatch):
    monkeypatch.setattr("scgeoae._matrix.BLOCK_SIZE", 64)
    x, _ = sheet(300)
    x[[5, 250, 251], 1] = np.nan
    x[250, 2] = np.inf
    with pytest.raises(ValueError, match=r"3 of 300 cells have NaN or infinite values in some matrix; drop"):
        fit(x, Settings(), name="some matrix")
    with pytest.raises(ValueError, match="All 300 cells are equal in some matrix"):
        fit(np.full((300, 4), 0.1, dtype=np.float32), Settings(), name="some matrix")


@for_each("given", [False, True])
def test_many_cells_are_sampled(monkeypatch, given):
    for module, name, value in (("setup", "MAX_SAMPLED", 200), ("fit", "MAX_SEARCHED", 150)):
        monkeypatch.setattr(import_module(f"scgeoae.training.{module}"), name, value)
    x, t = sheet(600)
    neighbors = NearestNeighbors(n_neighbors=8).fit(x).kneighbors(return_distance=False) if given else None
    fitted = fit(x, Settings(n_steps=300, refine=False), neighbors=neighbors)
    assert len(fitted.trained) == 200
    assert len(fitted.held_out) == 30
    assert not np.intersect1d(fitted.trained, fitted.held_out).size
    rest = np.setdiff1d(np.arange(600), fitted.trained)
    # those that no batch has seen are placed as well as the others
    assert fitted.error[rest].mean() < 1.5 * fitted.error[fitted.trained].mean() + 1e-3
    assert r2_of_plane(fitted.embedding[rest], t[rest]) > 0.98


def r2_of_plane(z, t):
    """How much of the true coordinates a linear function of the map explains."""
    design = np.c_[z, np.ones(len(z))]
    residual = t - design @ np.linalg.lstsq(design, t, rcond=None)[0]
    return 1 - np.square(residual).sum() / np.square(t - t.mean(0)).sum()


@for_each("measured", [False, True])
def test_cells_at_which_metrics_are_taken_have_no_noise(measured):
    g = torch.Generator().manual_seed(0)
    cells = Cells(torch.randn(200, 3, generator=g))
    objective = Objective([Term("isometric", 0.2)] if measured else [])
    stream = batches(
        cells, torch.arange(200), objective, noise=0.5, batch_size=100, n_steps=3, generator=g, on_device=g
    )
    for draw in stream:
        batch = draw()
        assert batch.n_metric == METRIC_CELLS
        assert (batch.noise[:METRIC_CELLS] == 0).all() == measured
        assert batch.noise[METRIC_CELLS:].std() == pytest.approx(0.5, rel=0.25)


def test_where_the_encoder_keeps_more_neighbors_its_map_is_taken():
    rng = np.random.default_rng(0)
    flat = rng.uniform(size=(600, 2)) @ np.linalg.qr(rng.normal(size=(6, 2)))[0].T
    settings = {"n_steps": 200, "hidden": (32,)}
    encoder = fit(flat, Settings(refine=False, **settings))
    default, settled = (fit(flat, Settings(refine=refine, **settings)) for refine in (None, True))
    assert default.displacement is None
    # the first stage is the same, but for neighbors among all cells, the held-out ones too
    assert np.corrcoef(pdist(default.embedding), pdist(encoder.embedding))[0, 1] > 0.999
    assert share_kept(default.embedding, nearest_neighbors(flat.astype(np.float32), 10)) > 0.9
    # the second stage was run where it was asked for, and keeps fewer
    assert settled.displacement is not None
    near = nearest_neighbors(flat.astype(np.float32), 10)
    kept = {name: share_kept(z.embedding, near) for name, z in {"encoder": encoder, "settled": settled}.items()}
    assert kept["encoder"] > kept["settled"]
    # among noise in other dimensions the second stage keeps more
    noisy = rng.normal(size=(600, 10))
    assert fit(noisy, Settings(**settings)).displacement is not None


def test_the_share_of_neighbors_kept():
    z = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    assert share_kept(z, nearest_neighbors(z, 15)) == 1
    assert share_kept(np.random.default_rng(1).permutation(z), nearest_neighbors(z, 15)) < 0.15
    # fewer cells than neighbors, and cells that have fewer
    indices, distances = nearest_neighbors(z[:4], 3)
    indices[0, 1:] = -1
    assert share_kept(z[:4], Neighbors(indices, distances)) == pytest.approx(10 / 12)
