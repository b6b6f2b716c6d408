"""Measure the metric graph of all cells in a store: ``python benchmarks/stored_graph.py [CELLS]``.

The positions are those of a mixture of 200 Gaussians with random metric tensors, in the folder in which `sg.tl.atlas`
gathers results. The graph is made in a fresh interpreter; its memory is the largest that was resident.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from scgeoae._anndata.store import Unfinished

N_NEIGHBORS, BLOCK = 15, 2**16
PROGRAM = """
import sys, time
from pathlib import Path
from scgeoae import tl
from scgeoae._anndata.store import Unfinished
from scgeoae._anndata.stored_graph import write_graph

start = time.perf_counter()
write_graph(Unfinished(Path(sys.argv[1])), "geoae", int(sys.argv[2]), progress_bar=False)
seconds = time.perf_counter() - start
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(f"{seconds:.0f} s, peak {peak / 2**20:.2f} GB", end="")
"""


def place(store: Unfinished, n: int) -> None:
    """Write positions and metric tensors of n cells."""
    rng = np.random.default_rng(0)
    centers = 10 * rng.normal(size=(200, 2))

    def block(m: int) -> dict[tuple[str, str], np.ndarray]:
        z = centers[rng.integers(200, size=m)] + rng.normal(size=(m, 2))
        root = np.eye(2) + 0.3 * rng.normal(size=(m, 2, 2))
        metric = (root.transpose(0, 2, 1) @ root)[:, [0, 0, 1], [0, 1, 1]]
        return {("obsm", "X_geoae"): z.astype(np.float32), ("obsm", "geoae_metric"): metric.astype(np.float32)}

    store.begin({"cells": n})
    store.create(block(2), n, BLOCK)
    for start in range(0, n, BLOCK):
        stop = min(start + BLOCK, n)
        store.write(np.arange(start, stop), block(stop - start))


def main() -> None:
    """Measure one number of cells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("n", nargs="?", type=int, default=10_000_000, metavar="CELLS")
    n = parser.parse_args().n
    with tempfile.TemporaryDirectory() as folder:
        store = Unfinished(Path(folder) / "cells.zarr")
        place(store, n)
        command = [sys.executable, "-c", PROGRAM, store.out, str(N_NEIGHBORS)]
        found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        size = sum(path.stat().st_size for path in store.obsp.rglob("*") if path.is_file())
    print(f"{n:,} cells, {N_NEIGHBORS} neighbors: {found}, {size / 2**30:.2f} GB on disk")


if __name__ == "__main__":
    main()
