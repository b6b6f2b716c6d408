"""Scores of the default map on the reference data, beside the vanilla autoencoder and UMAP.

``python benchmarks/reference_scores.py [--seeds 3] [--map-seeds 10] [--figures DIR]`` prints one
table of medians over the seeds, and the correlation of the coordinates of the maps of all pairs
of seeds, with no further alignment.
"""

from __future__ import annotations

import argparse
import time
import warnings
from itertools import combinations
from pathlib import Path

import numpy as np
import scanpy as sc
import torch
from reference_data import LABELS, read

import scgeoae as sg
from scgeoae.quality import evaluate
from scgeoae.training import Settings, fit

COLUMNS = ("training s", "total s", "CN", "VPres", "ISO", "MSE", "Trust", "kNN", "Spear")


def quality(x: np.ndarray, z: np.ndarray) -> dict[str, float]:
    scores = evaluate(x, {"map": z}, n_sample=len(x))["map"].scores
    return {name: estimate.value for name, estimate in scores.items()}


def geoae(adata: sc.AnnData, seed: int, regularizer: str | None) -> dict[str, float]:
    x = np.asarray(adata.obsm["X_pca"])
    start = time.perf_counter()
    fit(x, Settings(regularizer=regularizer, seed=seed))
    training = time.perf_counter() - start
    start = time.perf_counter()
    sg.tl.geoae(adata, use_rep="X_pca", regularizer=regularizer, random_state=seed, progress_bar=False)
    row = {"training s": training, "total s": time.perf_counter() - start, **sg.get.scores(adata)}
    return row | quality(x, adata.obsm["X_geoae"])


def umap(adata: sc.AnnData, seed: int) -> dict[str, float]:
    x = np.asarray(adata.obsm["X_pca"])
    start = time.perf_counter()
    sc.pp.neighbors(adata, use_rep="X_pca", random_state=seed)
    sc.tl.umap(adata, random_state=seed)
    return {"total s": time.perf_counter() - start, **quality(x, adata.obsm["X_umap"])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--map-seeds", type=int, default=10)
    parser.add_argument("--figures", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"{torch.get_num_threads()} cores, torch {torch.__version__}, scanpy {sc.__version__}\n")
    print(f"| data | method | {' | '.join(COLUMNS)} |")
    print("| --- " * (len(COLUMNS) + 2) + "|")
    correlations = {}
    for name in LABELS:
        adata = read(name)
        umap(adata, 0)  # compiles
        methods = {
            "scgeoae": lambda seed, adata=adata: geoae(adata, seed, "isometric"),
            "vanilla": lambda seed, adata=adata: geoae(adata, seed, None),
            "UMAP": lambda seed, adata=adata: umap(adata, seed),
        }
        for method, run in methods.items():
            runs = [run(seed) for seed in range(options.seeds)]
            medians = [np.median([r[c] for r in runs]) if c in runs[0] else None for c in COLUMNS]
            cells = ["" if m is None else f"{m:.4f}" for m in medians]
            print(f"| {name} | {method} | {' | '.join(cells)} |", flush=True)
        x = np.asarray(adata.obsm["X_pca"])
        maps = [fit(x, Settings(seed=seed)).embedding for seed in range(options.map_seeds)]
        pairs = combinations(maps, 2)
        correlations[name] = [np.corrcoef(a[:, i], b[:, i])[0, 1] for a, b in pairs for i in range(2)]
        if options.figures is not None:
            sg.tl.geoae(adata, use_rep="X_pca", progress_bar=False)
            sg.pl.indicatrices(adata, color=LABELS[name], save=options.figures / f"{name}_indicatrices.png", show=False)
            sg.pl.jacobian_heatmap(adata, save=options.figures / f"{name}_jacobian_heatmap.png", show=False)
    print(f"\n| data | correlation of the maps of {options.map_seeds} seeds: median | minimum |\n| --- | --- | --- |")
    for name, values in correlations.items():
        print(f"| {name} | {np.median(values):.4f} | {np.min(values):.4f} |")


if __name__ == "__main__":
    main()
