"""Several processes that train one model together, against one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed

from scgeoae.nn.mlp import ResidualMlp
from scgeoae.training.distributed import ALONE, Processes, processes

from ..processes.digest import trained
from . import group
from .test_loop import plain

CASES = ("steps", "gradients", "maps", "interrupted", "unlike", "lost")
# seconds for a group to do all of this on a busy machine
TIMEOUT = 400
needs_gloo = pytest.mark.skipif(
    not (distributed.is_available() and distributed.is_gloo_available()), reason="torch without gloo"
)


def run_all(commands: list[list[str]], folder: Path) -> None:
    """Run some programs at the same time, and see that all end well."""
    root = str(Path(__file__).parents[2])
    env = os.environ | {"PYTHONPATH": os.pathsep.join([root, *sys.path]), "OMP_NUM_THREADS": "1"}
    outputs = [(folder / f"output{i}").open("w+") for i in range(len(commands))]
    running = [
        subprocess.Popen(command, env=env, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        for command, output in zip(commands, outputs, strict=True)
    ]
    deadline = time.monotonic() + TIMEOUT
    try:
        codes = [each.wait(max(deadline - time.monotonic(), 1)) for each in running]
    finally:
        for each in running:
            each.kill()
            each.wait()
        said = []
        for output in outputs:
            output.seek(0)
            said.append(output.read()[-3000:])
            output.close()
    assert not any(codes), "\n".join(said)


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    """Return what each of two processes found in a case."""
    folder = tmp_path_factory.mktemp("group")
    program = str(Path(group.__file__))
    run_all([[sys.executable, program, str(rank), "2", str(folder), *CASES] for rank in range(2)], folder)
    return lambda case: [dict(np.load(path)) for path in sorted(folder.glob(f"{case}?.npz"))]


def test_without_a_group_there_is_one_process():
    assert processes() is ALONE
    generator = torch.Generator().manual_seed(3)
    before, x = generator.get_state(), torch.ones(2)
    ALONE.own_streams(3, generator)
    assert generator.get_state().equal(before)
    assert ALONE.average(x) is x
    assert ALONE.of_first(x) is x


def test_each_process_has_random_numbers_of_its_own():
    def numbers(rank: int, seed: int) -> list[float]:
        own = torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
        Processes(rank, 3).own_streams(seed, *own)
        return [torch.rand((), generator=each).item() for each in own]

    # of two seeds and three processes; those of the first are those of the seed
    assert numbers(0, 5) == [torch.rand((), generator=torch.Generator().manual_seed(5)).item()] * 2
    found = [number for seed in (5, 6) for rank in range(3) for number in numbers(rank, seed)]
    assert len(set(found)) == 10
    assert numbers(2, 5) == numbers(2, 5)


@needs_gloo
def test_a_group_of_one_process_trains_as_it_does_alone(tmp_path):
    alone = trained()
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        assert processes() == Processes(0, 1)
        assert trained() == alone
    finally:
        distributed.destroy_process_group()


@needs_gloo
@pytest.mark.slow
def test_steps_follow_the_mean_of_the_gradients(of_two):
    """Against plain networks, autograd and the optimizer of torch, in one process."""
    model = group.network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.03)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.03, total_steps=group.N_STEPS)
    expected = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ResidualMlp, "fused", plain)
        for batches in zip(group.stream(0), group.stream(1), strict=True):
            optimizer.zero_grad()
            for batch in batches:
                (group.OBJECTIVE(model, batch).total / 2).backward()
            optimizer.step()
            schedule.step()
            expected.append(group.weights(model))
    for found in of_two("steps"):
        np.testing.assert_allclose(found["weights"], expected, rtol=1e-7, atol=1e-9)


@needs_gloo
@pytest.mark.slow
def test_gradients_of_a_training_are_averaged(of_two):
    first, second = of_two("gradients")
    # those of the autoencoder without penalties, too
    assert group.SHORT["n_steps"] < len(first["own"]) < 2 * group.SHORT["n_steps"]
    assert (np.abs(first["own"] - second["own"]).max(1) > 0).all()
    mean = (first["own"] + second["own"]) / 2
    for found in (first, second):
        np.testing.assert_allclose(found["used"], mean, rtol=1e-6, atol=1e-9)


@needs_gloo
@pytest.mark.slow
def test_all_processes_end_with_the_same_bits(of_two):
    first, second = of_two("maps")
    assert {name.split("/")[0] for name in first} == {*group.KINDS, "decoder"}
    for name, value in first.items():
        assert np.isfinite(value).all(), name
        np.testing.assert_array_equal(value, second[name], err_msg=name)


@needs_gloo
@pytest.mark.slow
def test_batches_of_all_processes_count(of_two):
    """The map is that of the first process's batches where there is no other."""
    together = of_two("maps")[0]
    alone = group.maps(0)
    assert not np.allclose(together["one stage/weights"], alone["one stage/weights"], atol=1e-3)
    # and is as good
    loss = {name: each["one stage/history"][1:4].sum(0) for name, each in {"2": together, "1": alone}.items()}
    assert loss["2"][-1] < 1.1 * loss["1"][-1]


@needs_gloo
@pytest.mark.slow
def test_an_interrupt_in_one_process_ends_all_at_the_same_step(of_two):
    first, second = of_two("interrupted")
    # an evaluation comes every second step
    assert first["at"] == second["at"] == "step 12 of 40 of the training"
    assert (
        first["said"] == second["said"] == "Interrupted at step 12 of 40 of the training; the state of step 12 is kept."
    )
    assert first["raised"] == second["raised"] == "KeyboardInterrupt"
    for name in ("z", "weights", "history"):
        np.testing.assert_array_equal(first[name], second[name])


@needs_gloo
@pytest.mark.slow
def test_processes_with_other_cells_or_arguments_are_an_error(of_two):
    for found in of_two("unlike"):
        assert len(found["said"]) == 3
        for said in found["said"]:
            assert "but rank 1 has other cells or arguments than rank 0." in said


@needs_gloo
@pytest.mark.slow
def test_a_process_that_dies_leaves_the_others_with_an_error(of_two):
    (found,) = of_two("lost")
    assert found["said"]
