"""The pictures of docs/density.md, of the mouse lung: ``python docs/images/density.py``."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import scanpy as sc
from small_png import save

import scgeoae as sg

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from reference_data import read

adata = read("zilionis2019_mouse_lung")
sg.tl.geoae(adata)
sc.pp.neighbors(adata)
sc.tl.umap(adata)
sg.tl.distortion(adata)

sg.tl.density(adata, groupby="tissue", sample="animal", reference="healthy")
save(sg.pl.density(adata, return_fig=True), "density_conditions")
print((adata.obs["geoae_fdr_tumor"] <= 0.1).groupby(adata.obs["major_cell_type"], observed=True).mean())

for key in ("geoae", "umap"):
    sg.tl.density(adata, key=key)
figure, axes = plt.subplots(1, 2, figsize=(13, 4.5))
for ax, key in zip(axes, ("geoae", "umap"), strict=True):
    sg.pl.density(adata, basis=key, vmin=0.02, vmax=3, ax=ax, title=key, show=False)
save(figure, "density_maps")
