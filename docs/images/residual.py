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

adata = read("pbmc3k_pca")
adata.obs["louvain"] = adata.obs["louvain"].astype(str)
sg.tl.geoae(adata, use_rep="X_pca", progress_bar=False)
sg.tl.residual(adata, groupby="louvain")
table = adata.uns["geoae_residual"]
print(table.to_string())
worst = table["region"][table["structured"].argmax()]
own = adata[adata.obs["louvain"] == worst].copy()
sg.tl.geoae(own, use_rep="X_pca", key_added="own", progress_bar=False)
decoded = sg.get.model(adata).decode(own.obsm["X_geoae"]).detach().numpy()
own.obs["hidden"] = sc.pp.pca(own.obsm["X_pca"] - decoded, n_comps=1)[:, 0]
figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
sg.pl.embedding(adata, color="geoae_residual", ax=axes[0], show=False, title="Hidden structure (share of the variance)")
for name, cells in adata.obs.groupby("louvain", observed=True).indices.items():
    place = np.median(adata.obsm["X_geoae"][cells], axis=0)
    box = {"facecolor": "white", "edgecolor": "none", "boxstyle": "round,pad=0.15", "alpha": 0.8}
    axes[0].annotate(name, place, ha="center", va="center", fontsize=10, bbox=box)
middle = {"color": "hidden", "cmap": "coolwarm", "vcenter": 0, "size": 25, "show": False}
sg.pl.embedding(own, "geoae", ax=axes[1], title=f"Group {worst} on the map of all cells", **middle)
sg.pl.embedding(own, "own", ax=axes[2], title=f"Group {worst} on a map of its own", **middle)
save(figure, "residual")

adata = sc.datasets.pbmc68k_reduced()
sg.tl.geoae(adata, progress_bar=False)
sg.tl.distortion(adata, progress_bar=False)
save(sg.pl.embedding(adata, color="bulk_labels", return_fig=True), "card")
for key in ("geoae", "umap"):
    print(sg.get.card(adata, key=key, groupby="bulk_labels"))
