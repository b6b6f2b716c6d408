"""What a ruler reads between groups of cells, against the distance of their means in the representation.

``python benchmarks/ruler.py [--seeds N]``; the table goes into ``benchmarks/results/ruler.md``. A ruler that can be
used has a median near 1 and a small spread, which is the largest ratio over the smallest. The last column takes two
distances of which one is at least twice as long on the map, and says how often it is the longer one in the data, too.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESULTS = Path(__file__).parent / "results"
LEAST_CELLS = 20


def read_ruler(x: NDArray, z: NDArray, groups: NDArray) -> dict[str, float]:
    """Return how the ruler agrees with the data over pairs of groups of at least 20 cells."""
    names = [name for name in np.unique(groups) if (groups == name).sum() >= LEAST_CELLS]
    in_data, on_map = (
        pdist(np.stack([np.asarray(values, dtype=float)[groups == name].mean(0) for name in names]))
        for values in (x, z)
    )
    ratio = on_map / in_data
    twice = np.divide.outer(on_map, on_map) >= 2
    return {
        "ruler": float(np.median(ratio)),
        "ruler's spread": float(ratio.max() / ratio.min()),
        "ruler's rank correlation": float(spearmanr(in_data, on_map)[0]),
        "right order at twice the length": float((np.divide.outer(in_data, in_data)[twice] > 1).mean()),
    }


def main() -> None:
    from methods import tsne, umap
    from reference_data import LABELS, read
    from write_tables import table

    from scgeoae.training import Settings, fit

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    methods = {
        "PCA": lambda x, _: x[:, :2],
        "UMAP": umap,
        "t-SNE": tsne,
        "scgeoae, refine=False": lambda x, seed: fit(x, Settings(seed=seed, refine=False)).embedding,
        "scgeoae": lambda x, seed: fit(x, Settings(seed=seed)).embedding,
    }
    lines = ["# What a ruler reads between groups of cells", "", f"Medians of {options.seeds} seeds."]
    for name, label in LABELS.items():
        adata = read(name)
        x = np.ascontiguousarray(adata.obsm["X_pca"], dtype=np.float32)
        groups = adata.obs[label].astype(str).to_numpy()
        rows = {
            method: pd.DataFrame([read_ruler(x, embed(x, seed), groups) for seed in range(options.seeds)]).median()
            for method, embed in methods.items()
        }
        frame = pd.DataFrame(rows).T.rename_axis(name)
        lines += ["", table(frame)]
        print(lines[-1], flush=True)
    (RESULTS / "ruler.md").write_text("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
