"""Draw the figure of docs/gap.md: ``python docs/images/gap.py``."""

import matplotlib.pyplot as plt
import scanpy as sc
from small_png import save

import scgeoae as sg

adata = sc.datasets.pbmc68k_reduced()
sg.tl.geoae(adata, progress_bar=False)
found = sg.tl.gap(adata, "CD14+ Monocyte", "Dendritic", groupby="bulk_labels")
print(found)
with plt.rc_context({"figure.figsize": (4.6, 4)}):
    save(sg.pl.gap(adata, found, return_fig=True), "gap")
