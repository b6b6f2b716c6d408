"""Draw the figure of the README and print how much areas vary on its maps: ``python docs/images/pbmc.py``."""

from pathlib import Path

import scanpy as sc

import scgeoae as sg

adata = sc.datasets.pbmc68k_reduced()
sg.tl.distortion(adata, basis="umap")
sg.tl.geoae(adata)
for basis in ("umap", "geoae"):
    low, high = adata.obs[f"{basis}_log_area"].quantile([0.05, 0.95])
    print(f"{basis}: the area scale varies {10 ** (high - low):.2f}-fold")
titles = ["sc.tl.umap(adata)", "sg.tl.geoae(adata)"]
figure = sg.pl.indicatrices(adata, basis=["umap", "geoae"], color="bulk_labels", title=titles, return_fig=True)
figure.savefig(Path(__file__).with_suffix(".png"), dpi=110, bbox_inches="tight")
