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

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from embed_cells import DATA, MAPS, read
from methods import METHODS, tsne, umap
from reference_data import LABELS
from reference_data import read as read_reference

import scgeoae as sg
from scgeoae.quality import evaluate

RESULTS = Path(__file__).parent / "results"
OF_LEFT_OUT = {"kNN": "neighborhood_preservation", "Trust": "trust"}


def measure(name: str, methods: list[str], folder: Path) -> pd.DataFrame:
    """Return a table with the columns method, seed, measure and value."""
    found = {
        (method, seed): dict(np.load(path))
        for method in methods
        for seed, path in sorted((int(path.suffixes[-2][1:]), path) for path in folder.glob(f"{method}.*.npz"))
    }
    cells = read(name)
    maps = {key: record.pop("map") for key, record in found.items() if "placed" not in record}
    measured = evaluate(cells.x, {repr(key): z for key, z in maps.items()}, labels=cells.labels) if maps else {}
    rows = []
    for (method, seed), record in found.items():
        if "placed" in record:
            local = evaluate(cells.x, {"map": record.pop("map")}, n_sample=len(cells.x), local_scores=True)["map"]
            placed = record.pop("placed")
            values = {which: getattr(local, field)[placed].mean() for which, field in OF_LEFT_OUT.items()}
        else:
            scores = measured[repr((method, seed))].scores
            values = {which: estimate.value for which, estimate in scores.items()}
        values = {which: float(value) for which, value in (record | values).items()}
        rows += [(method, seed, which, value) for which, value in values.items()]
    return pd.DataFrame(rows, columns=["method", "seed", "measure", "value"])


def failed(name: str, folder: Path) -> pd.DataFrame:
    """Return a table with the columns data, method and reason."""
    reasons = {path.name.removesuffix(".failed.txt"): path.read_text().strip() for path in folder.glob("*.failed.txt")}
    rows = [(name, method, reasons[method]) for method in METHODS if method in reasons]
    return pd.DataFrame(rows, columns=["data", "method", "reason"])


def write(path: Path, table: pd.DataFrame, column: str, renewed: list[str]) -> None:
    """Write a table in the place of those lines of an earlier one whose `column` is one of `renewed`."""
    if path.exists():
        earlier = pd.read_csv(path, dtype={"value": str})
        table = pd.concat([earlier[~earlier[column].isin(renewed)], table])
    order = METHODS if column == "method" else DATA
    table = table.sort_values(column, key=lambda names: names.map(order.index), kind="stable")
    table.to_csv(path, index=False, float_format="%.6g")


def draw(name: str) -> None:
    """Draw UMAP, t-SNE and the default map with their distortion, and who wins what."""
    adata = read_reference(name)
    for basis, embed in {"umap": umap, "tsne": tsne}.items():
        adata.obsm[f"X_{basis}"] = np.asarray(embed(np.asarray(adata.obsm["X_pca"]), 0), dtype=np.float32)
        sg.tl.distortion(adata, basis=basis, use_rep="X_pca", progress_bar=False)
    sg.tl.geoae(adata, use_rep="X_pca", progress_bar=False)
    bases = {"umap": "UMAP", "tsne": "t-SNE", "geoae": "scgeoae"}
    figure, axes = plt.subplots(2, 3, figsize=(18, 9.5), layout="constrained")
    for column, (basis, title) in enumerate(bases.items()):
        legend = {} if basis == "geoae" else {"legend_loc": "none"}
        shown = {"basis": basis, "show": False, "title": title}
        sg.pl.indicatrices(adata, color=LABELS[name], ax=axes[0, column], **shown, **legend)
        # one scale for all, or the least distorted would look as colorful as the most
        sg.pl.jacobian_heatmap(adata, ax=axes[1, column], vmax=0.5, **shown)
    figure.savefig(RESULTS / f"maps_{name}.png", dpi=70)
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
        write(files / f"{name}.csv", measure(name, options.methods, folder), "method", options.methods)
        write(files / "failed.csv", failed(name, folder), "data", [name])
        print(name, flush=True)


if __name__ == "__main__":
    main()
