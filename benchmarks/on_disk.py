"""Measure what each function takes on a map of cells on disk: ``python benchmarks/on_disk.py [CELLS ...] [--write]``.

`sg.tl.atlas` maps the simulated cells of `at_scale.atlas`, 50 components in a zarr store. Each function is then called
in a fresh interpreter on the store, which is read lazily. Its memory is the largest that was resident; ``imports`` is
what the interpreter takes alone, and ``size of X_pca`` what the components of all cells would take.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import zarr
from at_scale import atlas
from atlas import write_components

RESULTS = Path(__file__).parent / "results"
CALLS = {
    "imports": "None",
    "get.metric_tensors": "sg.get.metric_tensors(adata)",
    "get.scores": "sg.get.scores(adata)",
    "get.card": "sg.get.card(adata)",
    "tl.decode": "sg.tl.decode(adata, [[0, 0]])",
    "tl.evaluate": "sg.tl.evaluate(adata, basis='geoae', groupby='type', n_sample=1000)",
    "tl.evaluate, n_sample=3000": "sg.tl.evaluate(adata, basis='geoae', groupby='type')",
    "tl.transform of 1,000 cells": "sg.tl.transform(new(adata), adata, use_rep='X_pca')",
    "tl.curvature": "sg.tl.curvature(adata)",
    "tl.density": "sg.tl.density(adata)",
    "tl.gap": "sg.tl.gap(adata, '0', '1', groupby='type')",
    "tl.residual": "sg.tl.residual(adata)",
    "tl.distortion": "sg.tl.distortion(adata, basis='geoae')",
    "pl.embedding": "sg.pl.embedding(adata, color='type', show=False)",
    "pl.indicatrices": "sg.pl.indicatrices(adata, color='type', show=False)",
    "pl.jacobian_heatmap": "sg.pl.jacobian_heatmap(adata, show=False)",
}
MAP = """
import sys
import scgeoae as sg

sg.tl.atlas(sys.argv[1], n_sample=int(sys.argv[2]), use_rep="X_pca", progress_bar=False)
"""
PROGRAM = """
import json, sys, time, warnings
import anndata, matplotlib, numpy as np
import scgeoae as sg

matplotlib.use("Agg")
adata = anndata.experimental.read_lazy(sys.argv[1])

def new(adata):
    return anndata.AnnData(obsm={"X_pca": np.asarray(adata.obsm["X_pca"][:1000])})

start = time.perf_counter()
exec(sys.argv[2])
seconds = time.perf_counter() - start
# of this process alone; what `resource` returns can be that of the process that started it
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"s": seconds, "GB": peak / 2**20}))
"""


def mapped_store(n: int, n_sample: int, folder: Path) -> Path:
    """Return a store of simulated cells and their types, with the map of all of them."""
    x, kind, _ = atlas(n)
    path = folder / "cells.zarr"
    write_components(path, x)
    # the most frequent type is 0
    rank = np.argsort(np.argsort(-np.bincount(kind)))
    obs = pd.DataFrame({"type": pd.Categorical(rank[kind].astype(str))}, index=pd.RangeIndex(n).astype(str))
    anndata.io.write_elem(zarr.open_group(path, mode="r+", use_consolidated=False), "obs", obs)
    zarr.consolidate_metadata(path)
    subprocess.run([sys.executable, "-c", MAP, str(path), str(n_sample)], check=True)
    return path


def measure(name: str, path: Path) -> dict[str, float]:
    command = [sys.executable, "-c", PROGRAM, str(path), CALLS[name]]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", type=int, nargs="*", default=[100_000, 1_000_000], metavar="CELLS")
    parser.add_argument("--n-sample", type=int, default=100_000)
    parser.add_argument("--calls", nargs="*", default=list(CALLS), choices=list(CALLS))
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    rows = []
    for n in args.sizes:
        with tempfile.TemporaryDirectory() as folder:
            path = mapped_store(n, args.n_sample, Path(folder))
            rows.append({"cells": n, "call": "size of X_pca", "s": None, "GB": round(n * 50 * 4 / 2**30, 3)})
            for name in args.calls:
                found = measure(name, path)
                rows.append({"cells": n, "call": name, "s": round(found["s"], 1), "GB": round(found["GB"], 2)})
                print(rows[-1], flush=True)
    if args.write:
        call = " ".join(["python benchmarks/on_disk.py", *map(str, args.sizes), f"--n-sample {args.n_sample}"])
        table = pd.DataFrame(rows).to_markdown(index=False)
        (RESULTS / "on_disk.md").write_text(f"# Maps of cells on disk\n\n`{call}`\n\n{table}\n")
