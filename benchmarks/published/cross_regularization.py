"""Table (b): the effect of regularizing one network on both.

Table 1 of Nazari, *Geometric Encoder Regularization*: each property is regularized on the decoder or on the encoder,
and measured on both. Three data sets, medians of three seeds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from reference_data import LABELS, LITERATURE, read

import scgeoae as sg

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

SEEDS = range(3)
HEAD = [
    "# Geometric Encoder Regularization (Nazari), Table 1",
    "",
    "Each property is regularized on the decoder or on the encoder, and measured on both: at the cells, and on a 64×64",
    "grid over the map (the values between their 5% and 95% quantiles). Medians of three seeds, default strengths. The",
    "published values are for the regularized network, on the data sets of the paper (PBMC 68k, Zilionis, C. elegans);",
    "ours are smaller relatives of these.",
    "",
]
MEASURES = {"volume": "VPres", "conformal": "CN", "isometric": "ISO"}
SYSTEMS = {"volume": "GeomAE", "conformal": "ConfAE", "isometric": "IRAE"}
# For the regularized network, first the decoder and then the encoder, on the data sets of the paper: PBMC (68k),
# C. elegans and Zilionis. Ours are smaller relatives of these.
PUBLISHED = {
    "pbmc3k_pca": {"volume": (0.0099, 0.028), "conformal": (0.16, 0.43), "isometric": (0.6, 0.2)},
    "zilionis2019_mouse_lung": {"volume": (0.01, 0.012), "conformal": (0.205, 0.48), "isometric": (1.9, 0.13)},
    "packer2019_amphid_neurons": {"volume": (0.036, 0.02), "conformal": (0.3, 0.47), "isometric": (0.146, 0.053)},
}


def measure(adata: AnnData, regularizer: str | None, side: str | None, seed: int) -> dict[str, float]:
    """Return every measure of one run: (network measured, where, name) to value."""
    sg.tl.geoae(
        adata, use_rep="X_pca", regularizer=regularizer, side=side, random_state=seed, progress_bar=False, **LITERATURE
    )
    row = {"MSE": sg.get.scores(adata)["MSE"]}
    for network in ("decoder", "encoder"):
        for where in ("grid", "cells"):
            scores = sg.tl.metric(adata, at=where, side=network).scores
            row |= {(network, where, name): value for name, value in scores.items()}
    return row


def medians(adata: AnnData, regularizer: str | None, side: str | None) -> dict[str, float]:
    runs = [measure(adata, regularizer, side, seed) for seed in SEEDS]
    return {name: float(np.median([run[name] for run in runs])) for name in runs[0]}


def table(results: Path) -> str:
    """Fit everything and return the table."""
    head = "| data | system | measure | regularized | decoder, grid | decoder, cells | encoder, grid | encoder, cells |"
    lines = [
        f"{head} published (same network) | MSE / vanilla |",
        "| --- " * 10 + "|",
    ]
    for name in LABELS:
        adata = read(name)
        vanilla = medians(adata, None, None)
        for regularizer, m in MEASURES.items():
            for side in (None, "decoder", "encoder"):
                row = vanilla if side is None else medians(adata, regularizer, side)
                values = [row[network, where, m] for network in ("decoder", "encoder") for where in ("grid", "cells")]
                published = PUBLISHED[name][regularizer]
                bound = {None: "", "decoder": f"decoder {published[0]}", "encoder": f"encoder {published[1]}"}[side]
                cells = " | ".join(f"{value:.4f}" for value in values)
                system = SYSTEMS[regularizer] if side else "vanilla"
                lines.append(
                    f"| {name} | {system} | {m} | {side or 'none'} | {cells} | {bound} | "
                    f"{row['MSE'] / vanilla['MSE']:.3f} |"
                )
                print(lines[-1], flush=True)
    return "\n".join([*HEAD, *lines, ""])
