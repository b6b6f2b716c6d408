#!/usr/bin/env bash
# zarr 3.4.2 and 3.1.6: one structured array, and the older version cannot open any of the store.
#
# `sc.tl.rank_genes_groups` keeps its result as structured arrays. In version 3 of the zarr format, which anndata 0.13 writes
# by default, zarr 3.4 stores such an array with the data type "struct". zarr 3.1, the last for Python 3.11, does not know
# it. A store written by anndata ends with a copy of all metadata at its top, and zarr reads this copy first. So not only this
# array, but the whole store, with its counts and all, fails to open: "No Zarr data type found that matches". The arrays are
# there: zarr.open_group(path, use_consolidated=False) gives all others. Writing with
# anndata.settings.zarr_write_format = 2 mends it, until anndata 0.14, which drops the setting.
#
# Installs into a temporary folder. Exit status 0: as described. Another Python (3.12 or later):
#     PYTHON=... bash findings/structured_array_hides_store.sh
set -euo pipefail
export PIP_DISABLE_PIP_VERSION_CHECK=1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat > write.py <<'PYTHON'
import anndata
import numpy as np
import zarr

print("anndata", anndata.__version__, "zarr", zarr.__version__, "writes")
adata = anndata.AnnData(np.eye(3, dtype="float32"))
adata.uns["ranked"] = np.zeros(4, dtype=[("B cell", "f4"), ("T cell", "f4")])
adata.write_zarr("3.zarr")
anndata.settings.zarr_write_format = 2
adata.write_zarr("2.zarr")
PYTHON

cat > read.py <<'PYTHON'
import anndata
import zarr
from anndata.io import read_elem

print("anndata", anndata.__version__, "zarr", zarr.__version__, "reads")
for name in ("2", "3"):
    try:
        print(f"format {name}:", anndata.read_zarr(f"{name}.zarr").shape)
    except ValueError as error:
        print(f"format {name}:", str(error)[:60])
group = zarr.open_group("3.zarr", mode="r", use_consolidated=False)
print("X alone:", read_elem(group["X"]).shape)
PYTHON

# anndata 0.13 needs Python 3.12
for python in "${PYTHON:-}" python3.13 python3.12 "$HOME"/.pyenv/versions/3.1[23]*/bin/python; do
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && break
done
"$python" -m venv new
new/bin/pip install --quiet anndata==0.13.4 zarr==3.4.2
"$python" -m venv old
old/bin/pip install --quiet anndata==0.12.19 zarr==3.1.6
{ new/bin/python -W ignore write.py; old/bin/python -W ignore read.py; } | tee output
grep -q '^format 2: (3, 3)$' output
grep -q "^format 3: No Zarr data type found that matches {'name': 'struct'" output
grep -q '^X alone: (3, 3)$' output
echo "as described"
