#!/usr/bin/env bash
# sc.tl.diffmap changes how NumPy prints numbers for the rest of the session (Scanpy 1.11.5).
#
# Computing the eigenvectors calls np.set_printoptions(precision=10) and does not undo it. The setting belongs to the
# process: from then on, every float64 array prints up to ten decimals instead of eight. sc.tl.dpt and
# sc.pp.neighbors do not do this by themselves.
#
# It matters wherever printed numbers are compared: a doctest, or a stored notebook, passes or fails depending on
# whether a diffusion map was computed earlier in the same process. np.printoptions() as a context around the call
# keeps the setting.
#
# Installs into a temporary folder. Exit status 0: as described. Other Pythons:
#     PYTHON=python3.12 bash findings/scanpy_diffmap_printing.sh
set -euo pipefail
export OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 PIP_DISABLE_PIP_VERSION_CHECK=1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install --quiet scanpy==1.11.5 anndata==0.12.6 pynndescent==0.6.0 numpy==2.3.5 scipy==1.16.3

cat > "$folder/try.py" <<'PYTHON'
import sys
import warnings
from importlib.metadata import version

warnings.simplefilter("ignore")
import anndata, numpy as np, scanpy as sc

print(*(f"{name} {version(name)}" for name in ("scanpy", "anndata", "numpy")), flush=True)
third = np.array([1 / 3])
adata = anndata.AnnData(np.random.default_rng(0).normal(size=(200, 10)).astype(np.float32))
seen = {}


def look(when):
    seen[when] = np.get_printoptions()["precision"]
    print(f"    {when}: precision {seen[when]}, 1/3 prints as {third}", flush=True)


look("at the start")
sc.pp.neighbors(adata, use_rep="X")
look("after sc.pp.neighbors")
sc.tl.diffmap(adata)
look("after sc.tl.diffmap")
with np.printoptions(precision=8):
    adata.uns["iroot"] = 0
    sc.tl.dpt(adata)
    look("after sc.tl.dpt, which finds the diffusion map")
    with np.printoptions():
        sc.tl.diffmap(adata)
    look("after sc.tl.diffmap inside np.printoptions()")
sys.exit(list(seen.values()) != [8, 8, 10, 8, 8])
PYTHON
"$folder/bin/python" "$folder/try.py"
