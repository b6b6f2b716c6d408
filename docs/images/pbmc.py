"""The picture of the README: ``python docs/images/pbmc.py``."""

from pathlib import Path

import matplotlib.pyplot as plt
import scanpy as sc

import scgeoae as sg

adata = sc.datasets.pbmc68k_reduced()
sg.tl.distortion(adata, basis="umap")
sg.tl.geoae(adata)
figure, (left, right) = plt.subplots(1, 2, figsize=(13.5, 5), layout="constrained")
of = {"color": "bulk_labels", "show": False}
sg.pl.indicatrices(adata, basis="umap", title="sc.tl.umap(adata)", legend_loc="none", ax=left, **of)
sg.pl.indicatrices(adata, title="sg.tl.geoae(adata)", ax=right, **of)
figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)
