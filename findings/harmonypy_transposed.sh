#!/usr/bin/env bash
# sc.external.pp.harmony_integrate of Scanpy fails with harmonypy 0.1.0, 0.2.0, 2.0.2 and 2.1.0.
#
# Up to 0.0.10 harmonypy returned the corrected components as `Z_corr` of shape (components, cells). Since 0.1.0 it is
# (cells, components). Scanpy (1.11.5, and 1.12.4 too) still transposes it, and AnnData refuses an array that has not
# one row for each cell. Scanpy sets no upper bound on harmonypy, so that a new environment has the two that do not fit.
#
# It matters because Harmony is the usual way to join batches before a map is made: whoever follows a tutorial meets
# "Value passed for key 'X_pca_harmony' is of incorrect shape". Without the wrapper all versions work:
#     adata.obsm["X_pca_harmony"] = harmonypy.run_harmony(adata.obsm["X_pca"], adata.obs, "batch").Z_corr
#
# Installs into a temporary folder. Exit status 0: as described. Other Pythons and versions of Scanpy:
#     PYTHON=python3.12 SCANPY=1.12.4 bash findings/harmonypy_transposed.sh
set -euo pipefail
export OMP_NUM_THREADS=1 PIP_DISABLE_PIP_VERSION_CHECK=1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"

cat > "$folder/try.py" <<'PYTHON'
import logging
import sys
import warnings
from importlib.metadata import version

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
import anndata, harmonypy, numpy as np, pandas as pd, scanpy as sc

print(*(f"{name} {version(name)}" for name in ("scanpy", "harmonypy", "anndata", "numpy")))
rng = np.random.default_rng(0)
batch = np.repeat(["a", "b"], 150)
x = rng.normal(size=(300, 10)) + 2 * (batch == "b")[:, None]
names = [f"cell {i}" for i in range(300)]
adata = anndata.AnnData(np.zeros((300, 3), dtype=np.float32), obs=pd.DataFrame({"batch": batch}, index=names))
adata.obsm["X_pca"] = x

shape = harmonypy.run_harmony(x, adata.obs, "batch").Z_corr.shape
print("    harmonypy.run_harmony: Z_corr of shape", shape)
try:
    sc.external.pp.harmony_integrate(adata, "batch")
    wrapper = "works"
except ValueError as error:
    wrapper = "ValueError: " + str(error).splitlines()[0]
print("    sc.external.pp.harmony_integrate:", wrapper)
expected = {"old": ((10, 300), "works"), "new": ((300, 10), "ValueError")}[sys.argv[1]]
sys.exit((shape, wrapper.split(":")[0]) != expected)
PYTHON

status=0
for pair in 0.0.10:old 0.1.0:new 0.2.0:new 2.0.2:new 2.1.0:new; do
    "$folder/bin/pip" install -q "scanpy==${SCANPY:-1.11.5}" "anndata==0.12.19" "pandas==2.3.3" \
        "numpy==2.4.6" "scipy==1.17.1" "numba==0.68.1" "scikit-learn==1.9.1" "harmonypy==${pair%:*}"
    "$folder/bin/python" "$folder/try.py" "${pair#*:}" || { echo "    NOT AS DESCRIBED"; status=1; }
done
exit $status
