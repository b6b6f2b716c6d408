"""Place many new cells by the public call, in fresh processes: ``python benchmarks/new_cells.py [--write]``.

New cells and the 100,000 of the reference are drawn near those of PBMC 3k, as `speed.py` does. The map is made once
without refinement and once with the defaults. A process then reads both AnnDatas and calls `scgeoae.tl.transform`;
times are those of the call alone: processor seconds, which other work on the machine changes less, and wall seconds.
The peak of resident memory is that of the whole process, with both AnnDatas and all packages. The encoder's matrix
products alone, on as many threads, say what the machine could do. The table goes into
``benchmarks/results/using_new_cells.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from speed import draw

RESULTS = Path(__file__).parent / "results"
N_REFERENCE = 100_000
# new cells, by how the map is made
SIZES = {"encoder": 1_000_000, "default": 200_000}
BLOCK = 16_384


def seconds() -> tuple[float, float]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), usage.ru_utime + usage.ru_stime


def peak() -> float:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def make(folder: Path) -> None:
    """Draw reference and new cells from one stream, so that they differ, and make both maps."""
    import anndata

    import scgeoae as sg

    draw(N_REFERENCE + max(SIZES.values()), folder / "all.h5ad")
    cells = anndata.read_h5ad(folder / "all.h5ad")
    for kind, size in SIZES.items():
        cells[N_REFERENCE : N_REFERENCE + size].copy().write_h5ad(folder / f"new_{kind}.h5ad")
        known = cells[:N_REFERENCE].copy()
        refine = False if kind == "encoder" else None
        sg.tl.geoae(known, use_rep="X_pca", refine=refine, progress_bar=False)
        known.write_h5ad(folder / f"known_{kind}.h5ad")


def place(folder: Path, kind: str) -> dict[str, float]:
    import anndata
    import torch

    import scgeoae as sg

    known, new = (anndata.read_h5ad(folder / f"{which}_{kind}.h5ad") for which in ("known", "new"))
    model = sg.get.model(known)
    x = torch.from_numpy(np.asarray(new.obsm["X_pca"][:BLOCK]))
    weights = [model.encoder.linear.detach().T, *(w.detach().T for w in model.encoder.bend.weights)]
    spent = []
    for _ in range(new.n_obs // BLOCK + 1):
        start = seconds()
        torch.mm(x, weights[0])
        hidden = x
        for weight in weights[1:]:
            hidden = torch.mm(hidden, weight)
        spent.append([after - before for before, after in zip(start, seconds(), strict=True)])
    products = np.median(spent, axis=0) / len(x)
    # compiled once per installation
    sg.tl.transform(new[:100].copy(), known, use_rep="X_pca")
    start = seconds()
    sg.tl.transform(new, known, use_rep="X_pca")
    wall, processor = (after - since for since, after in zip(start, seconds(), strict=True))
    return {
        "new cells": new.n_obs,
        "processor, µs per cell": 1e6 * processor / new.n_obs,
        "cells per processor second": new.n_obs / processor,
        "wall, s": wall,
        "cells per second": new.n_obs / wall,
        "peak memory, GB": peak(),
        "products, µs per cell": 1e6 * products[1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--place", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.place:
        print(json.dumps(place(Path(args.place[0]), args.place[1])))
        return
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        for kind in SIZES:
            command = [sys.executable, "-W", "ignore", __file__, "--place", folder, kind]
            rows[kind] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    source = (
        f"`python benchmarks/new_cells.py --write`, {os.cpu_count()} cores, Python {platform.python_version()}. Onto "
        f"{N_REFERENCE:,} cells with 50 components."
    )
    names = {"encoder": "`refine=False`", "default": "default"}
    lines = [
        source,
        "",
        "| map | " + " | ".join(rows["encoder"]) + " |",
        "| --- " * (len(rows["encoder"]) + 1) + "|",
        *(
            f"| {names[kind]} | " + " | ".join(f"{v:,.3g}" if v < 1000 else f"{v:,.0f}" for v in row.values()) + " |"
            for kind, row in rows.items()
        ),
    ]
    print("\n".join(lines))
    if args.write:
        (RESULTS / "using_new_cells.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
