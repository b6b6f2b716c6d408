"""The pictures of docs/stability.md: ``python docs/images/stability.py``."""

import matplotlib.pyplot as plt
import scanpy as sc
from small_png import save

import scgeoae as sg

adata = sc.datasets.pbmc68k_reduced()
sg.tl.geoae(adata)
sg.tl.stability(adata, groupby="bulk_labels")
with plt.rc_context({"figure.figsize": (5.6, 4.2)}):
    save(sg.pl.stability(adata, color="bulk_labels", title="", return_fig=True), "stability")
    save(sg.pl.stability(adata, return_fig=True), "stability_uncertainty")
order = adata.uns["geoae_stability"]["order"]
print(f"{(order['share'] >= 0.95).mean():.0%} of {len(order)} orders hold on 95% of the refits or more")
print(order.query("group == 'CD14+ Monocyte' and share < 0.95").to_string())
