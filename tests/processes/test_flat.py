"""What a process holds does not grow with the number of trainings in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

# in a process of its own, in which no other test has left anything
PROGRAM = """
import ctypes, gc, json, os, sys, tempfile, warnings
import matplotlib as mpl
mpl.use("Agg")
import matplotlib.pyplot as plt
import scanpy as sc
import torch
import scgeoae as sg

# what glibc keeps for the next allocation, which comes and goes by tens of MB, is not held by anything
give_back = getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)

def held():
    gc.collect()
    give_back(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some objects warn when asked for their class
        tensors = sum(isinstance(each, torch.Tensor) for each in gc.get_objects())
    # that of getrusage is what the parent held at its fork, if that was more
    with open("/proc/self/status") as file:
        kilobytes = dict(line.split()[:2] for line in file if line.startswith("Vm"))
    return {
        "threads": len(os.listdir("/proc/self/task")),
        "open files": len(os.listdir("/proc/self/fd")),
        "tensors": tensors,
        "figures": len(plt.get_fignums()),
        "temporary files": len(os.listdir(tempfile.gettempdir())),
        "MB": int(kilobytes["VmRSS:"]) * 1024 / 1e6,
        "MB at the peak": int(kilobytes["VmHWM:"]) * 1024 / 1e6,
    }

n_cells, n_steps, *moments = map(int, sys.argv[1:])
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the file was written by an old anndata
    cells = sc.datasets.pbmc68k_reduced()[:n_cells].copy()
found = []
for i in range(1, max(moments) + 1):
    adata = cells.copy()
    sg.tl.geoae(adata, n_steps=n_steps, progress_bar=False)
    sg.pl.indicatrices(adata, show=False)
    plt.close("all")
    sg.get.model(adata)
    del adata
    gc.collect()  # closed figures refer to themselves
    if i in moments:
        found.append({"trainings": i} | held())
print(json.dumps(found))
"""


def holds(tmp_path, n_cells: int, n_steps: int, moments: tuple[int, ...]) -> list[dict[str, float]]:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, (n_cells, n_steps, *moments))],
        env=os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(map(str, sys.path))},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    print(*found, sep="\n")  # noqa: T201 -- with -s
    return found


def assert_flat(found: list[dict[str, float]], *, growth: float) -> None:
    first, last = found[0], found[-1]
    in_mb = {"MB", "MB at the peak"}
    counted = first.keys() - in_mb - {"trainings"}
    assert {key: last[key] for key in counted} == {key: first[key] for key in counted}
    assert {key: last[key] for key in in_mb if last[key] - first[key] > growth} == {}


@pytest.mark.slow
def test_eight_trainings(tmp_path):
    assert_flat(holds(tmp_path, 200, 20, (3, 11)), growth=20)


@pytest.mark.slow
def test_fifty_trainings(tmp_path):
    found = holds(tmp_path, 700, 50, (5, 10, 25, 50))
    assert_flat(found[1:], growth=20)
