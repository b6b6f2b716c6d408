"""Measuring a map of 100,000 cells takes no longer than the map, and at most a gigabyte more."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

CHILD = """
import json, sys, time
from resource import RUSAGE_SELF, getrusage

import numpy as np
from anndata import AnnData

import scgeoae as sg

random = np.random.default_rng(0)
kind = random.integers(20, size=100_000)
cells = 3 * random.normal(size=(20, 50))[kind] + random.normal(size=(len(kind), 50)) / np.arange(1, 51) ** 0.5
adata = AnnData(np.zeros((len(kind), 0), dtype=np.float32), obsm={"X_pca": cells.astype(np.float32)})
adata.obs["kind"] = kind.astype(str)
unit = 1 if sys.platform == "darwin" else 1024
used = {}
for name, call in {
    "map": lambda: sg.tl.geoae(adata, use_rep="X_pca", progress_bar=False),
    "evaluate": lambda: sg.tl.evaluate(adata, groupby="kind"),
}.items():
    start, cpu = time.perf_counter(), time.process_time()
    call()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    used[name] = {"seconds": seconds, "cpu": cpu, "bytes": unit * getrusage(RUSAGE_SELF).ru_maxrss}
print(json.dumps(used))
"""


@pytest.mark.slow
def test_time_and_memory():
    child = subprocess.run([sys.executable, "-W", "ignore", "-c", CHILD], capture_output=True, text=True, check=True)
    used = json.loads(child.stdout.splitlines()[-1])
    assert used["evaluate"]["seconds"] <= used["map"]["seconds"], used
    assert used["evaluate"]["bytes"] - used["map"]["bytes"] < 1e9, used
