"""Several processes that train one model together, against one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import anndata
import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from torch import distributed

from scgeoae.nn.mlp import ResidualMlp
from scgeoae.training.device import falls_back
from scgeoae.training.distributed import ALONE, Processes, processes

from ..processes.digest import trained
from . import group
from .test_loop import plain

CASES = ("steps", "averages", "maps", "interrupted", "unlike", "lost")
PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"
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


def test_only_nccl_can_be_captured(monkeypatch):
    two, device = Processes(0, 2), torch.device("cuda")
    for backend, can in {"cpu:gloo,cuda:nccl": True, "cpu:gloo,cuda:gloo": False, "cuda:nccl": True}.items():
        monkeypatch.setattr(distributed, "get_backend_config", lambda backend=backend: backend)
        assert two.can_capture(device) == can
    assert ALONE.can_capture(device)


def test_one_of_several_processes_does_not_go_on_alone_where_its_device_fails(monkeypatch):
    error = RuntimeError("CUDA error: an illegal memory access")
    with pytest.warns(UserWarning, match="computing on the CPU instead"):
        assert falls_back(error, "auto", torch.device("cuda"))
    monkeypatch.setattr("scgeoae.training.device.processes", lambda: Processes(1, 2))
    with pytest.raises(RuntimeError, match="give device='cpu' in each process"):
        falls_back(error, "auto", torch.device("cuda"))


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
def test_what_a_training_averages(of_two):
    first, second = of_two("averages")
    n_steps = group.SHORT["n_steps"]
    # also those of the autoencoder without penalties, and the errors of both while the factor adapts
    assert n_steps < len(first["gradients/own"]) < 2 * n_steps
    assert 0.3 * n_steps < len(first["errors/own"]) < 0.6 * n_steps
    for name in ("gradients", "errors"):
        own = [found[f"{name}/own"] for found in (first, second)]
        assert (own[0] != own[1]).any(1).all()
        for found in (first, second):
            np.testing.assert_allclose(found[f"{name}/used"], (own[0] + own[1]) / 2, rtol=1e-6, atol=1e-9)


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


@needs_gloo
@pytest.mark.slow
@pytest.mark.skipif(not PAGE.is_file(), reason="a source distribution has no docs")
def test_script_of_the_documentation_makes_a_map_as_good_as_that_of_one_process(tmp_path, fitted):
    script, command = re.findall(
        r"```(?:python|bash)\n(.*?)```", PAGE.read_text().split("## Several processes")[1], re.DOTALL
    )[:2]
    (tmp_path / "train.py").write_text(script)
    assert command.startswith("torchrun ")
    run_all([[sys.executable, "-m", "torch.distributed.run", *command.split()[1:]]], tmp_path)
    found = anndata.read_h5ad(tmp_path / "map.h5ad")
    assert found.uns["geoae"]["params"]["environment"]["n_processes"] == 2
    x, kept = found.obsm["X_pca"], []
    for z in (found.obsm["X_geoae"], fitted.obsm["X_geoae"]):
        near_x, near_z = (NearestNeighbors(n_neighbors=10).fit(at).kneighbors(return_distance=False) for at in (x, z))
        kept.append((near_x[:, :, None] == near_z[:, None]).any(2).mean())
    assert kept[0] > kept[1] - 0.02
    scores = [each.uns["geoae"]["scores"] for each in (found, fitted)]
    for name, factor in {"MSE_held_out": 1.1, "VPres": 1.5, "ISO": 1.5}.items():
        assert scores[0][name] < factor * scores[1][name], name
