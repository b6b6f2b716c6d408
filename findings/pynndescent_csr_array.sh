#!/usr/bin/env bash
# sc.pp.neighbors of Scanpy fails with pynndescent 0.7.0 from 8,192 cells on.
#
# Below that Scanpy searches neighbors exactly and pynndescent is not asked. Beyond, it takes the transformer of
# pynndescent, which returned a csr_matrix up to 0.6.0 and returns a csr_array since 0.7.0. Scanpy (1.11.5, and 1.12.4
# and 1.13.0a2 too) calls its method `getnnz`, which sparse arrays do not have: AttributeError. Scanpy sets no upper
# bound on pynndescent.
#
# It matters because everything after it (UMAP, Leiden, diffusion maps) stops, and on real data only: the small data
# of tests and tutorials do not reach the size. pynndescent 0.6.0 works.
#
# Installs into a temporary folder. Exit status 0: as described. Other Pythons and versions of Scanpy:
#     PYTHON=python3.12 SCANPY=1.12.4 bash findings/pynndescent_csr_array.sh
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
from pynndescent import PyNNDescentTransformer

print(*(f"{name} {version(name)}" for name in ("scanpy", "pynndescent", "anndata", "scipy", "numpy")), flush=True)
x = np.random.default_rng(0).normal(size=(9000, 50)).astype(np.float32)
found = []
for n in (8000, 9000):
    try:
        sc.pp.neighbors(anndata.AnnData(x[:n].copy()), use_rep="X")
        found.append("works")
    except AttributeError as error:
        found.append(f"AttributeError: {error}")
    print(f"    sc.pp.neighbors of {n} cells:", found[-1], flush=True)
kind = type(PyNNDescentTransformer(n_neighbors=15).fit_transform(x)).__name__
print("    PyNNDescentTransformer returns a", kind)
expected = {"old": ("csr_matrix", "works", "works"), "new": ("csr_array", "works", "AttributeError")}[sys.argv[1]]
sys.exit((kind, *(what.split(":")[0] for what in found)) != expected)
PYTHON

status=0
for pair in 0.5.13:old 0.6.0:old 0.7.0:new; do
    "$folder/bin/pip" install -q "scanpy==${SCANPY:-1.11.5}" "anndata==0.12.19" "pandas==2.3.3" \
        "numpy==2.4.6" "scipy==1.17.1" "numba==0.68.1" "scikit-learn==1.9.1" "pynndescent==${pair%:*}"
    "$folder/bin/python" "$folder/try.py" "${pair#*:}" || { echo "    NOT AS DESCRIBED"; status=1; }
done
exit $status
