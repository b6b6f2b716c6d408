"""Compare strengths of the regularizers, to choose the defaults: ``python benchmarks/choose_strength.py [NAME ...]``.

For each data set, regularizer and weight, print the three distortion measures and the reconstruction error, divided by
that of the same network without a regularizer. Values are medians over the seeds.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from reference_data import LABELS, read

from scgeoae.geometry import distortion
from scgeoae.training import Settings, fit

STRENGTHS = dict.fromkeys(("volume", "conformal", "isometric"), (0.1, 0.2, 0.3, 0.5, 1.0))
STRENGTHS["curvature"] = (0.01, 0.03, 0.1)
SEEDS = range(3)


def measure(x: np.ndarray, **settings: object) -> np.ndarray:
    runs = []
    for seed in SEEDS:
        fitted = fit(x, Settings(seed=seed, neighbors_weight=0, **settings))
        runs.append([*distortion(torch.from_numpy(fitted.metric)), fitted.error.mean()])
    return np.median(runs, axis=0)


def main() -> None:
    print("| data | regularizer | strength | CN | VPres | ISO | MSE / vanilla |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in LABELS:
        x = np.asarray(read(name).obsm["X_pca"])
        *vanilla, error = measure(x, regularizer=None)
        print(f"| {name} | none | | {' | '.join(f'{v:.4f}' for v in vanilla)} | 1 |", flush=True)
        for regularizer in sys.argv[1:] or STRENGTHS:
            for strength in STRENGTHS[regularizer]:
                *measures, mse = measure(x, regularizer=regularizer, strength=strength)
                values = " | ".join(f"{v:.4f}" for v in (*measures, mse / error))
                print(f"| {name} | {regularizer} | {strength} | {values} |", flush=True)


if __name__ == "__main__":
    main()
