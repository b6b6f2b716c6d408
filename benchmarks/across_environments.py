"""Compare maps across environments: ``python benchmarks/across_environments.py [PYTHON ...] [--write]``.

Each PYTHON is an interpreter that has the dependencies, such as ``.venv-lowest/bin/python``; the one that runs this
script comes first. Each embeds the 700 PBMCs that ship with Scanpy (50 components) with one thread and with two, the
first also with another seed. Maps are compared with the first one without alignment: the lower of the two correlations
of coordinates, the correlation of all distances between cells, and the largest distance of a cell from its position on
the first map, as a share of the span of that map. "Fixed model" is the model of the first run, read from a file, which
places the same cells. ``--write`` puts the table into ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from scipy.spatial.distance import pdist

HERE = Path(__file__).resolve()
PACKAGES = ("numpy", "scipy", "scikit-learn", "anndata", "scanpy", "torch")
RUNS = {"1 thread": (1, 0), "2 threads": (2, 0), "another seed": (1, 1)}  # threads, seed


def embed(folder: Path, run: str) -> None:
    """Embed the cells in this process, and place them by the model of the first one."""
    import platform
    from importlib.metadata import version

    import torch
    from anndata import AnnData

    import scgeoae as sg

    threads, seed = RUNS[run]
    torch.set_num_threads(threads)
    adata = AnnData(np.load(folder / "cells.npy"))
    sg.tl.geoae(adata, random_state=seed, progress_bar=False)
    model = folder / "model.safetensors"
    if not model.exists():
        sg.get.model(adata).save(model)
    placed = sg.load(model).encode(torch.from_numpy(adata.X)).numpy()
    np.savez(folder / "maps.npz", trained=adata.obsm["X_geoae"], placed=placed)
    versions = [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in PACKAGES)]
    (folder / "versions").write_text(", ".join(versions))


def compare(found: np.ndarray, first: np.ndarray) -> tuple[float, float, float]:
    axes = [np.corrcoef(a, b)[0, 1] for a, b in zip(found.T, first.T, strict=True)]
    away = np.linalg.norm(found - first, axis=1).max() / np.ptp(first, axis=0).max()
    return min(axes), np.corrcoef(pdist(found), pdist(first))[0, 1], away


def table(pythons: list[str]) -> str:
    import scanpy as sc

    rows = [
        "| environment | | coordinates | distances | farthest cell | fixed model, farthest cell |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    first = None
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        np.save(folder / "cells.npy", np.asarray(sc.datasets.pbmc68k_reduced().obsm["X_pca"], dtype=np.float32))
        for python in pythons:
            for run, (threads, _) in RUNS.items():
                if run == "another seed" and python != pythons[0]:
                    continue
                count = str(threads)
                environment = os.environ | {"OMP_NUM_THREADS": count, "NUMBA_NUM_THREADS": count}
                environment["PYTHONPATH"] = str(HERE.parents[1])
                call = [python, "-W", "ignore", str(HERE), "--embed", str(folder), run]
                subprocess.run(call, check=True, env=environment)
                maps = dict(np.load(folder / "maps.npz"))
                first = maps if first is None else first
                coordinates, distances, away = compare(maps["trained"], first["trained"])
                fixed = compare(maps["placed"], first["placed"])[2]
                versions = (folder / "versions").read_text()
                rows.append(f"| {versions} | {run} | {coordinates:.4f} | {distances:.4f} | {away:.1e} | {fixed:.1e} |")
                print(rows[-1], flush=True)
    return "\n".join(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pythons", nargs="*")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--embed", nargs=2, metavar=("FOLDER", "RUN"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.embed:
        embed(Path(arguments.embed[0]), arguments.embed[1])
    else:
        written = table([sys.executable, *arguments.pythons])
        if arguments.write:
            (HERE.parent / "results" / "across_environments.md").write_text(f"{written}\n")
