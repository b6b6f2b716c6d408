"""Measure `sg.tl.atlas` on a simulated atlas on disk: ``python benchmarks/atlas.py [CELLS ...] [--write]``.

The cells are those of `at_scale.atlas`, 50 components in a zarr store. A process is a fresh interpreter that maps the
store and ends; its memory is the largest that was resident. Recall is that of 1,000 cells among all. The type of a cell
is that of most of its 15 nearest on the map: of all cells, and of types rarer than 1 in 500.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from at_scale import atlas, recall, told

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESULTS = Path(__file__).parent / "results"
N_COMPARED = 10
PROGRAM = """
import json, resource, sys, time
import scgeoae as sg
from scgeoae.tl import _atlas

seconds, geoae = {}, _atlas.geoae

def timed(*args, **kwargs):
    seconds["before the map of the sample"] = time.perf_counter() - start
    began = time.perf_counter()
    geoae(*args, **kwargs)
    seconds["map of the sample"] = time.perf_counter() - began

_atlas.geoae = timed
start = time.perf_counter()
sg.tl.atlas(sys.argv[1], n_sample=int(sys.argv[2]), use_rep="X_pca", progress_bar=False)
seconds["in all"] = time.perf_counter() - start
print(json.dumps({**seconds, "GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}))
"""


def write_store(path: Path, x: NDArray) -> None:
    from anndata import AnnData

    cells = AnnData(obs=pd.DataFrame(index=pd.RangeIndex(len(x)).astype(str)), obsm={"X_pca": x})
    cells.write_zarr(path, chunks=(2**16, x.shape[1]))


def measure(n: int, n_sample: int, folder: Path) -> dict[str, object]:
    import zarr

    x, kind, share = atlas(n)
    path = folder / f"{n}.zarr"
    write_store(path, x)
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), str(n_sample)], capture_output=True, text=True, check=True
    )
    found = json.loads(run.stdout.splitlines()[-1])
    z = zarr.open_group(path, mode="r")["obsm/X_geoae"][:]
    of_all, of_rare = told(z, kind, share)
    placing = found["in all"] - found["map of the sample"] - found["before the map of the sample"]
    return {
        "cells": n,
        "sample": n_sample,
        "map of the sample (s)": round(found["map of the sample"]),
        "placing (s)": round(placing),
        "in all (s)": round(found["in all"]),
        "peak memory (GB)": round(found["GB"], 2),
        f"recall at {N_COMPARED}": round(recall(x, z, N_COMPARED), 3),
        "types": round(of_all, 3),
        "rare types": round(of_rare, 3),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", type=int, nargs="*", default=[100_000, 1_000_000], metavar="CELLS")
    parser.add_argument("--n-sample", type=int, default=100_000)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    rows = []
    for n in args.sizes:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(n, args.n_sample, Path(folder)))
        print(rows[-1], flush=True)
    if args.write:
        table = pd.DataFrame(rows).to_markdown(index=False)
        call = " ".join(["python benchmarks/atlas.py", *map(str, args.sizes), f"--n-sample {args.n_sample}"])
        (RESULTS / "atlas.md").write_text(f"# Atlases on disk\n\n`{call}`\n\n{table}\n")
