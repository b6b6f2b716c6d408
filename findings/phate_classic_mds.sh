#!/usr/bin/env bash
# Classical MDS of PHATE 2.0.0 stretches the map: the ratio of its two axes is squared.
#
# phate.mds.classic centers the squared distances twice, which gives -2 times the inner products B of the cells, and
# then returns the principal components of that matrix. These are the eigenvectors of B times its eigenvalues.
# Classical MDS (Torgerson 1952) multiplies by their square roots. Cells that lie in a plane, four times as wide as
# high, are therefore drawn sixteen times as wide as high, where classical MDS returns them exactly.
#
# It matters because PHATE(mds="classic") returns this as the map: distances along the first axis are overstated
# against the second, and a comparison of distances, densities or stress with other methods blames PHATE's distances for
# it. The default, mds="metric", starts from it and is aligned with it. Divide each axis by the square root of its
# standard deviation to mend the shape, as the last line of the output shows.
#
# Installs into a temporary folder. Exit status 0: as described. Other Pythons:
#     PYTHON=python3.12 bash findings/phate_classic_mds.sh
set -euo pipefail
export OMP_NUM_THREADS=1 PIP_DISABLE_PIP_VERSION_CHECK=1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder"

cat > "$folder/try.py" <<'PYTHON'
import sys
import warnings
from importlib.metadata import version

warnings.simplefilter("ignore")
import numpy as np, phate
from scipy.spatial.distance import pdist, squareform

print(*(f"{name} {version(name)}" for name in ("phate", "scikit-learn", "scipy", "numpy")), flush=True)


def torgerson(distances):
    center = np.eye(len(distances)) - 1 / len(distances)
    values, vectors = np.linalg.eigh(-0.5 * center @ distances**2 @ center)
    return vectors[:, :-3:-1] * np.sqrt(values[:-3:-1])


def ratio(y):
    return y[:, 0].std() / y[:, 1].std()


def stress(y, distances):
    """Kruskal's stress of the map after the best scaling."""
    d, target = pdist(y), squareform(distances, checks=False)
    return np.sqrt(max(0, 1 - (d @ target) ** 2 / (d @ d) / (target @ target)))


def describe(name, y, distances):
    print(f"    {name}: width to height {ratio(y):6.2f}, stress {stress(y, distances):.4f}", flush=True)
    return ratio(y), stress(y, distances)


plane = np.random.default_rng(0).normal(size=(500, 2)) * [4, 1]
d = squareform(pdist(plane))
y = phate.mds.classic(d, n_components=2, random_state=0)
print("cells in a plane")
right, exact = describe("classical MDS      ", torgerson(d), d)
wrong, lossy = describe("phate.mds.classic  ", y, d)
mended, _ = describe("axes / sqrt(std)   ", y / np.sqrt(y.std(axis=0)), d)

print("PHATE of a branching trajectory in 100 dimensions")
x, _ = phate.tree.gen_dla(n_dim=100, n_branch=6, branch_length=100, seed=0)
model = phate.PHATE(mds="classic", n_pca=None, t=10, random_state=0, n_jobs=1, verbose=0)
y = model.fit_transform(x)
d = squareform(pdist(model.diff_potential))
right_phate, _ = describe("classical MDS      ", torgerson(d), d)
wrong_phate, _ = describe('PHATE(mds="classic")', y, d)
sys.exit(
    not (
        exact < 1e-6
        and lossy > 0.05
        and np.isclose(wrong, right**2, rtol=1e-3)
        and np.isclose(mended, right, rtol=1e-3)
        and np.isclose(wrong_phate, right_phate**2, rtol=1e-2)
    )
)
PYTHON

"$folder/bin/pip" install -q "phate==2.0.0" "graphtools==2.1.0" "pandas==2.3.3" "numpy==2.4.6" \
    "scipy==1.17.1" "scikit-learn==1.9.1" "setuptools==80.9.0"
"$folder/bin/python" "$folder/try.py" || { echo "    NOT AS DESCRIBED"; exit 1; }
