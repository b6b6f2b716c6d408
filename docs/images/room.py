"""Draw the maps of docs/defaults.md without and with equal room: ``python docs/images/room.py``."""

import matplotlib.pyplot as plt
import scanpy as sc
from small_png import save

import scgeoae as sg

adata = sc.datasets.pbmc68k_reduced()
maps = {f"room_{share}": f"equal_room={share}" for share in (0, 1)}
for share, key in enumerate(maps):
    sg.tl.geoae(adata, equal_room=share, key_added=key, progress_bar=False)
    # the area scale is the square of the scale of lengths
    low, high = adata.obs[f"{key}_log_area"].quantile([0.1, 0.9]) / 2
    print(f"{key}: the scale varies {10 ** (high - low):.2f}-fold, CN {sg.get.scores(adata, key=key)['CN']:.3f}")
with plt.rc_context({"figure.figsize": (4.6, 4)}):
    pair = {"basis": list(maps), "title": list(maps.values())}
    figure = sg.pl.indicatrices(adata, color="bulk_labels", size=40, **pair, return_fig=True)
for ax in figure.axes:
    ax.set(xlabel="", ylabel="")
save(figure, "room")
