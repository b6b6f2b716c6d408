"""Table (d): the effect of each regularizer on the curvature of the surface under the map.

Median over the cells of the absolute Gaussian curvature, the mean curvature and the extrinsic
curvature, in units of the standardized representation, at the default strength; medians of three
seeds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from reference_data import LABELS, LITERATURE, read

import scgeoae as sg
from scgeoae.geometry.regularizers import REGULARIZERS

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

SEEDS = range(3)
HEAD = [
    "# Curvature of the decoder with each regularizer",
    "",
    "Median over the cells of the absolute Gaussian curvature, of the mean curvature and of the extrinsic curvature,",
    "in units of the standardized representation; default strengths, medians of three seeds. ISO is at the cells.",
    "",
]
# with the weights of the docs, what a reader of the curvature would combine
COMBINED = {"isometric": 0.2, "curvature": 0.03}


def measure(adata: AnnData, regularizer: object, seed: int) -> list[float]:
    sg.tl.geoae(adata, use_rep="X_pca", regularizer=regularizer, random_state=seed, progress_bar=False, **LITERATURE)
    sg.tl.curvature(adata)
    unit = float(sg.get.model(adata).scale)
    gaussian, mean, extrinsic = (
        float(np.median(np.abs(adata.obs[f"geoae_{kind}_curvature"]))) for kind in ("gaussian", "mean", "extrinsic")
    )
    scores = sg.get.scores(adata)
    return [gaussian * unit**2, mean * unit, extrinsic * unit**2, scores["ISO"], scores["MSE"]]


def table(results: Path) -> str:
    """Fit everything and return the table."""
    lines = [
        "| data | regularizer | Gaussian, absolute | mean | extrinsic | ISO | MSE / vanilla |",
        "| --- " * 7 + "|",
    ]
    for name in LABELS:
        adata = read(name)
        vanilla = None
        for regularizer in (None, *REGULARIZERS, COMBINED):
            *values, mse = np.median([measure(adata, regularizer, seed) for seed in SEEDS], axis=0)
            vanilla = vanilla or mse
            label = " + ".join(regularizer) if isinstance(regularizer, dict) else regularizer or "none"
            cells = " | ".join(f"{value:.4f}" for value in values)
            lines.append(f"| {name} | {label} | {cells} | {mse / vanilla:.3f} |")
            print(lines[-1], flush=True)
    return "\n".join([*HEAD, *lines, ""])
