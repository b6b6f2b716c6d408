"""Draw the figure of the README and print how much areas vary on its maps: ``python docs/images/pbmc.py``."""

from pathlib import Path

import matplotlib.pyplot as plt
import scanpy as sc

import scgeoae as sg

adata = sc.datasets.pbmc68k_reduced()
sg.tl.distortion(adata, basis="umap")
sg.tl.geoae(adata)
for basis in ("umap", "geoae"):
    low, high = adata.obs[f"{basis}_log_area"].quantile([0.05, 0.95])
    print(f"{basis}: the area scale varies {10 ** (high - low):.2f}-fold")
figure, (left, right) = plt.subplots(1, 2, figsize=(13.5, 5), layout="constrained")
of = {"color": "bulk_labels", "show": False}
sg.pl.indicatrices(adata, basis="umap", title="sc.tl.umap(adata)", legend_loc="none", ax=left, **of)
sg.pl.indicatrices(adata, title="sg.tl.geoae(adata)", ax=right, **of)
figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)
