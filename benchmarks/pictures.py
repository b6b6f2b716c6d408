"""Draw UMAP and default map as a paper would show them, and measure what a reader sees.

``python benchmarks/pictures.py [DATA ...] [-o FOLDER]`` draws `sg.pl.embedding`, `sg.pl.indicatrices` and
`sg.pl.jacobian_heatmap` of the reference data, as they are and scaled, in panels of 3.2 × 3 inches, and prints

- *filled*: the share of a panel that the middle 95% of the cells fill, by `sc.pl.embedding` and `sg.pl.embedding`;
- *covered*: the share of the cells whose center lies under an outline of `sg.pl.indicatrices`;
- *few*: the share of the outlines with fewer than 0.5% of the cells under or beside them, and their number;
- *SVG*: the size of the heat map as a file, in MB.

PBMC 3k has no genes to scale, so its components are standardized. 100,000 drawn cells are mapped
without refinement, and their UMAP starts at random and has 60 epochs.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import scanpy as sc
from anndata import AnnData
from on_gpu import near_pbmc
from reference_data import LABELS, read
from sklearn.preprocessing import StandardScaler

import scgeoae as sg

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.pl.ink import measure_ink

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MANY = "near_100000"
DATA = [*LABELS, *(f"{name}_scaled" for name in LABELS), MANY]


def cells_of(name: str) -> tuple[AnnData, str | None]:
    """Return cells with a UMAP, a map, and their distortion, and the column to color them by."""
    label = LABELS.get(name.removesuffix("_scaled"))
    if name == MANY:
        x = near_pbmc(100_000)
        adata = AnnData(shape=(len(x), 0), obsm={"X_pca": x})
    elif name == "pbmc3k_pca_scaled":
        # there are no genes to scale
        adata = read("pbmc3k_pca")
        adata.obsm["X_pca"] = StandardScaler().fit_transform(adata.obsm["X_pca"])
    else:
        adata = read(name)
    sc.pp.neighbors(adata, use_rep="X_pca")
    sc.tl.umap(adata, **({"init_pos": "random", "maxiter": 60} if name == MANY else {}))
    sg.tl.distortion(adata, basis="umap", use_rep="X_pca", progress_bar=False)
    sg.tl.geoae(adata, use_rep="X_pca", refine=None if label else False, progress_bar=False)
    return adata, label


def filled(ax: Axes, z: np.ndarray) -> float:
    """Return the share of the panel that the middle 95% of the cells fill, on each axis."""
    ax.figure.canvas.draw()
    middle = np.diff(np.quantile(z, [0.025, 0.975], axis=0), axis=0)[0]
    return float(middle.prod() / (np.ptp(ax.get_xlim()) * np.ptp(ax.get_ylim())))


def size_of_svg(panels: Any) -> float:
    """Return how many megabytes a figure takes."""
    scratch = BytesIO()
    panels[0].figure.savefig(scratch, format="svg")
    return len(scratch.getvalue()) / 1e6


def draw(name: str, folder: Path) -> None:
    """Draw one data set, and print a line for each of its maps."""
    adata, label = cells_of(name)
    bases = ["umap", "geoae"]
    shares = {}
    for basis in bases:
        z = adata.obsm[f"X_{basis}"].astype(float)
        before = filled(sc.pl.embedding(adata, basis, color=label, show=False), z)
        ax = sg.pl.embedding(adata, basis, color=label, show=False)
        shares[basis] = before, filled(ax, z)
        ax.figure.savefig(folder / f"{name}_{basis}.png", dpi=150, bbox_inches="tight")
    panels = sg.pl.indicatrices(adata, basis=bases, color=label, show=False)
    panels[0].figure.savefig(folder / f"{name}_indicatrices.png", dpi=150, bbox_inches="tight")
    heat = sg.pl.jacobian_heatmap(adata, basis=bases, show=False)
    heat[0].figure.savefig(folder / f"{name}_heatmap.png", dpi=150, bbox_inches="tight")
    megabytes = size_of_svg(heat)
    for basis in bases:
        ink = measure_ink(sg.pl.indicatrices(adata, basis=basis, color=label, show=False))
        print(
            f"{name} {basis}: filled {shares[basis][0]:.2f} -> {shares[basis][1]:.2f}; covered {ink.covered:.1%}; "
            f"few {ink.lonely:.0%} of {ink.n_outlines}; SVG {megabytes:.2f}",
            flush=True,
        )
    plt.close("all")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", metavar="DATA", help=f"of {', '.join(DATA)}")
    parser.add_argument("-o", "--output", type=Path, default=Path("pictures"), metavar="FOLDER")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    mpl.use("Agg")
    plt.rcParams["figure.figsize"] = (3.2, 3)
    options.output.mkdir(parents=True, exist_ok=True)
    for name in options.data or DATA:
        draw(name, options.output)


if __name__ == "__main__":
    main()
