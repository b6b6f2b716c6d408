"""Draw the maps of docs/defaults.md without and with equal room: ``python docs/images/room.py``."""

from pathlib import Path

import matplotlib.pyplot as plt
import scanpy as sc

import scgeoae as sg

adata = sc.datasets.pbmc68k_reduced()
figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained", width_ratios=(1, 1.05))
for share, ax, legend in zip((0, 1), axes, ("none", "right margin"), strict=True):
    key = f"room_{share}"
    sg.tl.geoae(adata, equal_room=share, key_added=key, progress_bar=False)
    # the area scale is the square of the scale of lengths
    low, high = adata.obs[f"{key}_log_area"].quantile([0.1, 0.9]) / 2
    print(f"{key}: the scale varies {10 ** (high - low):.2f}-fold, CN {sg.get.scores(adata, key=key)['CN']:.3f}")
    of = {"color": "bulk_labels", "size": 40, "legend_loc": legend, "ax": ax, "show": False}
    sg.pl.indicatrices(adata, basis=key, title=f"equal_room={share}", **of)
    ax.set(xlabel="", ylabel="")
figure.savefig(Path(__file__).with_suffix(".png"), dpi=90)
