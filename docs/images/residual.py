"""The pictures of docs/residual.md and docs/card.md: ``python docs/images/residual.py``."""

import matplotlib.pyplot as plt
import numpy as np
import scanpy as sc
from small_png import save

import scgeoae as sg

adata = sc.datasets.pbmc68k_reduced()
sg.tl.geoae(adata, progress_bar=False)
sg.tl.residual(adata, groupby="bulk_labels")
table = adata.uns["geoae_residual"]
print(table.to_string())
figure, ax = plt.subplots(figsize=(6, 4.6), layout="constrained")
sg.pl.embedding(adata, color="geoae_residual", ax=ax, show=False, title="Hidden structure (share of the variance)")
for name, cells in adata.obs.groupby("bulk_labels", observed=True).indices.items():
    if len(cells) < 60:
        continue
    place = np.median(adata.obsm["X_geoae"][cells], axis=0)
    box = {"facecolor": "white", "edgecolor": "none", "boxstyle": "round,pad=0.15", "alpha": 0.8}
    ax.annotate(name, place, ha="center", va="center", fontsize=8, bbox=box)
save(figure, "residual")

sg.tl.distortion(adata, progress_bar=False)
save(sg.pl.embedding(adata, color="bulk_labels", return_fig=True), "card")
for key in ("geoae", "umap"):
    print(sg.get.card(adata, key=key, groupby="bulk_labels"))
