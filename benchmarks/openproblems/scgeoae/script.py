"""Embed one data set: ``python script.py --input dataset.h5ad --output embedding.h5ad``."""

import anndata as ad
import numpy as np
import scanpy as sc

import scgeoae as sg

# Viash replaces all lines between the next two comments by its own `par` and `meta`.
## VIASH START
import argparse  # isort: skip

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--input", required=True)
parser.add_argument("--output", required=True)
parser.add_argument("--n_hvg", type=int, default=1000)
parser.add_argument("--n_pca_dims", type=int, default=50)
parser.add_argument("--neighbors_weight", type=float)
parser.add_argument("--random_state", type=int, default=0)
par = vars(parser.parse_args())
meta = {"name": "scgeoae"}
## VIASH END

print("Read the data", flush=True)
dataset = ad.read_h5ad(par["input"])
matrix = dataset.layers["normalized"]

if par["n_hvg"]:
    print(f"Keep the {par['n_hvg']} most variable genes", flush=True)
    # in this order, genes whose score is NaN are last
    by_score = np.argsort(-dataset.var["hvg_score"].to_numpy(), kind="stable")
    matrix = matrix[:, by_score[: par["n_hvg"]]]

if par["n_pca_dims"]:
    print("Compute principal components", flush=True)
    n_comps = min(par["n_pca_dims"], min(matrix.shape) - 1)
    matrix = sc.pp.pca(matrix, n_comps=n_comps, svd_solver="arpack")

print("Make the map", flush=True)
output = ad.AnnData(obs=dataset.obs[[]], obsm={"representation": matrix})
sg.tl.geoae(
    output,
    use_rep="representation",
    neighbors_weight=par["neighbors_weight"],
    random_state=par["random_state"],
    progress_bar=False,
)

print("Write the map", flush=True)
ad.AnnData(
    obs=dataset.obs[[]],
    obsm={"X_emb": output.obsm["X_geoae"].astype(np.float64)},
    uns={
        "dataset_id": dataset.uns["dataset_id"],
        "normalization_id": dataset.uns["normalization_id"],
        "method_id": meta["name"],
    },
).write_h5ad(par["output"], compression="gzip")
