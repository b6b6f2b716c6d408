"""Measure the maps that `embed_cells.py` left: ``python benchmarks/compare_embeddings.py [DATA ...]``.

Written into ``benchmarks/results/embeddings``: ``{data}.csv``, with one value of each measure of `scgeoae.tl.evaluate`
in each line, for each method and seed, and ``failed.csv``, with the methods that have no map of a data set, and why.
`write_tables.py` makes all tables of these files. ``--methods`` measures some methods and keeps the other lines.

``--figures`` draws instead, into ``benchmarks/results``:

- ``embeddings_{data}.png``: the measures as `scgeoae.pl.evaluation` draws them
- ``maps_{data}.png``: UMAP, t-SNE and the default map with indicatrices and areas
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from embed_cells import DATA, MAPS, Cells, read
from methods import METHODS, tsne, umap
from reference_data import LABELS
from reference_data import read as read_reference

import scgeoae as sg
from scgeoae.quality import evaluate, openproblems

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESULTS = Path(__file__).parent / "results"
OF_OPENPROBLEMS = ("density_preservation", "label_distance_correlation")
OF_LEFT_OUT = {"kNN": "neighborhood_preservation", "Trust": "trust"}


def scores(cells: Cells, maps: dict[str, NDArray]) -> dict[str, dict[str, float]]:
    """Return the measures of each map."""
    of_openproblems = OF_OPENPROBLEMS if cells.labels is not None else OF_OPENPROBLEMS[:1]
    found = [
        evaluate(cells.x, maps, labels=cells.labels),
        openproblems(cells.x, maps, labels=cells.labels, measures=of_openproblems),
    ]
    return {
        name: {which: estimate.value for part in found for which, estimate in part[name].scores.items()}
        for name in maps
    }


def scores_of_placed(cells: Cells, z: NDArray, placed: NDArray[np.bool_]) -> dict[str, float]:
    """Return the measures of those cells that were left out of training."""
    found = evaluate(cells.x, {"map": z}, n_sample=len(z), local_scores=True)["map"]
    return {which: getattr(found, field)[placed].mean() for which, field in OF_LEFT_OUT.items()}


def measure(name: str, methods: list[str], folder: Path) -> pd.DataFrame:
    """Return a table with the columns method, seed, measure and value."""
    cells = read(name)
    files = {path.stem: dict(np.load(path)) for method in methods for path in sorted(folder.glob(f"{method}.*.npz"))}
    maps = {stem: record.pop("map") for stem, record in files.items()}
    of_all = {stem: z for stem, z in maps.items() if "placed" not in files[stem]}
    measured = scores(cells, of_all) if of_all else {}
    rows = []
    for stem, record in files.items():
        if "placed" in record:
            measured[stem] = scores_of_placed(cells, maps[stem], record.pop("placed"))
        method, seed = stem.rsplit(".", 1)
        rows += [(method, int(seed), which, f"{value:.6g}") for which, value in (record | measured[stem]).items()]
    return pd.DataFrame(rows, columns=["method", "seed", "measure", "value"])


def failed(name: str, folder: Path) -> pd.DataFrame:
    """Return a table with the columns data, method and reason."""
    reasons = {path.name.removesuffix(".failed.txt"): path.read_text().strip() for path in folder.glob("*.failed.txt")}
    rows = [(name, method, reasons[method]) for method in METHODS if method in reasons]
    return pd.DataFrame(rows, columns=["data", "method", "reason"])


def write(path: Path, table: pd.DataFrame, column: str) -> None:
    """Write a table in the place of those lines of an earlier one that have the same values in `column`."""
    if path.exists():
        earlier = pd.read_csv(path, dtype={"value": str})
        table = pd.concat([earlier[~earlier[column].isin(table[column])], table])
    order = METHODS if column == "method" else DATA
    table = table.sort_values(column, key=lambda names: names.map(order.index), kind="stable")
    table.to_csv(path, index=False)


def draw(name: str) -> None:
    """Draw UMAP, t-SNE and the default map with their distortion, and who wins what."""
    adata = read_reference(name)
    for basis, embed in {"umap": umap, "tsne": tsne}.items():
        adata.obsm[f"X_{basis}"] = np.asarray(embed(np.asarray(adata.obsm["X_pca"]), 0), dtype=np.float32)
        sg.tl.distortion(adata, basis=basis, use_rep="X_pca", progress_bar=False)
    sg.tl.geoae(adata, use_rep="X_pca", progress_bar=False)
    shown = {"basis": ["umap", "tsne", "geoae"], "title": ["UMAP", "t-SNE", "scgeoae"], "return_fig": True}
    figures = {
        "maps": sg.pl.indicatrices(adata, color=LABELS[name], **shown),
        "areas": sg.pl.jacobian_heatmap(adata, **shown),
    }
    for prefix, figure in figures.items():
        figure.savefig(RESULTS / f"{prefix}_{name}.png", dpi=70, bbox_inches="tight")
        plt.close(figure)
    adata.obsm["X_pca2"] = np.asarray(adata.obsm["X_pca"])[:, :2]
    sg.tl.evaluate(adata, basis=["geoae", "umap", "tsne", "pca2"], use_rep="X_pca", groupby=LABELS[name])
    ax = sg.pl.evaluation(adata, show=False)
    ax.figure.savefig(RESULTS / f"embeddings_{name}.png", dpi=80, bbox_inches="tight")
    plt.close(ax.figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", metavar="DATA", help=f"of {', '.join(DATA)}; by default all that have maps")
    parser.add_argument("--methods", nargs="+", default=METHODS, metavar="METHOD", help=f"of {'; '.join(METHODS)}")
    parser.add_argument("--maps", type=Path, default=MAPS, metavar="FOLDER")
    parser.add_argument("--figures", action="store_true", help="only draw")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    mpl.use("Agg")
    if options.figures:
        for name in options.data or LABELS:
            draw(name)
        return
    files = RESULTS / "embeddings"
    files.mkdir(parents=True, exist_ok=True)
    for name in options.data or [name for name in DATA if (options.maps / name).exists()]:
        folder = options.maps / name
        write(files / f"{name}.csv", measure(name, options.methods, folder), "method")
        write(files / "failed.csv", failed(name, folder), "data")
        print(name, flush=True)


if __name__ == "__main__":
    main()
