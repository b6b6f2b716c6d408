"""Neighbors and types kept among all cells, beside UMAP: ``python benchmarks/at_scale.py [CELLS ...] [--write]``.

A sample of some thousand cells cannot see this: its ten nearest are as far apart as hundreds of neighbors of the whole.
Two kinds of data: cells drawn near those of PBMC 3k (as `speed.py` draws them), and a simulated atlas, a tree of 200
cell types, a third of them trajectories toward another, many of them rare. Recall is that of 1,000 cells among all;
the type of a cell is that of most of its 15 nearest on the map, of all cells and of types rarer than 1 in 500. A
process is a fresh interpreter that reads the cells from a file and ends when all is written, as in `speed.py`.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import speed
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESULTS = Path(__file__).parent / "results"
SIZES = (20_000, 68_000)
N_QUERIES, N_TOLD, RARE = 1000, 5000, 1 / 500
N_TYPES, N_FEATURES = 200, 50


def atlas(n: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.integer], NDArray[np.float64]]:
    """Return (n, 50) cells, varying like principal components, their types, and the share of each type."""
    random = np.random.default_rng(seed)
    scale = 12 / np.arange(1, N_FEATURES + 1) ** 0.6
    # each node of the tree is its parent plus a step that gets shorter with depth
    centers, depths = [np.zeros(N_FEATURES)], [0]
    while len(centers) < 3 * N_TYPES:
        parent = random.integers(len(centers)) if len(centers) > 12 else 0
        depths.append(depths[parent] + 1)
        step = scale * random.normal(size=N_FEATURES) * 0.9 ** depths[-1] * (random.random(N_FEATURES) < 0.35)
        centers.append(centers[parent] + step)
    centers = np.array(centers)[random.choice(np.arange(1, len(centers)), N_TYPES, replace=False)]
    share = random.dirichlet(np.full(N_TYPES, 0.35)) + 2e-5
    share /= share.sum()
    kind = random.choice(N_TYPES, size=n, p=share)
    spread = random.uniform(0.35, 1.1, N_TYPES)
    target, moves = random.integers(N_TYPES, size=N_TYPES), random.random(N_TYPES) < 0.33
    bend = random.normal(size=(N_TYPES, N_FEATURES)) * scale * 0.3
    axes = random.normal(size=(N_TYPES, 3, N_FEATURES)) * (random.random((N_TYPES, 3, N_FEATURES)) < 0.2) * 1.2
    x = np.empty((n, N_FEATURES), dtype=np.float32)
    for start in range(0, n, 2**16):
        of = kind[start : start + 2**16]
        way = np.where(moves[of], random.beta(0.7, 1.2, len(of)), 0)[:, None]
        noise = random.normal(size=(len(of), N_FEATURES)) * spread[of, None] * (0.6 + 0.06 * scale)
        own = (random.normal(size=(len(of), 3, 1)) * axes[of]).sum(1)
        middle = centers[of] * (1 - way) + centers[target[of]] * way + 4 * way * (1 - way) * bend[of]
        x[start : start + 2**16] = middle + noise + own
    return x, kind, share


def recall(x: NDArray, z: NDArray, k: int) -> float:
    rows = np.random.default_rng(0).choice(len(x), N_QUERIES, replace=False)
    near, on_map = (
        NearestNeighbors(n_neighbors=k + 1).fit(v).kneighbors(v[rows], return_distance=False).tolist() for v in (x, z)
    )
    kept = [len(set(a) & set(b) - {row}) / k for a, b, row in zip(near, on_map, rows.tolist(), strict=True)]
    return float(np.mean(kept))


def told(z: NDArray, kind: NDArray, share: NDArray) -> tuple[float, float]:
    order = np.random.default_rng(0).permutation(len(z))
    asked, known = np.split(order, [min(N_TOLD, len(z) // 4)])
    right = KNeighborsClassifier(15).fit(z[known], kind[known]).predict(z[asked]) == kind[asked]
    return float(right.mean()), float(right[share[kind[asked]] < RARE].mean())


def main() -> None:
    from anndata import AnnData, read_h5ad

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", type=int, nargs="*", default=SIZES, metavar="CELLS")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--methods", nargs="*", default=("geoae", "umap"), help="geoae, umap")
    args = parser.parse_args()
    lines = [
        "| cells | kind | method | seconds | GB | recall of 10 | recall of 100 | type | rare type |",
        "| " + " | ".join(["---"] * 9) + " |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "cells.h5ad", Path(folder) / "map.npy"
        for n in args.sizes:
            for kind in ("near PBMC 3k", "atlas"):
                types = ()
                if kind == "atlas":
                    x, *types = atlas(n)
                    AnnData(np.zeros((n, 0), dtype=np.float32), obsm={"X_pca": x}).write_h5ad(path)
                else:
                    speed.draw(n, path)
                    x = np.asarray(read_h5ad(path).obsm["X_pca"])
                for method in args.methods:
                    seconds, memory = speed.run(method, path, out, whole=True)
                    z = np.load(out)
                    right = [f"{value:.4f}" for value in told(z, *types)] if types else ["", ""]
                    name = {"geoae": "scgeoae", "umap": "UMAP"}[method]
                    row = [f"{n:,}", kind, name, f"{seconds:.0f}", f"{memory:.2f}"]
                    row += [f"{recall(x, z, 10):.4f}", f"{recall(x, z, 100):.4f}", *right]
                    lines.append("| " + " | ".join(row) + " |")
                    print(lines[-1], flush=True)
    if args.write:
        (RESULTS / "at_scale.md").write_text("# Kept among all cells\n\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
