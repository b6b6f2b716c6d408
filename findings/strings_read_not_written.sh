#!/usr/bin/env bash
# anndata 0.12.19 reads a file of anndata 0.13.4 and then refuses to write it.
#
# With pandas 3, anndata 0.13 writes names of cells as nullable strings. anndata 0.12, the last version for Python 3.11, reads
# them, keeps their type, and every later `write_h5ad` or `write_zarr` of this AnnData raises, because writing nullable
# strings has to be allowed first. It shows only at the end of an analysis, when the results are to be saved. Either set
# anndata.settings.allow_write_nullable_strings = True before writing, or False in anndata 0.13 before the first file is
# written; `astype(object)` of the names in obs, var and raw also helps.
#
# Installs into a temporary folder. Exit status 0: as described. Another Python (3.12 or later):
#     PYTHON=... bash findings/strings_read_not_written.sh
set -euo pipefail
export PIP_DISABLE_PIP_VERSION_CHECK=1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat > write.py <<'PYTHON'
import anndata
import numpy as np
import pandas as pd

print("anndata", anndata.__version__, "pandas", pd.__version__)
cells = pd.DataFrame(index=["a", "b", "c"])
anndata.AnnData(np.eye(3, dtype="float32"), obs=cells).write_h5ad("default.h5ad")
anndata.settings.allow_write_nullable_strings = False
anndata.AnnData(np.eye(3, dtype="float32"), obs=cells).write_h5ad("plain.h5ad")
PYTHON

cat > again.py <<'PYTHON'
import anndata


def write(name):
    adata = anndata.read_h5ad(f"{name}.h5ad")
    try:
        adata.write_h5ad("again.h5ad")
    except RuntimeError as error:
        return str(error)
    return "written"


print("anndata", anndata.__version__)
print("default:", write("default"))
print("plain:", write("plain"))
anndata.settings.allow_write_nullable_strings = True
print("allowed:", write("default"))
PYTHON

# anndata 0.13 needs Python 3.12
for python in "${PYTHON:-}" python3.13 python3.12 "$HOME"/.pyenv/versions/3.1[23]*/bin/python; do
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && break
done
"$python" -m venv 0.13.4
0.13.4/bin/pip install --quiet anndata==0.13.4 pandas==3.1.1
"$python" -m venv 0.12.19
0.12.19/bin/pip install --quiet anndata==0.12.19 pandas==2.3.3
{ 0.13.4/bin/python -W ignore write.py; 0.12.19/bin/python -W ignore again.py; } | tee output
grep -q '^default: `anndata.settings.allow_write_nullable_strings` is False' output
grep -q '^plain: written$' output
grep -q '^allowed: written$' output
echo "as described"
