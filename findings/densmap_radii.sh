#!/usr/bin/env bash
# densMAP of umap-learn 0.5.12 returns the data's radii squared and the map's radii not squared.
#
# With output_dens=True, UMAP returns the logarithm of each cell's local radius in the data (rad_orig_) and on the map
# (rad_emb_). The first is the logarithm of a weighted mean of squared distances, which the paper defines for both
# (Narayan et al., Nature Biotechnology 2021). The second is that of plain distances. A map that equals the data
# therefore gets radii that lie on a line of slope 1/2, not 1: cells of a four times greater radius look twice as wide.
#
# It matters to whoever reads fold changes of density off the two, says by how much a type was compressed, or asks
# whether the slope is 1. The Pearson correlation hides it: it is nearly the same. Radii of the map by the same formula
# as the data's are computed below in 6 lines.
#
# Installs into a temporary folder. Exit status 0: as described. Other Pythons:
#     PYTHON=python3.12 bash findings/densmap_radii.sh
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
import numpy as np
from umap import UMAP
from umap.umap_ import fuzzy_simplicial_set

print(*(f"{name} {version(name)}" for name in ("umap-learn", "numpy", "numba")), flush=True)
rng = np.random.default_rng(0)
# Three types in the plane; each is twice as wide as the one before.
label = np.repeat([0, 1, 2], 300)
x = rng.normal(size=(900, 2)) * 2.0 ** label[:, None] + np.array([[0, 0], [40, 0], [20, 35]])[label]
# Scaled to [0, 10] on both axes, as UMAP does with an initialization, so that the map can equal the data.
x = (10 * (x - x.min(axis=0)) / np.ptp(x, axis=0)).astype(np.float32)

# n_epochs=0 returns the initialization.
y, data_radii, map_radii = UMAP(init=x, n_epochs=0, output_dens=True, random_state=0, n_jobs=1).fit_transform(x)
moved = np.abs(y - x).max()


def radii(points, power):
    graph, _, _, lengths = fuzzy_simplicial_set(
        points, 15, np.random.RandomState(0), "euclidean", return_dists=True
    )
    w, d = graph.toarray().astype(float), np.asarray(lengths.todense(), dtype=float)
    return np.log((w * d**power).sum(axis=1) / w.sum(axis=1))


squared, plain = radii(x, 2), radii(x, 1)
to_squared = np.abs(data_radii - squared).mean(), np.abs(map_radii - squared).mean()
to_plain = np.abs(data_radii - plain).mean(), np.abs(map_radii - plain).mean()
slope, correlation = np.polyfit(data_radii, map_radii, 1)[0], np.corrcoef(data_radii, map_radii)[0, 1]
fold = [np.exp(r[label == 2].mean() - r[label == 1].mean()) for r in (data_radii, map_radii)]
print(f"    the map differs from the data by at most {moved:.1e}")
print(f"    slope of the map's radii on the data's {slope:.2f}, correlation {correlation:.3f}")
print(f"    the widest type to the next: {fold[0]:.1f} times in the data, {fold[1]:.1f} times on the same map")
print(f"    mean difference from log mean d^2: data {to_squared[0]:.4f}, map {to_squared[1]:.4f}")
print(f"    mean difference from log mean d:   data {to_plain[0]:.4f}, map {to_plain[1]:.4f}")
sys.exit(
    not (
        moved < 1e-5
        and 0.45 < slope < 0.55
        and correlation > 0.95
        and to_squared[0] < 0.01 < to_squared[1]
        and to_plain[1] < 0.01 < to_plain[0]
    )
)
PYTHON

"$folder/bin/pip" install -q "umap-learn==0.5.12" "pynndescent==0.6.0" "numpy==2.4.6" "scipy==1.17.1" \
    "numba==0.68.1" "scikit-learn==1.9.1"
"$folder/bin/python" "$folder/try.py" || { echo "    NOT AS DESCRIBED"; exit 1; }
