"""Count the neighbors that a UMAP, a t-SNE, and the default map pull apart.

``python benchmarks/torn.py [--seeds N]``; the table goes into ``benchmarks/results/torn.md``. An edge joins neighbors
in the representation (15 for each cell). Torn edges and broken cells are those of `scgeoae.tl.distortion`: an edge is
torn if the map stretches it much more than the edges around it. The last columns compare edges with the whole map.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.spatial.distance import pdist
from sklearn.neighbors import NearestNeighbors

from scgeoae.graphs import tears
from scgeoae.training import Settings, fit

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESULTS = Path(__file__).parent / "results"


def count_tears(x: NDArray, z: NDArray) -> dict[str, float]:
    """Return how many edges and cells are torn, and how long the edges are beside the distances of all pairs."""
    lengths, neighbors = NearestNeighbors(n_neighbors=15).fit(x).kneighbors()
    found = tears(z, neighbors, lengths)
    edges = np.unique(np.sort(np.stack([np.repeat(np.arange(len(x)), 15), neighbors.ravel()], axis=1)), axis=0)
    drawn = np.linalg.norm(z[edges[:, 0]] - z[edges[:, 1]], axis=1) / np.median(pdist(z))
    return {
        "an edge is torn beyond": found.fence,
        "torn edges, %": 100 * found.stretch.nnz / 2 / len(edges),
        "broken cells, %": 100 * found.broken.mean(),
        "median edge, % of the median distance of all pairs": 100 * np.median(drawn),
        "edges longer than half the median distance of all pairs, %": 100 * (drawn > 0.5).mean(),
    }


def main() -> None:
    from methods import tsne, umap
    from reference_data import LABELS, read
    from write_tables import rows

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    methods = {"UMAP": umap, "t-SNE": tsne, "scgeoae": lambda x, seed: fit(x, Settings(seed=seed)).embedding}
    lines = ["# Neighbors that a map tears apart", "", f"Medians of {options.seeds} seeds."]
    for name in LABELS:
        x = np.ascontiguousarray(read(name).obsm["X_pca"], dtype=np.float32)
        medians = {
            method: pd.DataFrame([count_tears(x, embed(x, seed)) for seed in range(options.seeds)]).median()
            for method, embed in methods.items()
        }
        frame = pd.DataFrame(medians).T
        cells = [[method, *(f"{value:.2f}" for value in row)] for method, row in frame.iterrows()]
        lines += ["", rows([[name, *frame.columns], *cells])]
        print(lines[-1], flush=True)
    (RESULTS / "torn.md").write_text("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
