#!/usr/bin/env bash
# anndata 0.13.4: the cells of an AnnCollection that have an X cannot be turned into an AnnData.
#
# An AnnCollection is anndata's own view of several files that are too large to be joined in memory. Its `to_adata` gives
# some of its cells as an AnnData, as the tutorials on out-of-core data do. Since version 0.13, X is also the layer `None`.
# `to_adata` passes both to the constructor, as two matrices, and the constructor refuses two that are not one object:
# "If you provide `layers[None]` and `X`, they must be identical." With 0.12.19 the same lines work. Nothing is silently wrong,
# but programs that read an AnnCollection have to join its parts on their own, by `anndata.concat`.
#
# Installs into a temporary folder. Exit status 0: as described. Another Python: PYTHON=... bash findings/anncollection_to_adata.sh
set -euo pipefail
export PIP_DISABLE_PIP_VERSION_CHECK=1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat > run.py <<'PYTHON'
import warnings

import anndata
import numpy as np
from anndata import AnnData
from anndata.experimental import AnnCollection

warnings.simplefilter("ignore")
parts = [AnnData(np.full((3, 2), i, dtype="float32")) for i in (1, 2)]
for i, part in enumerate(parts):
    part.obs_names = [f"cell {i} {j}" for j in range(3)]
    part.obs["group"] = i
cells = AnnCollection(parts)[np.array([0, 4])]
try:
    print(anndata.__version__, cells.to_adata().X.tolist())
except ValueError as error:
    print(anndata.__version__, error)
PYTHON

# anndata 0.13 needs Python 3.12
for python in "${PYTHON:-}" python3.13 python3.12 "$HOME"/.pyenv/versions/3.1[23]*/bin/python; do
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && break
done
for version in 0.12.19 0.13.4; do
    "$python" -m venv "$version"
    "$version/bin/pip" install --quiet "anndata==$version" xarray==2026.9.0 dask==2026.8.0
    "$version/bin/python" run.py
done | tee output
grep -q '^0.12.19 \[\[1.0, 1.0\], \[2.0, 2.0\]\]$' output
grep -q '^0.13.4 If you provide `layers\[None\]` and `X`, they must be identical' output
echo "as described"
