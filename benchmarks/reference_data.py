"""The reference data, preprocessed as the usual Scanpy notebook does it."""

from __future__ import annotations

import os
from pathlib import Path

import anndata
import scanpy as sc

FOLDER = Path(os.environ.get("SCGEOAE_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
LABELS = {
    "pbmc3k_pca": "louvain",
    "packer2019_amphid_neurons": "cell_type",
    "zilionis2019_mouse_lung": "major_cell_type",
}
# Settings of the autoencoders of the literature, which have no neighbor term
LITERATURE = {"neighbors_weight": 0, "batch_size": 128, "learning_rate": 5e-3}


def read(name: str) -> anndata.AnnData:
    """Read one data set with 50 principal components in ``obsm["X_pca"]``."""
    adata = anndata.read_h5ad(FOLDER / f"{name}.h5ad")
    if "X_pca" not in adata.obsm:
        sc.pp.filter_genes(adata, min_cells=3)
        sc.pp.normalize_total(adata, target_sum=1e4)
        sc.pp.log1p(adata)
        sc.pp.highly_variable_genes(adata, n_top_genes=2000)
        sc.pp.pca(adata, n_comps=50)
    return adata
