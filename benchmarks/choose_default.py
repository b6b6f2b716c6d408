"""Measure the effect of one training setting at a time: ``python benchmarks/choose_default.py [DATA ...]``.

Each run trains on four fifths of the cells, without refinement, and is measured on all of them. The encoder places the
remaining fifth, whose trustworthiness is "left out". Medians over the seeds are written to
``benchmarks/results/default_{data}.md``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from reference_data import LABELS, read
from sklearn.neighbors import NearestNeighbors

import scgeoae as sg
from scgeoae.quality import evaluate
from scgeoae.training import Settings, fit
from scgeoae.training.fit import default_steps

RESULTS = Path(__file__).parent / "results"
MEASURES = ("kNN", "kNN_10", "Trust", "Spear", "KL_0.1", "Stress_scale_free")
VARIANTS = {
    "default": {},
    "no contrastive loss and no noise (neighbors_weight=0)": {"neighbors_weight": 0},
    "neighbors_weight=0.1": {"neighbors_weight": 0.1},
    "neighbors_weight=0.5": {"neighbors_weight": 0.5},
    "neighbors_scale=0.15": {"neighbors_scale": 0.15},
    "neighbors_scale=0.6": {"neighbors_scale": 0.6},
    "5 neighbors instead of 10": {"k": 5},
    "noise=0": {"noise": 0},
    "noise=0.5": {"noise": 0.5},
    "strength=0.5 instead of 0.2": {"strength": 0.5},
    "three hidden layers instead of two": {"hidden": (128, 128, 128)},
    "half the steps": {"shorter": 2},
}


def run(x: np.ndarray, seed: int, *, k: int | None = None, shorter: int | None = None, **settings: object) -> dict:
    unseen = np.zeros(len(x), dtype=bool)
    unseen[np.random.default_rng(seed).permutation(len(x))[: len(x) // 5]] = True
    train = x[~unseen]
    neighbors = None
    if k is not None:
        neighbors = NearestNeighbors(n_neighbors=k).fit(train).kneighbors(return_distance=False)
    if shorter is not None:
        settings["n_steps"] = default_steps(len(train), 256) // shorter
    fitted = fit(train, Settings(seed=seed, refine=False, **settings), neighbors=neighbors)
    distortion = sg.geometry.distortion(torch.from_numpy(fitted.metric))
    z = fitted.model.encode(torch.from_numpy(x)).numpy()
    found = evaluate(x, {"map": z}, n_sample=len(x), local_scores=True)["map"]
    row = {which: found.scores[which].value for which in MEASURES}
    row |= {"left out": float(found.trust[unseen].mean()), "CN": distortion.cn, "ISO": distortion.iso}
    return row | {"MSE": float(fitted.error.mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", metavar="DATA", help=f"of {', '.join(LABELS)}; by default all")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    for name in options.data or LABELS:
        x = np.ascontiguousarray(read(name).obsm["X_pca"], dtype=np.float32)
        lines = []
        for label, changed in VARIANTS.items():
            medians = pd.DataFrame([run(x, seed, **changed) for seed in range(options.seeds)]).median()
            lines = lines or [f"| {name} | {' | '.join(medians.index)} |", "| --- " * (len(medians) + 1) + "|"]
            lines.append(f"| {label} | {' | '.join(f'{value:.4f}' for value in medians)} |")
            print(lines[-1], flush=True)
        (RESULTS / f"default_{name}.md").write_text("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
