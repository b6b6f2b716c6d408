#!/usr/bin/env bash
# anndata 0.12.19: a file in which sc.pp.log1p or sc.pp.pca was run cannot be opened by anndata 0.11.4.
#
# Scanpy keeps arguments in `uns`, among them `None`: the base of `sc.pp.log1p`, the `mask_var` of `sc.pp.pca`. Up to 0.11, anndata
# left `None` out of files. Since 0.12 it writes it in a type of its own ("null"), without a word, and no earlier version reads
# it: one `None` anywhere, and `read_h5ad` raises "No read method registered for IOSpec(encoding_type='null'", whatever else
# is in the file. So nearly every file that a Scanpy session of today writes is lost to tools that pin an older anndata, such as
# the validator cellxgene-schema 7.1.2 (anndata 0.11.4). Removing both entries from `uns` before writing mends it.
#
# Installs into a temporary folder. Exit status 0: as described. Another Python: PYTHON=... bash findings/none_in_uns.sh
set -euo pipefail
export PIP_DISABLE_PIP_VERSION_CHECK=1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat > write.py <<'PYTHON'
import warnings

warnings.simplefilter("ignore")
import anndata
import numpy as np
import scanpy as sc

adata = anndata.AnnData(np.random.default_rng(0).poisson(1, (30, 20)).astype("float32"))
adata.obs_names, adata.var_names = [f"cell{i}" for i in range(30)], [f"gene{i}" for i in range(20)]
adata.write_h5ad("counts.h5ad")
sc.pp.log1p(adata)
adata.write_h5ad("log1p.h5ad")
print("anndata", anndata.__version__, "writes uns =", dict(adata.uns))
del adata.uns["log1p"]
sc.pp.pca(adata, n_comps=5)
adata.write_h5ad("pca.h5ad")
del adata.uns["pca"]["params"]["mask_var"]
adata.write_h5ad("mended.h5ad")
PYTHON

cat > read.py <<'PYTHON'
import anndata

for name in ("counts", "log1p", "pca", "mended"):
    try:
        print("anndata", anndata.__version__, "reads", name, anndata.read_h5ad(f"{name}.h5ad").shape)
    except anndata._io.specs.registry.IORegistryError as error:
        print("anndata", anndata.__version__, "does not read", f"{name}:", str(error).splitlines()[0])
PYTHON

for version in 0.12.19 0.11.4; do
    "${PYTHON:-python3}" -m venv "$version"
    "$version/bin/pip" install --quiet "anndata==$version" pandas==2.3.3 $([ "$version" = 0.11.4 ] || echo scanpy==1.11.5)
done
{ 0.12.19/bin/python write.py; 0.11.4/bin/python read.py; } | tee output
for name in counts mended; do
    grep -q "^anndata 0.11.4 reads $name (30, 20)$" output
done
for name in log1p pca; do
    grep -q "^anndata 0.11.4 does not read $name: No read method registered for IOSpec(encoding_type='null'" output
done
echo "as described"
