"""Measure the effect of each part of refinement: ``python benchmarks/second_stage.py [DATA ...]``.

One part is changed at a time; values are medians over the seeds. Then a fifth of the cells is left out and placed by
`scgeoae.training.placement`, the reference cells are placed again, and maps of ten seeds are correlated. Results go
into ``benchmarks/results/second_stage_{data}.md``.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from reference_data import LABELS, read
from ruler import read_ruler
from sklearn.neighbors import NearestNeighbors
from write_tables import table

import scgeoae as sg
from scgeoae.quality import evaluate
from scgeoae.training import Settings, fit
from scgeoae.training.neighbors import NeighborSearch
from scgeoae.training.placement import Field
from scgeoae.training.positions import Positions

if TYPE_CHECKING:
    from numpy.typing import NDArray


def decode_without_reconstruction(positions: Positions, model: sg.nn.Autoencoder) -> None:
    decode(positions, model)
    positions.slope[:], positions.metric[:] = 0, 0


decode = Positions.decode
RESULTS = Path(__file__).parent / "results"
MEASURES = ("kNN_10", "AUC_RNX", "kNN", "Trust", "Spear", "Stress_scale_free", "KL_0.1")
TRAINING = "scgeoae.training"
# settings of the fit, and constants that are patched
VARIANTS: dict[str, tuple[dict, dict]] = {
    "default": ({}, {}),
    "no refinement": ({"refine": False}, {}),
    "no t-SNE term": ({"tsne_weight": 0}, {}),
    "no reconstruction term for positions": (
        {},
        {f"{TRAINING}.positions.Positions.decode": decode_without_reconstruction},
    ),
    "no isometric penalty": ({}, {f"{TRAINING}.refine.PENALTY_FACTOR": 0.0}),
    "no chord term": ({}, {f"{TRAINING}.refine.CHORD_WEIGHT": 0.0}),
    "local kernel widths only": ({}, {f"{TRAINING}.positions.SHARED": 0.0}),
    "one kernel width for all": ({}, {f"{TRAINING}.positions.SHARED": 1.0}),
    "no jumps": ({}, {f"{TRAINING}.positions.LAST_JUMP": 0}),
    "perplexity 50": ({"perplexity": 50}, {}),
}

TEXT = """# Refinement of {name}, one part changed at a time

Medians of {seeds} seeds. The ruler is the distance between group means on the map, divided by that in the
representation: the median over pairs of groups.

{parts}

A fifth of the cells left out and placed afterwards, medians of five seeds.
Recall and trustworthiness are counted among all cells:

{unseen}

Maps of {maps} seeds correlate with each other, with no alignment, at {median:.4f} (median), at least {least:.4f}.
"""


def measure(x: NDArray, z: NDArray) -> dict[str, float]:
    scores = evaluate(x, {"map": z}, n_sample=len(x))["map"].scores
    return {which: scores[which].value for which in MEASURES}


def run(x: NDArray, labels: NDArray, seed: int, settings: dict, patches: dict) -> dict[str, float]:
    with ExitStack() as stack:
        for name, value in patches.items():
            stack.enter_context(patch(name, value))
        fitted = fit(x, Settings(seed=seed, **settings))
    distortion = sg.geometry.distortion(torch.from_numpy(fitted.metric))
    row = measure(x, fitted.embedding)
    row |= {"CN": distortion.cn, "VPres": distortion.vpres, "ISO": distortion.iso, "MSE": float(fitted.error.mean())}
    return row | read_ruler(x, fitted.embedding, labels)


def recall(x: NDArray, z: NDArray, rows: NDArray, k: int = 10) -> float:
    near, on_map = (NearestNeighbors(n_neighbors=k).fit(v).kneighbors(return_distance=False)[rows] for v in (x, z))
    return float(np.mean([len(set(a) & set(b)) / k for a, b in zip(near.tolist(), on_map.tolist(), strict=True)]))


def left_out(x: NDArray, seed: int) -> dict[str, float]:
    unseen = np.zeros(len(x), dtype=bool)
    unseen[np.random.default_rng(seed).permutation(len(x))[: len(x) // 5]] = True
    settings = Settings(seed=seed)
    fitted = fit(x[~unseen], settings)
    model = fitted.model
    cells = model.standardize(x).numpy()
    codes = model.to_latent(fitted.embedding).numpy()
    weights = {"perplexity": settings.perplexity, "divergence_weight": settings.tsne_weight}
    field = Field(model, NeighborSearch(cells[~unseen]), codes, **weights)
    row = {}
    for name, new in {
        "encoder alone": model.encode(x[unseen]).numpy(),
        "placed and optimized": model.to_map(torch.from_numpy(field.place(cells[unseen]))).numpy(),
    }.items():
        z = np.empty((len(x), 2), dtype=np.float32)
        z[~unseen], z[unseen] = fitted.embedding, new
        found = evaluate(x, {"map": z}, n_sample=len(x), local_scores=True)["map"]
        row |= {f"{name}, kNN_10": recall(x, z, unseen), f"{name}, Trust": float(found.trust[unseen].mean())}
    again = field.place(cells[~unseen])
    moved = np.linalg.norm(again - codes, axis=1) / np.ptp(codes, axis=0).max()
    return row | {"reference cells placed again, moved by": float(np.median(moved))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", metavar="DATA", help=f"of {', '.join(LABELS)}; by default all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--maps", type=int, default=10, help="seeds whose maps are correlated")
    options = parser.parse_args()
    for name in options.data or LABELS:
        adata = read(name)
        x = np.ascontiguousarray(adata.obsm["X_pca"], dtype=np.float32)
        labels = adata.obs[LABELS[name]].astype(str).to_numpy()
        rows = {}
        for label, (settings, patches) in VARIANTS.items():
            runs = [run(x, labels, seed, settings, patches) for seed in range(options.seeds)]
            rows[label] = pd.DataFrame(runs).median()
            print(name, label, rows[label].round(4).to_dict(), flush=True)
        unseen = pd.DataFrame([left_out(x, seed) for seed in range(5)]).median()
        maps = [fit(x, Settings(seed=seed)).embedding for seed in range(options.maps)]
        same = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in combinations(maps, 2)]
        text = TEXT.format(
            name=name,
            seeds=options.seeds,
            parts=table(pd.DataFrame(rows).T),
            unseen="\n".join(f"- {label}: {value:.4f}" for label, value in unseen.items()),
            maps=options.maps,
            median=np.median(same),
            least=np.min(same),
        )
        (RESULTS / f"second_stage_{name}.md").write_text(text)
        print(text, flush=True)


if __name__ == "__main__":
    main()
