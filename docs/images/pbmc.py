"""The picture of the README: ``python docs/images/pbmc.py``."""

from pathlib import Path

import matplotlib.pyplot as plt
import scanpy as sc

import scgeoae as sg

adata = sc.datasets.pbmc68k_reduced()
sg.tl.geoae(adata)
figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5), layout="constrained")
sg.pl.indicatrices(adata, color="bulk_labels", title="indicatrices", ax=left, show=False)
sg.pl.jacobian_heatmap(adata, title="Jacobian determinant", ax=right, show=False)
figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)
