#!/usr/bin/env bash
# anndata 0.12.19 and 0.13.4 with zarr 3.1: rows appended to a sparse matrix in a store stay unseen.
#
# `sparse_dataset(group).append(rows)` is anndata's way to grow a sparse matrix on disk, for counts that memory does not hold.
# `AnnData.write_zarr` ends by writing a copy of all metadata at the top of the store (zarr calls it consolidated), and all
# readers take the shape of the matrix from this copy. `append` changes the arrays and their own metadata and leaves the copy
# as it was. So the call succeeds, the rows are on disk, and `read_zarr`, which reads the copy, silently returns the matrix
# without them. They show after `zarr.consolidate_metadata(path)`, or with `zarr.open_group(path, use_consolidated=False)`.
#
# Installs into a temporary folder. Exit status 0: as described. Another Python: PYTHON=... bash findings/sparse_append_unseen.sh
set -euo pipefail
export PIP_DISABLE_PIP_VERSION_CHECK=1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat > run.py <<'PYTHON'
import sys
import warnings

import anndata
import numpy as np
import zarr
from anndata import AnnData
from anndata.io import read_elem, sparse_dataset
from scipy.sparse import csr_matrix

warnings.simplefilter("ignore")
path = sys.argv[1]
AnnData(csr_matrix(np.eye(5, dtype="float32"))).write_zarr(path)
sparse_dataset(zarr.open_group(path, mode="r+")["X"]).append(csr_matrix(np.ones((3, 5), dtype="float32")))
seen = anndata.read_zarr(path).X.shape[0]
on_disk = read_elem(zarr.open_group(path, mode="r", use_consolidated=False)["X"]).shape[0]
zarr.consolidate_metadata(path)
after = read_elem(zarr.open_group(path, mode="r")["X"]).shape[0]
print(anndata.__version__, f"rows on disk: {on_disk}, read: {seen}, read after consolidating: {after}")
PYTHON

# anndata 0.13 needs Python 3.12
for python in "${PYTHON:-}" python3.13 python3.12 "$HOME"/.pyenv/versions/3.1[23]*/bin/python; do
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && break
done
for version in 0.12.19 0.13.4; do
    "$python" -m venv "$version"
    "$version/bin/pip" install --quiet "anndata==$version" zarr==3.1.6
    "$version/bin/python" run.py "$version.zarr"
done | tee output
for version in 0.12.19 0.13.4; do
    grep -q "^$version rows on disk: 8, read: 5, read after consolidating: 8$" output
done
echo "as described"
