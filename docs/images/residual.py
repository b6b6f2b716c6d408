"""The pictures of docs/residual.md and docs/card.md: ``python docs/images/residual.py``."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import scanpy as sc
from small_png import save

import scgeoae as sg

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from reference_data import read

adata = read("zilionis2019_mouse_lung")
sg.tl.geoae(adata, use_rep="X_pca", progress_bar=False)
sg.tl.residual(adata, groupby="major_cell_type")
table = adata.uns["geoae_residual"]
print(table.to_string())
first = table["region"][0]
own = adata[adata.obs["major_cell_type"] == first].copy()
sg.tl.geoae(own, use_rep="X_pca", key_added="own", progress_bar=False)
figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
sg.pl.embedding(adata, color="geoae_residual", ax=axes[0], show=False, title="Hidden structure, share of variance")
for name, cells in adata.obs.groupby("major_cell_type", observed=True).indices.items():
    axes[0].annotate(name, np.median(adata.obsm["X_geoae"][cells], axis=0), ha="center", fontsize=8)
for ax, key, title in (
    (axes[1], "geoae", f"{first} on the map of all cells"),
    (axes[2], "own", f"{first} on a map of their own"),
):
    sg.pl.embedding(own, key, color="minor_subset", ax=ax, show=False, title=title)
save(figure, "residual")

adata = sc.datasets.pbmc68k_reduced()
sg.tl.geoae(adata, progress_bar=False)
sg.tl.distortion(adata, progress_bar=False)
save(sg.pl.embedding(adata, color="bulk_labels", return_fig=True), "card")
for key in ("geoae", "umap"):
    print(sg.get.card(adata, key=key, groupby="bulk_labels"))
