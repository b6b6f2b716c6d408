"""Compare whole processes with UMAP: ``python benchmarks/speed.py --write``.

Results are printed; ``--write`` also puts them into ``benchmarks/results/speed.md``. Cells are drawn near those of PBMC
3k: a cell lies somewhere between one of them and one of its ten nearest neighbors, with noise of half the distance to
the nearest. A process is a fresh interpreter that reads the cells from an h5ad file, embeds them, and ends when all
slots are written: ``sc.pp.neighbors`` and ``sc.tl.umap``, or ``sg.tl.geoae`` without refinement (`at_scale.py` measures
the default map). The two alternate, and ratios are between consecutive runs, because other work on the machine slows
both. The quality of each map is measured on the same 2,500
cells.

``--sizes``, ``--alone`` and ``--repeats`` choose what is run. `benchmarks/benchmarks` measures parts of such a process.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import numpy as np

RESULTS = Path(__file__).parent / "results"
SIZES, ALONE = (2_500, 20_000, 68_000, 200_000), 1_000_000
N_JUDGED = 2_500
UNREFINED = "geoae-unrefined"
MEASURES = ("Trust", "kNN", "Spear")


def draw(n: int, path: Path) -> None:
    from anndata import AnnData
    from reference_data import read
    from sklearn.neighbors import NearestNeighbors

    x = np.asarray(read("pbmc3k_pca").obsm["X_pca"])
    rng = np.random.default_rng(0)
    near = NearestNeighbors(n_neighbors=10).fit(x).kneighbors(return_distance=False)
    spread = np.linalg.norm(x[near[:, 0]] - x, axis=1) / 2 / x.shape[1] ** 0.5
    cells = np.empty((n, x.shape[1]), dtype=np.float32)
    for start in range(0, n, 2**16):
        part = cells[start : start + 2**16]
        i = rng.integers(len(x), size=len(part))
        j = near[i, rng.integers(10, size=len(part))]
        way = rng.random((len(part), 1))
        part[:] = (1 - way) * x[i] + way * x[j] + spread[i, None] * rng.normal(size=part.shape)
    AnnData(np.zeros((n, 0), dtype=np.float32), obsm={"X_pca": cells}).write_h5ad(path)


def embed(method: str, path: str, out: str, n_kept: int | None) -> None:
    """Do what a user does; the rest of the process is the measurement."""
    import anndata
    import scanpy as sc

    adata = anndata.read_h5ad(path)
    if method == "umap":
        sc.pp.neighbors(adata, use_rep="X_pca")
        sc.tl.umap(adata)
        embedding = adata.obsm["X_umap"]
    else:
        import scgeoae as sg

        refine = False if method == UNREFINED else None
        sg.tl.geoae(adata, use_rep="X_pca", refine=refine, progress_bar=False)
        embedding = adata.obsm["X_geoae"]
    np.save(out, embedding[:n_kept])


def run(method: str, path: Path, out: Path, *, whole: bool = False) -> tuple[float, float]:
    """Return wall seconds and peak resident gigabytes of a process; `whole` keeps its map of all cells."""
    start = time.perf_counter()
    embedding = ["--embed-whole" if whole else "--embed", method, str(path), str(out)]
    command = [sys.executable, "-W", "ignore", __file__, *embedding]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        sys.exit(f"{method} of {path.name} failed; run: {' '.join(command)}")
    unit = 1 if sys.platform == "darwin" else 1024
    return seconds, usage.ru_maxrss * unit / 1e9


def judge(path: Path, maps: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    import anndata

    from scgeoae.quality import evaluate

    x = np.asarray(anndata.read_h5ad(path).obsm["X_pca"][:N_JUDGED])
    found = evaluate(x, maps, n_sample=N_JUDGED)
    return {name: {which: quality.scores[which].value for which in MEASURES} for name, quality in found.items()}


def processes(sizes: tuple[int, ...], alone: int, repeats: int, folder: Path) -> list[str]:
    lines = [
        "| cells | scgeoae, s | UMAP, s | ratio | memory, GB | UMAP's | "
        + " | ".join(f"{which}, UMAP's" for which in MEASURES)
        + " |",
        "| " + " | ".join(["---"] * (6 + len(MEASURES))) + " |",
    ]
    medians = {UNREFINED: {}, "umap": {}}
    for n in [*sizes, *([alone] if alone else [])]:
        path = folder / f"{n}.h5ad"
        draw(n, path)
        methods = (UNREFINED, "umap") if n in sizes else (UNREFINED,)
        used = {method: [] for method in methods}
        for _ in range(repeats):
            for method in methods:
                used[method].append(run(method, path, folder / f"{method}.npy"))
                print(n, method, "{:.1f} s {:.2f} GB".format(*used[method][-1]), flush=True)
        seconds = {m: [s for s, _ in values] for m, values in used.items()}
        memory = {m: max(gb for _, gb in values) for m, values in used.items()}
        for method in methods:
            medians[method][n] = float(np.median(seconds[method]))
        scores = judge(path, {method: np.load(folder / f"{method}.npy") for method in methods})
        row = [f"{n:,}", f"{medians[UNREFINED][n]:.1f}"]
        if "umap" in methods:
            ratio = np.median(np.divide(seconds[UNREFINED], seconds["umap"]))
            row += [f"{medians['umap'][n]:.1f}", f"{ratio:.3f}", f"{memory[UNREFINED]:.2f}", f"{memory['umap']:.2f}"]
            row += [f"{scores[UNREFINED][which]:.3f}, {scores['umap'][which]:.3f}" for which in MEASURES]
        else:
            row += ["", "", f"{memory[UNREFINED]:.2f}", "", *(f"{scores[UNREFINED][which]:.3f}" for which in MEASURES)]
        lines.append("| " + " | ".join(row) + " |")
        path.unlink()
    for name, label in ((UNREFINED, "scgeoae"), ("umap", "UMAP")):
        ns = sorted(medians[name])
        growth = [
            f"{np.log(medians[name][b] / medians[name][a]) / np.log(b / a):.2f} from {a:,} to {b:,}"
            for a, b in pairwise(ns)
        ]
        if growth:
            lines += ["", f"Growth exponent of {label}: {', '.join(growth)}."]
    if alone and 68_000 in sizes:
        lines += [
            "",
            f"Time from 68,000 to {alone:,} cells: × {medians[UNREFINED][alone] / medians[UNREFINED][68_000]:.2f}.",
        ]
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--alone", type=int, default=ALONE, help="size without UMAP, 0 for none")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--embed", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--embed-whole", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.embed:
        embed(*args.embed, N_JUDGED)
        return
    if args.embed_whole:
        embed(*args.embed_whole, None)
        return
    packages = {name: version(name) for name in ("torch", "scanpy", "umap-learn", "pynndescent", "numpy")}
    lines = [
        f"{os.cpu_count()} cores, Python {platform.python_version()}, "
        + ", ".join(f"{name} {number}" for name, number in packages.items()),
        "",
    ]
    with tempfile.TemporaryDirectory() as folder:
        lines += processes(tuple(args.sizes), args.alone, args.repeats, Path(folder))
    print("\n".join(lines))
    if args.write:
        (RESULTS / "speed.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
