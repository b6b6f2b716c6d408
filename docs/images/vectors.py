"""The picture of docs/vectors.md, of amphid neurons of the worm: ``python docs/images/vectors.py``."""

import sys
from pathlib import Path

import numpy as np
from small_png import save

import scgeoae as sg

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from reference_data import read

adata = read("packer2019_amphid_neurons")
sg.tl.geoae(adata)
x, time = adata.obsm["X_pca"], adata.obs["embryo_time"].to_numpy(dtype=float)
later = np.empty_like(x)
for i, near in enumerate(adata.obsp["geoae_connectivities"].tolil().rows):
    change = time[near] - time[i]
    # slope of a linear regression on time, in units of X_pca per minute
    later[i] = change @ (x[near] - x[i]) / max(change @ change, 1)
adata.obsm["later"] = later
sg.tl.project_vectors(adata, "later")
save(sg.pl.vectors(adata, "later", color="embryo_time", cmap="viridis", return_fig=True), "vectors_later")
