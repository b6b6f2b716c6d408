#!/usr/bin/env bash
# anndata 0.12.19 and 0.13.4: read_lazy(..., load_annotation_index=False) still makes a string for every cell.
#
# The docstring of `read_lazy` says that with `load_annotation_index=False` a range index is used, "so as not to load the index
# into memory". The names in the file are indeed not read. But the range is turned into an index of strings at once, "0", "1",
# and so on, one for each cell: more than 50 bytes a cell, or 0.6 GB for ten million cells, before anything of the data is read.
# Short names would take as much. People read an atlas lazily because it does not fit into memory, and should count on this. A
# matrix that is opened by itself, as by `read_elem_lazy(group["obsm/X_pca"])`, takes nothing.
#
# Installs into a temporary folder. Exit status 0: as described. Another Python: PYTHON=... bash findings/lazy_range_index.sh
set -euo pipefail
export PIP_DISABLE_PIP_VERSION_CHECK=1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat > run.py <<'PYTHON'
import sys
import tracemalloc
import warnings

import anndata
import numpy as np
import pandas as pd
import zarr
from anndata.experimental import read_elem_lazy, read_lazy

warnings.simplefilter("ignore")
n, path = 300_000, sys.argv[1]
names = pd.Index([f"cell{i}" for i in range(n)])
anndata.AnnData(obs=pd.DataFrame(index=names), obsm={"X_pca": np.zeros((n, 2), "float32")}).write_zarr(path)
del names
group = zarr.open_group(path, mode="r")


def bytes_per_cell(what):
    tracemalloc.start()
    opened = what()
    size = tracemalloc.get_traced_memory()[0] / n
    tracemalloc.stop()
    return size, opened


read_lazy(group, load_annotation_index=False)  # imports what it needs
with_names, _ = bytes_per_cell(lambda: read_lazy(group))
without, lazy = bytes_per_cell(lambda: read_lazy(group, load_annotation_index=False))
matrix, _ = bytes_per_cell(lambda: read_elem_lazy(group["obsm/X_pca"]))
print(f"bytes per cell: {with_names:.0f} with names, {without:.0f} without, {matrix:.0f} for the matrix alone", file=sys.stderr)
print(
    anndata.__version__,
    f"index: {list(lazy.obs_names[:2])}, a range: {isinstance(lazy.obs_names, pd.RangeIndex)},",
    f"bytes per cell above 40 without names: {without > 40}, for the matrix alone: {matrix > 1}",
)
PYTHON

# anndata 0.13 needs Python 3.12
for python in "${PYTHON:-}" python3.13 python3.12 "$HOME"/.pyenv/versions/3.1[23]*/bin/python; do
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && break
done
for version in 0.12.19 0.13.4; do
    "$python" -m venv "$version"
    "$version/bin/pip" install --quiet "anndata[lazy]==$version" zarr==3.1.6 pandas==2.3.3 xarray==2025.12.0 dask==2025.12.0
    "$version/bin/python" run.py "$version.zarr"
done | tee output
for version in 0.12.19 0.13.4; do
    grep -q "^$version index: \['0', '1'\], a range: False, bytes per cell above 40 without names: True, for the matrix alone: False$" output
done
echo "as described"
