"""Ctrl-C at any moment: an AnnData is unchanged or complete."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import scgeoae as sg
from scgeoae._anndata.write import write
from scgeoae._runtime import call_within
from scgeoae.training import optimizer, refine

from ..checks.battery import duplicate
from ..checks.calls import FUNCTIONS, call, good
from ..checks.slots import fingerprints
from ..for_each import for_each

WRITERS = {
    "tl.geoae": {"random_state": 1, "key_added": "other"},
    "tl.adopt": {"random_state": 1},
    "tl.distortion": {"random_state": 1},
    "tl.evaluate": {"key_added": "other"},
    "tl.curvature": {},
    "tl.density": {},
    "tl.project_vectors": {"key_added": "velocity"},
    "tl.pseudotime": {},
    "tl.rank_genes_by_jacobian": {},
    "tl.residual": {},
    "tl.stability": {},
    "tl.transform": {},
}


@pytest.fixture(autouse=True)
def _listening():
    """Hear Ctrl-C, which a shell has its background processes ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def _lost(monkeypatch):
    """Let Python lose an interrupt that comes in a callback of its own, as of a weak reference: it goes on after it."""
    report, ours = sys.unraisablehook, str(Path(sg.__file__).parent)

    def hook(unraisable):
        frames = traceback.extract_tb(unraisable.exc_traceback)
        if unraisable.exc_type is not KeyboardInterrupt or any(frame.filename.startswith(ours) for frame in frames):
            report(unraisable)

    monkeypatch.setattr(sys, "unraisablehook", hook)


def fresh(name):
    """Return data with a map, but without what is about to be written."""
    adata = duplicate(good())
    written = {"tl.curvature": ("curvature",), "tl.distortion": ("torn", "broken")}.get(name, ())
    for column in [c for c in adata.obs if any(part in c for part in written)]:
        del adata.obs[column]
    return adata


def run(name, adata):
    return call(name, adata, "adata_new" if name == "tl.transform" else "adata", **WRITERS[name])


def test_every_function_that_writes_is_here():
    assert {name for name in FUNCTIONS if name.startswith("tl.")} - WRITERS.keys() == {
        "tl.decode",
        "tl.gap",
        "tl.geodesic",
        "tl.geodesic_distances",
        "tl.metric",
    }


@for_each("name", ["tl.geoae", "tl.transform", "tl.distortion", "tl.evaluate"])
def test_an_interrupt_at_every_line_that_writes(name):
    """It comes before the 1st, 2nd, 3rd … line that sets a slot, until no line is left."""
    module = sys.modules[FUNCTIONS[name].__module__]
    asked, given = [], fresh(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "write", lambda _, *args, **kwargs: asked.append((args, kwargs)))
        run(name, given)
    ((args, kwargs),) = asked
    complete = fresh(name)
    write(complete, *args, **kwargs)
    wanted, lines, n_unchanged = fingerprints(complete), 0, 0
    while True:
        adata = fresh(name)
        before = fingerprints(adata)
        sys.settrace(interrupting_at(lines + 1))
        try:
            write(adata, *args, **kwargs)
        except KeyboardInterrupt:
            sys.settrace(None)
            lines += 1
            # complete where all that was left is to return
            assert fingerprints(adata) in (before, wanted), f"half written by an interrupt at line {lines}"
            n_unchanged += fingerprints(adata) == before
        else:
            break
        finally:
            sys.settrace(None)
    assert fingerprints(adata) == wanted != before
    assert n_unchanged >= 3


def interrupting_at(line):
    seen = 0

    def trace(frame, event, _argument):
        nonlocal seen
        if frame.f_code is not write.__code__:
            return None
        if event == "line":
            seen += 1
            if seen == line:
                raise KeyboardInterrupt
        return trace

    return trace


def test_an_error_while_columns_are_set(monkeypatch):
    adata = fresh("tl.curvature")
    before = fingerprints(adata)
    kind = type(adata.obs)
    original, seen = kind.__setitem__, []

    def failing(self, name, value):
        seen.append(name)
        if len(seen) == 2:
            raise MemoryError
        return original(self, name, value)

    monkeypatch.setattr(kind, "__setitem__", failing)
    with pytest.raises(MemoryError):
        run("tl.curvature", adata)
    monkeypatch.undo()
    assert fingerprints(adata) == before


def interrupted(name, after, rng):
    """Run, with a signal after so many seconds, and return what became of it."""
    adata = fresh(name)
    before = fingerprints(adata)
    timer = threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT))
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        outcome = "unchanged"
        try:
            timer.start()
            run(name, adata)
            outcome = "complete"
            # there is one signal, which must not hit the test itself
            timer.cancel()
            timer.join()
            time.sleep(0.01)
        except KeyboardInterrupt:
            timer.join()
    now = fingerprints(adata)
    if outcome == "unchanged" and now != before:
        # it came after everything was written, on the way out
        outcome = "complete"
    if outcome == "complete":
        changed = {path for path in now if before.get(path) != now[path]}
        complete = fresh(name)
        run(name, complete)
        wanted = fingerprints(complete)
        assert changed == {path for path, value in wanted.items() if before.get(path) != value}
        assert all(now[path] == wanted[path] for path in changed)
    return outcome


def campaign(n, seed):
    rng, found = random.Random(seed), {"unchanged": 0, "complete": 0}
    names = sorted(WRITERS)
    times = {}
    for name in names:
        start = time.perf_counter()
        run(name, fresh(name))
        times[name] = time.perf_counter() - start
    for i in range(n):
        name = names[i % len(names)]
        found[interrupted(name, rng.uniform(0, 1.2 * times[name]), rng)] += 1
    return found


@pytest.mark.usefixtures("_lost")
def test_interrupts_at_random():
    found = campaign(16, seed=0)
    assert sum(found.values()) == 16


@pytest.mark.slow
@pytest.mark.usefixtures("_lost")
def test_a_hundred_interrupts(capsys):
    found = campaign(100, seed=int(time.time()))
    with capsys.disabled():
        sys.stdout.write(f" interrupted: {found} ")
    assert sum(found.values()) == 100
    assert min(found.values()) > 0, found


def test_a_signal_while_training_leaves_the_earlier_map(small):
    sg.tl.geoae(small, n_steps=5, progress_bar=False)
    before = fingerprints(small)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        sg.tl.geoae(small, n_steps=100_000, progress_bar=False)
    timer.join()
    assert fingerprints(small) == before


TRAINING = {
    "tl.geoae": {"key_added": "umap"},
    "tl.geoae, second stage": {"key_added": "umap"},
    "tl.adopt": {"basis": "umap"},
    "tl.distortion": {"basis": "umap"},
}


def train(case, adata, **kwargs):
    """Interrupt the tenth of 40 steps, of which every second is evaluated."""
    seen = []

    def interrupting(real, self, *args, **kwargs):
        seen.append(self)
        if len(seen) == 10:
            raise KeyboardInterrupt
        return real(self, *args, **kwargs)

    kind, method = (refine.Positions if "second" in case else optimizer.AdamW), "step"
    real = getattr(kind, method)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(kind, method, lambda self, *args, **kwargs: interrupting(real, self, *args, **kwargs))
        function = FUNCTIONS[case.split(",")[0]]
        function(adata, n_steps=40, hidden=(8,), progress_bar=False, **TRAINING[case], **kwargs)


@for_each("case", TRAINING)
def test_an_interrupt_of_every_training(case):
    adata = duplicate(good())
    before = fingerprints(adata)
    with pytest.raises(KeyboardInterrupt):
        train(case, adata)
    assert fingerprints(adata) == before
    with pytest.warns(UserWarning, match=r"Interrupted at step \d+ of 40 of the .* kept"):
        train(case, adata, on_interrupt="keep")
    run = adata.uns["umap" if "geoae" in case else "umap_distortion"]
    of = "second stage" if "second" in case else "training"
    assert run["params"]["interrupted_at"] == f"step 9 of 40 of the {of}"
    assert sg.get.provenance(adata, key="umap").loc["interrupted_at", "value"] == run["params"]["interrupted_at"]
    assert np.isfinite(adata.obsm["umap_metric"]).all()
    # what is kept is a map like any other
    sg.tl.transform(duplicate(adata), adata, key="umap")


def test_a_run_that_nobody_interrupted_records_nothing(small):
    kept = sg.tl.geoae(small, n_steps=5, progress_bar=False, on_interrupt="keep", copy=True)
    sg.tl.geoae(small, n_steps=5, progress_bar=False)
    assert fingerprints(kept) == fingerprints(small)


def test_interrupts_while_something_of_the_process_is_set():
    """All is as before, in a process of its own, since what is interrupted at a wrong moment may wait for ever."""
    code = """
import _thread, random, signal, time, numpy, torch
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from threadpoolctl import threadpool_info, threadpool_limits
from scgeoae._runtime import call_within, default_torch_modes, one_blas_thread, training_threads

def interrupt(*_):
    raise KeyboardInterrupt

def elsewhere(function, *args, **kwargs):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args, **kwargs).result(10)

lock = Lock()

@contextmanager
def taking_a_lock():
    call_within(lock, time.sleep, 0)
    yield

settings = {
    "threads": (
        lambda: training_threads(64, torch.device("cpu")),
        lambda: (torch.get_num_threads(), elsewhere(torch.get_num_threads)),
    ),
    "precision": (lambda: training_threads(64, torch.device("cuda")), torch.get_float32_matmul_precision),
    "BLAS": (one_blas_thread, lambda: [library["num_threads"] for library in threadpool_info()]),
    "a lock": (taking_a_lock, lock.locked),
}
torch.set_num_threads(2)
threadpool_limits(2, user_api="blas")
rng = random.Random(0)
signal.signal(signal.SIGALRM, interrupt)
for name, (use, state) in settings.items():
    before, took, n_interrupted = state(), 1e-3, 0
    with use():
        assert name == "a lock" or state() != before, name
    while n_interrupted < 200:
        try:
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, took))
            start = time.perf_counter()
            with use():
                pass
            took = time.perf_counter() - start
            signal.setitimer(signal.ITIMER_REAL, 0)
            # a signal that another thread got is late
            time.sleep(1e-3)
        except KeyboardInterrupt:
            n_interrupted += 1
        # another thread restores the setting, a moment later, and ends
        for _ in range(1000):
            if state() == before and _thread._count() == 0:
                break
            time.sleep(1e-3)
        assert (state(), _thread._count()) == (before, 0), (name, state(), _thread._count())
    assert elsewhere(default_torch_modes(torch.get_num_threads)) == 2
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=120)


@for_each("setting", ["training_threads(64, torch.device('cpu'))", "training_threads(64, CUDA)", "one_blas_thread()"])
def test_a_setting_that_a_kept_traceback_holds_lets_python_end(setting):
    """A Ctrl-C just before or after a block leaves its generator suspended."""
    code = f"""
import sys, numpy, torch
from scgeoae._runtime import one_blas_thread, training_threads
CUDA = torch.device("cuda")
torch.set_num_threads(2)
setting = {setting}
setting.__enter__()
sys.last_traceback = setting
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)


def test_an_error_where_a_setting_is_made_reaches_the_caller():
    @contextmanager
    def failing():
        error = "no such library"
        raise ValueError(error)
        yield

    with pytest.raises(ValueError, match="no such library"):
        call_within(failing(), lambda: None)


def test_interrupts_while_neighbors_are_searched_for_do_not_end_the_process():
    """Threads that go on after a Ctrl-C write into memory that is given back."""
    code = """
import random, signal, time
import numpy as np
import torch
from scgeoae.graphs import nearest_others

torch.set_num_threads(3)

def interrupt(*_):
    raise KeyboardInterrupt

z = np.random.default_rng(0).normal(size=(20_000, 2))
expected = nearest_others(z, 15)
start = time.perf_counter()
nearest_others(z, 15)
took = time.perf_counter() - start
signal.signal(signal.SIGALRM, interrupt)
rng, n_interrupted = random.Random(0), 0
for _ in range(40):
    try:
        signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.05, 1) * took)
        nearest_others(z, 15)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        n_interrupted += 1
assert n_interrupted > 3, n_interrupted
assert np.array_equal(nearest_others(z, 15), expected)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=120)
