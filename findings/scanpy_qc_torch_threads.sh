#!/usr/bin/env bash
# Quality control in Scanpy 1.11.5 sets how many threads PyTorch computes on (numba 0.68.1, torch 2.13.0, Linux).
#
# sc.pp.calculate_qc_metrics calls a parallel function of numba. Where numba uses its "omp" threading layer, which it
# does by default if TBB is not installed, the first such call in a process sets the number of threads of OpenMP to
# NUMBA_NUM_THREADS (all cores by default). torch reads its own number of threads from there. So a number that was set
# before, by OMP_NUM_THREADS or torch.set_num_threads, no longer holds. Later calls of numba leave the number alone.
#
# It matters to whoever limits the threads of a scvi-tools model, as on a shared node: training after quality control
# takes all cores, and can be many times slower where others use them. Sums over more threads also round differently.
# Call torch.set_num_threads (or set scvi.settings.num_threads) after the first step of Scanpy, not before; or set
# NUMBA_NUM_THREADS too, or NUMBA_THREADING_LAYER=workqueue.
#
# Installs into a temporary folder. Exit status 0: as described. Other Pythons:
#     PYTHON=python3.12 bash findings/scanpy_qc_torch_threads.sh
set -euo pipefail
export PIP_DISABLE_PIP_VERSION_CHECK=1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/pip" install --quiet torch==2.13.0 scanpy==1.11.5 anndata==0.12.6 numba==0.68.1 numpy==2.3.5 scipy==1.16.3

cat > "$folder/try.py" <<'PYTHON'
import sys
import warnings

warnings.simplefilter("ignore")
import anndata, numba, numpy as np, scanpy as sc, torch
from scipy import sparse

torch.set_num_threads(1)
counts = np.random.default_rng(0).poisson(0.5, size=(300, 100)).astype(np.float32)
adata = anndata.AnnData(sparse.csr_matrix(counts))
seen = [torch.get_num_threads()]
for again in range(2):
    sc.pp.calculate_qc_metrics(adata, percent_top=None, inplace=True)
    seen.append(torch.get_num_threads())
    torch.set_num_threads(1)
print(f"    {numba.threading_layer()}: torch has {seen[0]} thread, {seen[1]} after quality control; set to 1 again,", end=" ")
print(f"{seen[2]} after a second time", flush=True)
sys.exit(seen != [int(n) for n in sys.argv[1:]])
PYTHON
"$folder/bin/python" -c 'from importlib.metadata import version as v; print(*(f"{n} {v(n)}" for n in ("scanpy", "numba", "torch")))'
export OMP_NUM_THREADS=1
NUMBA_NUM_THREADS=2 NUMBA_THREADING_LAYER=omp "$folder/bin/python" "$folder/try.py" 1 2 1
NUMBA_NUM_THREADS=2 NUMBA_THREADING_LAYER=workqueue "$folder/bin/python" "$folder/try.py" 1 1 1
NUMBA_NUM_THREADS=1 NUMBA_THREADING_LAYER=omp "$folder/bin/python" "$folder/try.py" 1 1 1
