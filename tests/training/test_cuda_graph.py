"""What a CUDA graph needs of a training step, shown on the CPU, and the graphs themselves where there is CUDA."""

from __future__ import annotations

from contextlib import nullcontext
from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from scgeoae.geometry import Ambient
from scgeoae.geometry.regularizers import REGULARIZERS
from scgeoae.nn import Autoencoder
from scgeoae.training import Objective, Settings, fit
from scgeoae.training.batches import Cells, batches
from scgeoae.training.cuda_graph import N_EAGER, Replayed
from scgeoae.training.loop import descend
from scgeoae.training.optimizer import AdamW
from scgeoae.training.sampling import SAMPLINGS

from ..for_each import for_each

NEED_HOST = {
    "_local_scalar_dense",
    "_unique2",
    "bincount",
    "equal",
    "is_nonzero",
    "lift_fresh",
    "masked_select",
    "multinomial",
    "nonzero",
    "randperm",
    "repeat_interleave",
    "unique_consecutive",
    "unique_dim",
}
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


class HostNeededError(RuntimeError):
    pass


class Recorder(TorchDispatchMode):
    """Refuse what needs the host, and record the rest as a graph does: operations and the tensors they work on."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        if (
            name in NEED_HOST
            or (name.removeprefix("_").startswith(("linalg_", "lu_", "cholesky")) and name != "linalg_vector_norm")
            or (name in ("index", "index_put_") and any(t.dtype in (torch.bool, torch.uint8) for t in tensors[1:]))
        ):
            raise HostNeededError(name)
        found = func(*args, **kwargs)
        if len({t.device for t in [*tensors, *tree_leaves(found)] if isinstance(t, torch.Tensor)}) > 1:
            raise HostNeededError(name, "between devices")
        self.operations.append((func, args, kwargs, found))
        return found

    @torch.no_grad()
    def play(self):
        """Do the same operations on the same tensors; no code of the step runs."""
        for func, args, kwargs, found in self.operations:
            again = func(*args, **kwargs)
            if all(result.alias_info is None for result in func._schema.returns):
                for old, new in zip(tree_leaves(found), tree_leaves(again), strict=True):
                    old.data.copy_(new)


class Tape:
    """A CUDA graph on the CPU."""

    def __init__(self):
        self.n_eager = self.n_replayed = self.n_recorded = 0
        self.is_open = True

    def eager(self, call):
        self.n_eager += 1
        return call()

    def record(self, call):
        self.n_recorded += 1
        recorder = Recorder()
        with recorder:
            result = call()
        # recording has done the work of the first replay
        todo = iter([lambda: None])

        def replay():
            self.n_replayed += 1
            next(todo, recorder.play)()

        return replay, result

    def end(self):
        self.is_open = False


@pytest.fixture
def tapes(monkeypatch):
    """Where to look for the tapes on which all training is recorded."""
    made = []

    def capture_on(_device, _generator):
        made.append(Tape())
        return made[-1]

    monkeypatch.setattr("scgeoae.training.loop.capture_on", capture_on)
    return made


def sheet(n=150, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6)) * [3, 2, 0.5, 0.5, 0.2, 0.2]
    x[:, 2] += 0.3 * x[:, 0] ** 2
    return x


@for_each(
    "operation",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.sum() > 0),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x.masked_select(x > 0),
        lambda x: x.unique(),
        lambda x: x.to("meta"),
        lambda x: torch.empty(2, device="meta").copy_(x),
        lambda x: x + torch.tensor([1.0, 2.0]),
        lambda x: torch.linalg.inv(x[:, None] * x + torch.eye(2)),
        lambda x: torch.linalg.det(x[:, None] * x),
        lambda x: torch.randperm(4),
    ],
)
def test_what_needs_the_host_is_refused(operation):
    x = torch.ones(2)
    with Recorder(), pytest.raises(HostNeededError):
        operation(x)


def test_what_needs_no_host_is_replayed():
    x, at, generator = torch.arange(4.0), torch.zeros(1, dtype=torch.int64), torch.Generator().manual_seed(0)
    with Recorder() as recorder:
        found = x.index_select(0, at)[0]
        at.add_(1)
        noise = torch.rand(2, generator=generator)
    seen = [(found.item(), *noise.tolist())]
    for _ in range(2):
        recorder.play()
        seen.append((found.item(), *noise.tolist()))
    generator.manual_seed(0)
    assert seen == [(n, *torch.rand(2, generator=generator).tolist()) for n in (0, 1, 2)]


class Strict:
    """Let the second call need nothing from the host, when all is there that the first one keeps."""

    def __init__(self):
        self.calls = 0

    def eager(self, call):
        self.calls += 1
        with Recorder() if self.calls == 2 else nullcontext():
            return call()

    def end(self):
        pass


def two_steps(monkeypatch, settings, d, *, device="cpu", ambient=None):
    strict = Strict()
    monkeypatch.setattr("scgeoae.training.loop.capture_on", lambda *_: strict)
    g = torch.Generator().manual_seed(0)
    x = torch.randn(80, 7, generator=g)
    near = torch.randint(80, (80, 5), generator=g)
    cells = Cells(x.to(device), neighbors=near.to(device), positives=near.to(device))
    with torch.device(device):
        model = Autoencoder(7, d, hidden=(8, 8), generator=g)
    model.ambient = ambient
    draw = SAMPLINGS[settings.sampling]
    sampler = None if draw is None else lambda z: draw(z, g)
    objective = Objective(settings.terms, settings.contrastive, sampler)
    options = {"noise": 0.1, "batch_size": 70, "n_steps": 2, "generator": g, "on_device": g}
    stream = batches(cells, torch.arange(80), objective, **options)
    list(descend(model, stream, objective, AdamW(model, peak=1e-3, n_steps=9)))
    assert strict.calls == 2


def variants():
    """Settings, dimensions, and the device: a tensor on "meta" has no numbers that the host could look at."""
    for name, regularizer in REGULARIZERS.items():
        for side in regularizer.sides:
            given = {"regularizer": name, "side": side}
            for d in (1, 2, 3):
                yield Settings(n_components=d, **given), d, "meta"
            for sampling in SAMPLINGS:
                yield Settings(sampling=sampling, neighbors_weight=0, **given), 2, "cpu"


def test_steps_need_nothing_from_the_host(monkeypatch):
    on_host = set()
    for settings, d, device in variants():
        if Objective(settings.terms).needs_host(SimpleNamespace(ambient=None, n_components=d)):
            on_host.add((settings.terms[0].name, d))
            continue
        with monkeypatch.context() as patched:
            two_steps(patched, settings, d, device=device)
    assert on_host == {*(("topological", d) for d in (1, 2, 3)), ("volume", 3), ("curvature", 3)}


@for_each("name, d", [("topological", 2), ("volume", 3), ("curvature", 3)])
def test_what_is_left_to_the_host_needs_it(name, d, monkeypatch):
    monkeypatch.setattr(Objective, "needs_host", lambda *_: False)
    with pytest.raises((HostNeededError, NotImplementedError)):
        two_steps(monkeypatch, Settings(regularizer=name, n_components=d), d, device="meta")


@for_each("side", ["decoder", "encoder"])
@for_each("kind", ["diagonal", "matrix", "function"])
def test_ambient_metrics(kind, side, monkeypatch):
    tensor = {"diagonal": torch.full((7,), 2.0), "matrix": 2 * torch.eye(7), "function": lambda x: x**2 + 1}[kind]
    ambient, settings = Ambient(tensor), Settings(side=side)
    model = SimpleNamespace(ambient=ambient, n_components=2)
    needs_host = Objective(settings.terms).needs_host(model)
    assert needs_host == (kind == "function" or (kind, side) == ("matrix", "encoder"))
    if not needs_host:
        two_steps(monkeypatch, settings, 2, device="meta", ambient=ambient.on(torch.device("meta")))
    assert isinstance(ambient.on(torch.device("cpu")), Ambient)


PLAIN = {"n_steps": 45, "hidden": (16, 16), "refine": False}


@pytest.mark.slow
@for_each(
    "given, n_variants",
    [
        ({}, [2]),
        ({"regularizer": None}, [1]),
        ({"strength": "auto", "n_steps": 80}, [3]),
        ({"strength": "auto", "sampling": "mixup", "side": "both", "n_steps": 80}, [3]),
        ({"regularizer": "neighborhood_quadratic"}, [1]),
        ({"regularizer": {"curvature": 0.01, "unit_isometric": 0.1}, "sampling": "gaussian"}, [1]),
        ({"regularizer": "denoising", "batch_size": 32}, [1]),
        ({"init_pos": "isomap"}, [1, 2]),
        ({"refine": True}, [2, 1]),
        ({"regularizer": "topological"}, []),
    ],
)
def test_replayed_training_is_the_same_to_the_bit(given, n_variants, tapes, monkeypatch):
    monkeypatch.setattr("scgeoae.training.settings.MIN_LAZY_STEPS", 1)
    given = dict(given)
    fit_given = {"init_pos": given.pop("init_pos", None)}
    settings = Settings(**PLAIN | given)
    tapes.clear()
    taped = fit(sheet(), settings, **fit_given)
    with monkeypatch.context() as patched:
        patched.setattr("scgeoae.training.loop.capture_on", lambda *_: None)
        plain = fit(sheet(), settings, **fit_given)
    assert np.array_equal(taped.embedding, plain.embedding)
    for name, values in plain.history.items():
        assert np.array_equal(taped.history[name], values), name
    assert [tape.n_recorded for tape in tapes] == n_variants
    for tape in tapes:
        assert tape.n_eager <= N_EAGER * max(tape.n_recorded, 1) + N_EAGER
        assert tape.n_replayed > 0
        assert not tape.is_open


def test_every_call_counts():
    tape, done = Tape(), torch.zeros(2)

    def add(where, number):
        done[where].add_(number)
        return done[where] + 0

    add = Replayed(add, tape)
    found = [add(n % 2, 1.5).item() for n in range(20)]
    assert found == [1.5 * (n // 2 + 1) for n in range(20)]
    assert (tape.n_eager, tape.n_recorded, tape.n_replayed) == (2 * N_EAGER, 2, 20 - 2 * N_EAGER)
    add.close()
    assert not tape.is_open
    # recordings are gone, so it is recorded anew
    assert add(0, 1.5).item() == 16.5
    assert tape.n_recorded == 3


@for_each("error", [KeyboardInterrupt, ZeroDivisionError])
@for_each("at", [2, 4, 10])
def test_recordings_end_with_a_run_that_fails(error, at, tapes, monkeypatch):
    count = iter(range(1, 100))

    def failing(_self):
        if next(count) == at:
            raise error

    tapes.clear()
    monkeypatch.setattr("scgeoae.training.loop.Watch.update", failing)
    with pytest.raises(error) as caught:
        fit(sheet(), Settings(**PLAIN))
    # also while the traceback is alive
    assert caught.tb is not None
    assert [tape.is_open for tape in tapes] == [False]


def test_a_long_run_draws_its_numbers_in_parts(monkeypatch):
    x, g = torch.arange(40.0)[:, None], torch.Generator()
    options = {"noise": 0.0, "batch_size": 8, "generator": g, "on_device": g}

    def rows(n_numbers, n_steps):
        monkeypatch.setattr("scgeoae.training.batches.MAX_NUMBERS", n_numbers)
        g.manual_seed(0)
        return [
            draw().x[:, 0].tolist()
            for draw in batches(cells, torch.arange(40), Objective(), n_steps=n_steps, **options)
        ]

    cells = Cells(x)
    whole = rows(2**20, 23)
    assert len(whole) == 23
    assert rows(50, 23) == whole
    assert rows(1, 23) == whole
    assert rows(50, 7) == whole[:7]
    # each epoch sees all cells once
    assert [sorted(chain(*whole[start : start + 5])) for start in (0, 5, 10)] == [list(range(40))] * 3


@needs_cuda
def test_same_seed_same_bits_on_cuda():
    settings = Settings(**PLAIN | {"n_steps": 100})
    first, second = (fit(sheet(), settings, device="cuda").embedding for _ in range(2))
    assert np.array_equal(first, second)


@needs_cuda
@for_each("given", [{}, {"strength": "auto"}, {"sampling": "mixup"}, {"regularizer": "neighborhood_quadratic"}])
def test_replayed_and_eager_steps_agree_on_cuda(given, monkeypatch):
    settings = Settings(**PLAIN | given)
    replayed = fit(sheet(), settings, device="cuda").embedding
    with monkeypatch.context() as patched:
        patched.setattr("scgeoae.training.loop.capture_on", lambda *_: None)
        eager = fit(sheet(), settings, device="cuda").embedding
    assert np.abs(replayed - eager).max() <= 1e-5 * np.ptp(eager)


@needs_cuda
def test_cpu_and_cuda_make_the_same_map():
    # the noise is drawn on the device, so it is another one there
    settings = Settings(n_steps=300, refine=False, noise=0.0)
    maps = [fit(sheet(600), settings, device=device).embedding for device in ("cpu", "cuda")]
    for on_cpu, on_cuda in zip(*(z.T for z in maps), strict=True):
        assert np.corrcoef(on_cpu, on_cuda)[0, 1] >= 0.999


@needs_cuda
def test_the_host_does_not_wait_between_evaluations():
    device = torch.device("cuda")
    g, on_device = torch.Generator(), torch.Generator(device)
    model, settings = Autoencoder(7, 2, hidden=(16, 16)).to(device), Settings()
    x = torch.randn(500, 7, device=device)
    cells = Cells(x, positives=torch.randint(500, (500, 5), device=device))
    objective = Objective(settings.terms, settings.contrastive, interval=2)
    options = {"noise": 0.1, "batch_size": 64, "n_steps": 60, "generator": g, "on_device": on_device}
    stream = batches(cells, torch.arange(500), objective, **options)
    steps = descend(model, stream, objective, AdamW(model, peak=1e-3, n_steps=60), generator=on_device)
    for _ in range(2 * (N_EAGER + 1)):
        next(steps)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(40):
            next(steps)
    finally:
        torch.cuda.set_sync_debug_mode("default")
        steps.close()


@needs_cuda
def test_memory_on_cuda():
    settings = Settings(n_steps=100, refine=False)
    fit(sheet(), settings, device="cuda")  # libraries keep what they allocate first
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    fit(np.random.default_rng(0).normal(size=(20_000, 50)), settings, device="cuda")
    assert torch.cuda.max_memory_allocated() - before < 5e8
    assert torch.cuda.memory_allocated() - before < 1e6
