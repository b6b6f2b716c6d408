"""A training gives the same bits wherever it runs."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event

import numpy as np
import pytest
import torch

import scgeoae as sg
from scgeoae._runtime import default_torch_modes, training_threads
from scgeoae.nn.arrays import NewerFormatError

from ..for_each import for_each
from .digest import digest, train, trained

TIMEOUT = 120
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def four_threads():
    """Let PyTorch compute on four threads, whatever the tests run on."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def of_a_new_thread() -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.get_num_threads).result()


def test_again_in_one_process():
    assert trained(0) == trained(0)


@pytest.mark.usefixtures("four_threads")
def test_in_threads_at_a_time():
    alone = [trained(seed) for seed in (0, 1, 2)]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(trained, (0, 1, 2), timeout=TIMEOUT))
        assert together == alone
        assert {pool.submit(torch.get_num_threads).result() for _ in range(6)} == {4}
    assert torch.get_num_threads() == of_a_new_thread() == 4


@pytest.mark.usefixtures("four_threads")
def test_number_of_threads_is_given_back_whichever_training_ends_first():
    began, ended = Barrier(2, timeout=TIMEOUT), Barrier(2, timeout=TIMEOUT)

    def first() -> list[int]:
        with training_threads(8, CPU):
            began.wait()
            within = torch.get_num_threads()
        ended.wait()
        return [within, torch.get_num_threads()]

    def second() -> list[int]:
        began.wait()
        before = torch.get_num_threads()
        with training_threads(8, CPU):
            ended.wait()
            within = torch.get_num_threads()
        return [before, within, torch.get_num_threads()]

    with ThreadPoolExecutor(2) as pool:
        results = [pool.submit(each) for each in (first, second)]
        assert [each.result() for each in results] == [[1, 4], [4, 1, 4]]
    assert torch.get_num_threads() == of_a_new_thread() == 4


@pytest.mark.usefixtures("four_threads")
def test_number_of_threads_of_a_training_is_not_inherited(monkeypatch):
    began, ended = Event(), Event()
    set_num_threads, train_threads = torch.set_num_threads, training_threads(8, CPU)

    def slowly(threads: int) -> None:
        set_num_threads(threads)
        if threads == 1:
            began.set()
            # the other thread waits for this one, unless it goes on with the wrong number
            ended.wait(0.2)

    def first_use() -> int:
        began.wait(TIMEOUT)
        found = default_torch_modes(torch.get_num_threads)()
        ended.set()
        return found

    with ThreadPoolExecutor(2) as pool:
        of_other = pool.submit(first_use)
        monkeypatch.setattr(torch, "set_num_threads", slowly)
        pool.submit(train_threads.__enter__).result(TIMEOUT)
        assert of_other.result(TIMEOUT) == 4


def test_precision_is_given_back_by_the_last_training():
    before = torch.get_float32_matmul_precision()
    first, second = training_threads(8, CUDA), training_threads(8, CUDA)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert torch.get_float32_matmul_precision() == "high"
    with training_threads(8, CPU):
        pass
    assert torch.get_float32_matmul_precision() == "high"
    second.__exit__(None, None, None)
    assert torch.get_float32_matmul_precision() == before


@for_each("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.usefixtures("four_threads")
def test_number_of_threads_is_given_back_after_an_error(error):
    with pytest.raises(error), training_threads(8, CPU):
        raise error
    assert torch.get_num_threads() == of_a_new_thread() == 4


def check_children(*methods: str) -> None:
    """Compare trainings in a program with those in its children, all of two threads."""
    program = Path(__file__).with_name("children.py")
    run = subprocess.run(
        [sys.executable, program, *methods],
        env=os.environ | {"OMP_NUM_THREADS": "2", "PYTHONPATH": os.pathsep.join(map(str, sys.path))},
        capture_output=True,
        text=True,
        check=False,
        timeout=3 * TIMEOUT,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["n_threads"] == 2
    for method in methods:
        assert found[method] == found["alone"][: len(found[method])], method


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere a fork is not safe or not there")
def test_in_a_forked_child_after_a_training():
    check_children("fork")


@pytest.mark.slow
def test_in_spawned_children_and_those_of_joblib():
    check_children("spawn", "loky")


def test_model_survives_pickling_and_copying():
    adata = train()
    model = sg.get.model(adata)
    x = torch.from_numpy(adata.X[:5])
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert torch.equal(again.encode(x), model.encode(x))
        assert torch.equal(again.decode(again.encode(x)), model.decode(model.encode(x)))
    for again in (pickle.loads(pickle.dumps(adata)), copy.deepcopy(adata), adata.copy()):
        assert digest(again) == digest(adata)


def test_errors_survive_pickling():
    adata = train()
    adata.X[3, 2] = np.nan
    with pytest.raises(ValueError, match="finite") as of_values:
        sg.tl.geoae(adata)
    with pytest.raises(KeyError, match=r"sg\.tl") as of_keys:
        sg.get.model(adata, key="nothing")
    for error in (of_values.value, of_keys.value, NewerFormatError("Update scgeoae.")):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert str(again) == str(error)


def test_progress_bar_in_a_thread(capfd):
    with ThreadPoolExecutor(1) as pool:
        adata = pool.submit(train, progress_bar=True).result(TIMEOUT)
    assert digest(adata) == trained()
    assert "Traceback" not in capfd.readouterr().err
