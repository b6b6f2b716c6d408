"""The pictures of docs/using.md, of 80% of the amphid neurons: ``python docs/images/using.py``."""

import sys
from pathlib import Path

import numpy as np
import scanpy as sc
from small_png import save

import scgeoae as sg

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from reference_data import read

cells = read("packer2019_amphid_neurons")
cells.var_names = cells.var["gene_short_name"].astype(str)
cells.var_names_make_unique()
is_new = np.zeros(cells.n_obs, dtype=bool)
is_new[np.random.default_rng(0).permutation(cells.n_obs)[: cells.n_obs // 5]] = True
adata, adata_new = cells[~is_new].copy(), cells[is_new].copy()
sc.pp.pca(adata, n_comps=50)
del adata_new.obsm["X_pca"]
sg.tl.geoae(adata)
sg.tl.transform(adata_new, adata)

save(sg.pl.transform(adata_new, adata, color="cell_type", return_fig=True), "using_transform")
save(sg.pl.decoded_genes(adata, ["odr-7", "ceh-36", "hil-2"], return_fig=True), "using_decoded_genes")
paths = [sg.tl.geodesic(adata, "Neuroblast_ASG_AWA", kind, groupby="cell_type") for kind in ("AWA", "ASG")]
save(sg.pl.geodesics(adata, paths, color="cell_type", return_fig=True), "using_geodesics")
save(sg.pl.geodesic_genes(adata, paths[0], return_fig=True), "using_geodesic_genes")
save(sg.pl.gene_compass(adata, "cell_type", "AWA", return_fig=True), "using_compass")
