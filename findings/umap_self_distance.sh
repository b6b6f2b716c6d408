#!/usr/bin/env bash
# Exact neighbors of scikit-learn give another UMAP graph than the same neighbors of UMAP (umap-learn 0.5.12).
#
# UMAP measures distances from the nearest other cell (rho), so that each cell has one edge of weight 1
# (local_connectivity=1). It takes the first distance that is greater than 0. scikit-learn's brute-force search, which
# it chooses above 15 dimensions, computes |x|^2 + |y|^2 - 2xy, and rounding leaves about 1e-6 to 1e-5 between many
# cells and themselves. UMAP takes this as the distance to the nearest neighbor. There is no warning.
#
# It matters because exact neighbors are what a careful comparison of maps would share between methods, and
# precomputed_knn asks for neighbors in this form. sc.pp.neighbors of Scanpy 1.11.5 is affected too when it gets
# KNeighborsTransformer() as its transformer, and Leiden and UMAP after it; transformer="sklearn" is not, because Scanpy
# then sets the diagonal to 0. Setting distances[:, 0] = 0 mends UMAP.
#
# Installs into a temporary folder. Exit status 0: as described. Other Pythons:
#     PYTHON=python3.12 bash findings/umap_self_distance.sh
set -euo pipefail
export OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 PIP_DISABLE_PIP_VERSION_CHECK=1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"

cat > "$folder/try.py" <<'PYTHON'
import sys
import warnings
from importlib.metadata import version

warnings.simplefilter("ignore")
import anndata, numpy as np, scanpy as sc
from scipy.spatial.distance import cdist
from sklearn.neighbors import KNeighborsTransformer, NearestNeighbors
from umap import UMAP

print(*(f"{name} {version(name)}" for name in ("umap-learn", "scikit-learn", "scanpy", "numpy")), flush=True)
rng = np.random.default_rng(0)
types = rng.normal(scale=6, size=(12, 50))
x = (types[rng.integers(12, size=1500)] + rng.normal(size=(1500, 50)) * np.linspace(3, 0.5, 50)).astype(np.float32)

# The reference: distances as sums of squared differences, which are exactly 0 from a cell to itself.
exact = cdist(x.astype(float), x.astype(float))
order = np.argsort(exact, axis=1)[:, :15]
nearest = np.take_along_axis(exact, order, axis=1)[:, 1]

distances, indices = NearestNeighbors(n_neighbors=15).fit(x).kneighbors(x)
same = (indices == order).all() and np.allclose(distances, np.take_along_axis(exact, order, axis=1), atol=1e-3)
print(f"    scikit-learn: the right neighbors: {same}; to itself at most {distances[:, 0].max():.1e}", flush=True)


def without_a_full_edge(graph):
    return (graph.max(axis=1).toarray() < 0.999).mean()


def fit(distances):
    model = UMAP(precomputed_knn=(indices, distances), n_epochs=10, random_state=0, n_jobs=1).fit(x)
    wrong = (np.abs(model._rhos - nearest) > 0.01 * nearest).mean()
    share = without_a_full_edge(model.graph_)
    print(f"    UMAP: {wrong:.0%} of rho wrong, {share:.0%} of cells without an edge of weight 1", flush=True)
    return wrong, model.graph_


def neighbors(transformer):
    adata = anndata.AnnData(x.copy())
    sc.pp.neighbors(adata, use_rep="X", transformer=transformer)
    share = without_a_full_edge(adata.obsp["connectivities"])
    print(f"    sc.pp.neighbors, {transformer}: {share:.0%} of cells without an edge of weight 1", flush=True)
    return share


wrong, graph = fit(distances)
distances[:, 0] = 0
mended, right = fit(distances)
print(f"    a weight differs by up to {abs(graph - right).max():.2f}", flush=True)
instance, word = neighbors(KNeighborsTransformer(n_neighbors=15)), neighbors("sklearn")
changed = abs(graph - right).max() > 0.3 and instance > 0.05
sys.exit(not (same and wrong > 0.1 and mended == 0 and changed and word == 0))
PYTHON

"$folder/bin/pip" install -q "umap-learn==0.5.12" "pynndescent==0.6.0" "scanpy==1.11.5" "anndata==0.12.19" \
    "pandas==2.3.3" "numpy==2.4.6" "scipy==1.17.1" "numba==0.68.1" "scikit-learn==1.9.1"
"$folder/bin/python" "$folder/try.py" || { echo "    NOT AS DESCRIBED"; exit 1; }
