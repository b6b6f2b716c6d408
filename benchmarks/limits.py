"""Measure where a map says little: with few cells, and about single cells. ``python benchmarks/limits.py [--seeds 3]``.

Two tables go into ``benchmarks/results/limits.md``. The first embeds random 50, 100 and 200 cells of each data set and
measures the maps among these cells. The second makes maps of all cells from several seeds and counts how many of the
ten nearest cells on one map are among the ten nearest on another.
"""

from __future__ import annotations

import argparse
import warnings
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from methods import umap
from openTSNE import TSNE
from reference_data import LABELS, read
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from scgeoae.quality import evaluate
from scgeoae.training import Settings, fit

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESULTS = Path(__file__).parent / "results"
SIZES = (50, 100, 200)
MEASURES = ("kNN_10", "Trust", "Spear")
K = 10
TEXT = """# Few cells, and single cells

`python benchmarks/limits.py`, medians of {seeds} seeds.

Random cells of each data set, embedded alone and measured among themselves. "Error" is the mean squared error of the
decoder, as a share of the variance of the data, for the cells that it was trained on and for the validation cells:

{few}

Maps of all cells from different seeds: the share of the ten nearest cells on one map that are among the ten nearest on
another.

{single}
"""


def tsne(x: NDArray, seed: int) -> NDArray:
    return np.asarray(TSNE(perplexity=min(30, len(x) // 4), random_state=seed, n_jobs=1).fit(x))


def few_cells(x: NDArray, seed: int) -> dict[str, dict[str, float]]:
    """Return the measures of each method for one sample of cells."""
    fitted = fit(x, Settings(seed=seed))
    maps = {"PCA": PCA(2, random_state=seed).fit_transform(x), "UMAP": umap(x, seed), "t-SNE": tsne(x, seed)}
    maps["scgeoae"] = fitted.embedding
    found = evaluate(x, maps)
    rows = {method: {which: quality.scores[which].value for which in MEASURES} for method, quality in found.items()}
    unseen = np.isin(np.arange(len(x)), fitted.held_out)
    rows["scgeoae"] |= {"error": fitted.error[~unseen].mean(), "error, validation": fitted.error[unseen].mean()}
    return rows


def nearest(z: NDArray) -> list[set[int]]:
    return [set(row) for row in NearestNeighbors(n_neighbors=K).fit(z).kneighbors(return_distance=False).tolist()]


def agreement(maps: list[NDArray]) -> float:
    """Return the share of the ten nearest cells that two maps have in common, as the mean over pairs of maps."""
    pairs = combinations([nearest(z) for z in maps], 2)
    return float(np.mean([len(a & b) / K for pair in pairs for a, b in zip(*pair, strict=True)]))


def table(frame: pd.DataFrame) -> str:
    rows = [["" if pd.isna(v) else f"{v:.3f}" if isinstance(v, float) else str(v) for v in row] for row in frame.values]
    return "\n".join("| " + " | ".join(row) + " |" for row in [list(frame.columns), ["---"] * frame.shape[1], *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    few, single = [], []
    for name in LABELS:
        x = np.ascontiguousarray(read(name).obsm["X_pca"], dtype=np.float32)
        for n in SIZES:
            for seed in range(options.seeds):
                rows = np.random.default_rng(seed).choice(len(x), n, replace=False)
                found = few_cells(x[np.sort(rows)], seed)
                few += [{"data": name, "cells": n, "method": method} | row for method, row in found.items()]
            print(name, n, flush=True)
        methods = {"UMAP": umap, "t-SNE": tsne, "scgeoae": lambda x, seed: fit(x, Settings(seed=seed)).embedding}
        single.append({"data": name})
        for method, embed in methods.items():
            single[-1][method] = agreement([embed(x, seed) for seed in range(options.seeds)])
        print(single[-1], flush=True)
    medians = pd.DataFrame(few).groupby(["data", "cells", "method"], sort=False).median().reset_index()
    text = TEXT.format(seeds=options.seeds, few=table(medians), single=table(pd.DataFrame(single)))
    (RESULTS / "limits.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
