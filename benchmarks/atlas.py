"""Measure `sg.tl.atlas` on a simulated atlas on disk: ``python benchmarks/atlas.py [CELLS ...] [OPTIONS]``.

The cells are those of `at_scale.atlas`, 50 components in a zarr store. With ``--genes``, the store has log-normalized
counts of 2,000 genes drawn from these components instead, sparse and without a PCA. A process is a fresh interpreter
that maps the store and ends; its memory is the largest that was resident. Recall is that of 1,000 cells among all. The
type of a cell is that of most of its 15 nearest on the map: of all cells, and of types rarer than 1 in 500. With
``--whole``, `sg.tl.geoae` also maps all cells in memory. With ``--graph``, the metric graph of all cells is written.

With genes, recall is among the components that the cells were drawn from. ``genes`` is the correlation, over genes,
between the mean of the 1,000 cells around one on the map and what the map decodes there, both relative to the mean of
all cells: the median over 200 places.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd
from anndata import AnnData
from at_scale import atlas, recall, told
from scipy import sparse

import scgeoae as sg

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESULTS = Path(__file__).parent / "results"
N_COMPARED, N_GENES, BLOCK = 10, 2000, 2**16
# Counts of a cell, so that about one in ten genes has some.
DEPTH = 350
N_DECODED, N_AROUND = 200, 1000
PROGRAM = """
import json, sys, time
import numpy as np
import anndata
import scgeoae as sg
from scgeoae._anndata import blockwise
from scgeoae.tl import _atlas

path, n_sample, use_rep, call = sys.argv[1], int(sys.argv[2]), sys.argv[3] or None, sys.argv[4]
seconds, geoae, write_graph = {"graph": 0}, _atlas.geoae, blockwise.write_graph

def timed(*args, **kwargs):
    seconds["before"] = time.perf_counter() - start
    began = time.perf_counter()
    geoae(*args, **kwargs)
    seconds["map"] = time.perf_counter() - began

def timed_graph(*args, **kwargs):
    began = time.perf_counter()
    write_graph(*args, **kwargs)
    seconds["graph"] = time.perf_counter() - began

_atlas.geoae, blockwise.write_graph = timed, timed_graph
start = time.perf_counter()
if call == "geoae":
    cells = anndata.read_zarr(path)
    timed(cells, use_rep=use_rep, progress_bar=False)
    np.save(path + ".npy", cells.obsm["X_geoae"])
else:
    sample = sg.tl.atlas(path, n_sample=n_sample, use_rep=use_rep, graph=call == "graph", progress_bar=False)
seconds["all"] = time.perf_counter() - start
# of this process alone; what `resource` returns can be that of the process that started it
seconds["GB"] = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 2**20
print(json.dumps(seconds))
"""


def write_components(path: Path, x: NDArray) -> None:
    cells = AnnData(obs=pd.DataFrame(index=pd.RangeIndex(len(x)).astype(str)), obsm={"X_pca": x})
    cells.write_zarr(path, chunks=(BLOCK, x.shape[1]))


def write_genes(path: Path, x: NDArray) -> None:
    """Write genes whose logarithms are linear in the components, drawn and written in blocks."""
    import zarr

    random = np.random.default_rng(1)
    loadings = random.normal(size=(x.shape[1], N_GENES)) * (random.random((x.shape[1], N_GENES)) < 0.1)
    loadings *= 1.5 / np.maximum((x[:BLOCK] @ loadings).std(0), 1e-6)  # some genes vary with none
    level = random.normal(size=N_GENES) - x[:BLOCK].mean(0) @ loadings
    names = pd.DataFrame(index=pd.RangeIndex(len(x)).astype(str)), pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)])
    AnnData(None, *names).write_zarr(path)
    root = zarr.open_group(path, mode="r+", use_consolidated=False)
    for start in range(0, len(x), BLOCK):
        rate = np.exp(np.minimum(x[start : start + BLOCK] @ loadings + level, 8), dtype=np.float32)
        counts = random.poisson(DEPTH * rate / rate.sum(1, keepdims=True)).astype(np.float32)
        block = sparse.csr_matrix(np.log1p(counts * (1e4 / np.maximum(counts.sum(1, keepdims=True), 1))))
        if start == 0:
            anndata.io.write_elem(root, "X", block)
        else:
            anndata.io.sparse_dataset(root["X"]).append(block)
    zarr.consolidate_metadata(path)


def decoded(path: Path, z: NDArray) -> float:
    """Return how well genes that are decoded from the map agree with those of the cells there."""
    from scipy.spatial import KDTree

    whole = anndata.experimental.read_lazy(path)
    sample = whole[np.asarray(whole.uns["geoae"]["sample"])].to_memory()
    at = np.random.default_rng(0).choice(len(z), N_DECODED, replace=False)
    tree = KDTree(np.asarray(sample.obsm["X_geoae"]))
    values = sg.tl.decode(sample, z[at], genes=list(sample.var_names)).X
    around = np.array([sample.X[rows].mean(0).A1 for rows in tree.query(z[at], N_AROUND)[1]])
    mean = sample.X.mean(0).A1
    return float(np.median([np.corrcoef(a - mean, b - mean)[0, 1] for a, b in zip(values, around, strict=True)]))


def run(path: Path, n_sample: int, use_rep: str, call: str) -> dict[str, float]:
    command = [sys.executable, "-c", PROGRAM, str(path), str(n_sample), use_rep, call]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def measure(n: int, n_sample: int, folder: Path, *, genes: bool, whole: bool, graph: bool) -> list[dict[str, object]]:
    import zarr

    x, kind, share = atlas(n)
    path = folder / f"{n}.zarr"
    (write_genes if genes else write_components)(path, x)
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 2**30
    rows = []
    for call in ["atlas", *(["geoae"] if whole else [])]:
        found = run(path, n_sample, "" if genes else "X_pca", "graph" if graph and call == "atlas" else call)
        z = np.load(f"{path}.npy") if call == "geoae" else zarr.open_group(path, mode="r")["obsm/X_geoae"][:]
        of_all, of_rare = told(z, kind, share)
        row = {
            "cells": n,
            "call": f"sg.tl.{call}",
            "store (GB)": round(size, 2),
            "reading (s)": round(found["before"]),
            "map (s)": round(found["map"]),
            "placing (s)": round(found["all"] - found["map"] - found["before"] - found["graph"]),
            "graph (s)": round(found["graph"]),
            "in all (s)": round(found["all"]),
            "peak memory (GB)": round(found["GB"], 2),
            f"recall at {N_COMPARED}": round(recall(x, z, N_COMPARED), 4),
            "recall at 100": round(recall(x, z, 100), 4),
            "types": round(of_all, 3),
            "rare types": round(of_rare, 3),
        }
        if genes and call == "atlas":
            row["genes"] = round(decoded(path, z), 3)
        rows.append(row)
        print(row, flush=True)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", type=int, nargs="*", default=[100_000, 1_000_000], metavar="CELLS")
    parser.add_argument("--n-sample", type=int, default=100_000)
    parser.add_argument("--genes", action="store_true")
    parser.add_argument("--whole", action="store_true", help="map all cells in memory, too, except beyond a million")
    parser.add_argument("--graph", action="store_true", help="write the metric graph of all cells, too")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    rows = []
    for n in args.sizes:
        with tempfile.TemporaryDirectory() as folder:
            whole = args.whole and n <= 10**6
            rows += measure(n, args.n_sample, Path(folder), genes=args.genes, whole=whole, graph=args.graph)
    of_atlas = {row["cells"]: row["in all (s)"] for row in rows if row["call"] == "sg.tl.atlas"}
    growth = [
        f"From {a:,} to {b:,} cells the time grows with the power {math.log(of_atlas[b] / of_atlas[a], b / a):.2f}."
        for a, b in zip(args.sizes, args.sizes[1:], strict=False)
    ]
    print("\n".join(growth))
    if args.write:
        table = pd.DataFrame(rows).fillna("").to_markdown(index=False)
        options = [f"--{name}" for name in ("genes", "whole", "graph") if getattr(args, name)]
        call = " ".join(["python benchmarks/atlas.py", *map(str, args.sizes), f"--n-sample {args.n_sample}", *options])
        parts = ["# Atlases on disk", f"`{call}`", table, *growth]
        (RESULTS / f"atlas{'_genes' if args.genes else ''}.md").write_text("\n\n".join(parts) + "\n")
