#!/usr/bin/env bash
# scVelo 0.3.4: a plot replaces arrows that another tool has stored.
#
# Arrows on an embedding live in `obsm["velocity_umap"]`. scVelo's plots draw what is there, so a tool that projects velocities
# in its own way stores them under this name, and calls `scv.pl.velocity_embedding(adata, basis="umap")`. The plot looks into
# `uns["velocity_params"]["embeddings"]` first. If "umap" is not listed there, it projects the velocities itself, draws its own
# arrows, and writes them over those that were stored, without a word. They stay if the name is added to that list.
#
# Installs into a temporary folder. Exit status 0: as described. Another Python: PYTHON=... bash findings/scvelo_plot_replaces.sh
set -euo pipefail
export PIP_DISABLE_PIP_VERSION_CHECK=1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat > run.py <<'PYTHON'
import warnings

import matplotlib
import numpy as np
from anndata import AnnData

matplotlib.use("agg")
warnings.simplefilter("ignore")
import scvelo as scv

scv.settings.verbosity = 0
rng = np.random.default_rng(0)
x = rng.normal(size=(60, 5)).astype("float32")


def cells():
    adata = AnnData(x.copy(), layers={"Ms": x.copy(), "velocity": -x}, obsm={"X_umap": x[:, :2].copy()})
    scv.tl.velocity_graph(adata, n_neighbors=10, show_progress_bar=False)
    adata.obsm["velocity_umap"] = np.tile(np.float32([1, 0]), (60, 1))  # arrows of another tool: all point to the right
    return adata


def is_kept(adata):
    scv.pl.velocity_embedding(adata, basis="umap", show=False)
    return bool((adata.obsm["velocity_umap"] == [1, 0]).all())


unlisted, listed = cells(), cells()
listed.uns["velocity_params"]["embeddings"] = ["umap"]
print(scv.__version__, f"stored arrows are kept: {is_kept(unlisted)}, if the embedding is listed: {is_kept(listed)}")
PYTHON

"${PYTHON:-python3.11}" -m venv env
env/bin/pip install --quiet scvelo==0.3.4 "numpy==1.26.4" "scanpy==1.11.5" "anndata==0.12.2" "pandas==2.3.3" "scipy==1.15.3" "matplotlib==3.9.4" "scikit-learn==1.6.1" ipywidgets ipython
env/bin/python run.py | tee output
grep -q "^0.3.4 stored arrows are kept: False, if the embedding is listed: True$" output
echo "as described"
