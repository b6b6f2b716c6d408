"""Measure how much room dense groups get on a map, and at what price: ``python benchmarks/room.py [DATA ...]``.

Maps with ``equal_room`` 0 (the default), 0.5 and 1 beside UMAP and densMAP, medians over the seeds, measured on all
cells. The tables go into ``benchmarks/results/room.md``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from methods import densmap, umap
from reference_data import EVERY, read
from scipy.spatial import KDTree
from write_tables import table, title

import scgeoae as sg
from scgeoae.quality import evaluate
from scgeoae.training import Settings, fit

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

RESULTS = Path(__file__).parent / "results"
# the T and NK cells, and some kinds of neurons of data that `equal_room` was not tuned on
GROUPS = {
    "pbmc3k_pca": ("1", "3", "4", "6"),
    "zilionis2019_mouse_lung_scaled": ("T cells", "NK cells"),
    "packer2019_amphid_neurons": ("AWA", "AWB", "AWC", "AWC_ON"),
}
ROOM = {"scgeoae": 0.0, "scgeoae, equal_room=0.5": 0.5, "scgeoae, equal_room=1": 1.0}
OTHERS: dict[str, Callable[[NDArray, int], NDArray]] = {"UMAP": umap, "densMAP": densmap}
SCORES = ("kNN_10", "Trust", "Spear")
MEASURES = ("area", "tiles", "uneven", "scale", "CN", *SCORES)
N_NEAREST = 10
# points per radius of the grid on which areas are counted, and tiles along the side of the middle of the map
PER_RADIUS, N_TILES = 4, 50

TEXT = """# Room of dense groups

Medians of {seeds} seeds, measured on all cells.

- *area*, *tiles*: the share of the occupied area that the named groups have, by two definitions. *area*: the points
  within one radius of a cell belong to the nearest cell; the radius is the median distance from a cell to its tenth
  neighbor on the map. *tiles*: the tiles of a grid that have cells, each shared by its cells; {n_tiles} tiles side by
  side are as long as the side of a square as large as the middle 98% of the map.
- *uneven*: how unevenly cells are spaced. The squared distance to the tenth neighbor on the map, its 90% quantile over
  the cells divided by its 10% quantile.
- *scale*: how much the scale of the map varies. The length in the data of a small step on the map (the square root of
  the area scale), its 90% quantile over the cells divided by its 10% quantile; 1 on a map with one scale.
- *CN*: how far circles are from circles (`sg.get.scores`). Methods without a decoder have no value for these two.

{parts}
"""


def share_of_area(z: NDArray, chosen: NDArray[np.bool_]) -> float:
    """Return the share of the area within one radius of a cell that is nearest to a chosen cell."""
    tree = KDTree(z)
    radius = np.median(tree.query(z, [N_NEAREST + 1])[0])
    side = radius / PER_RADIUS
    steps = np.arange(-PER_RADIUS - 1, PER_RADIUS + 2)
    around = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    points = np.unique((np.floor(z / side).astype(int)[:, None] + around).reshape(-1, 2), axis=0)
    distance, nearest = tree.query((points + 0.5) * side, distance_upper_bound=radius)
    return float(chosen[nearest[np.isfinite(distance)]].mean())


def share_of_tiles(z: NDArray, chosen: NDArray[np.bool_]) -> float:
    """Return the share of the occupied tiles that the chosen cells have."""
    low, high = np.quantile(z, [0.01, 0.99], axis=0)
    side = np.sqrt(np.prod(high - low)) / N_TILES
    tile = np.unique(np.floor((z - low) / side).astype(int), axis=0, return_inverse=True)[1].ravel()
    return float((np.bincount(tile, weights=chosen) / np.bincount(tile)).mean())


def unevenness(z: NDArray) -> float:
    """Return how many times the room of a cell at the 90% quantile is that at the 10% quantile."""
    low, high = np.quantile(KDTree(z).query(z, [N_NEAREST + 1])[0] ** 2, [0.1, 0.9])
    return float(high / low)


def measure(x: NDArray, z: NDArray, chosen: NDArray[np.bool_]) -> dict[str, float]:
    scores = evaluate(x, {"map": z}, n_sample=len(x))["map"].scores
    row = {"area": share_of_area(z, chosen), "tiles": share_of_tiles(z, chosen), "uneven": unevenness(z)}
    return row | {which: scores[which].value for which in SCORES}


def run(x: NDArray, chosen: NDArray[np.bool_], equal_room: float, seed: int) -> dict[str, float]:
    fitted = fit(x, Settings(seed=seed, equal_room=equal_room))
    metric = torch.from_numpy(fitted.metric)
    low, high = np.quantile(metric.det().numpy() ** 0.25, [0.1, 0.9])
    of_decoder = {"scale": float(high / low), "CN": sg.geometry.distortion(metric).cn}
    return measure(x, fitted.embedding, chosen) | of_decoder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", metavar="DATA", help=f"of {', '.join(GROUPS)}; by default all")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    parts = []
    for name in options.data or GROUPS:
        adata = read(name)
        x = np.ascontiguousarray(adata.obsm["X_pca"], dtype=np.float32)
        groups = GROUPS[name]
        chosen = adata.obs[EVERY[name]].astype(str).isin(groups).to_numpy()
        seeds = range(options.seeds)
        maps = {method: [measure(x, embed(x, seed), chosen) for seed in seeds] for method, embed in OTHERS.items()}
        maps |= {method: [run(x, chosen, share, seed) for seed in seeds] for method, share in ROOM.items()}
        medians = pd.DataFrame({method: pd.DataFrame(rows).median() for method, rows in maps.items()}).T[[*MEASURES]]
        head = f"**{title(name)}** ({', '.join(groups)}: {chosen.mean():.0%} of the cells)"
        parts.append(f"{head}\n\n{table(medians)}")
        print(parts[-1], flush=True)
    text = TEXT.format(seeds=options.seeds, n_tiles=N_TILES, parts="\n\n".join(parts))
    (RESULTS / "room.md").write_text(text)


if __name__ == "__main__":
    main()
