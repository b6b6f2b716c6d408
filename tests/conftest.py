from __future__ import annotations

import os
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from anndata import AnnData
from hypothesis import settings

mpl.use("Agg")
# a shared machine pauses at will
settings.register_profile("scgeoae", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("scgeoae")

DATA = Path(os.environ.get("SCGEOAE_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def reduced() -> AnnData:
    """The 700 PBMCs inside scanpy. Do not change: take a copy."""
    import scanpy as sc

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the file was written by an old anndata
        return sc.datasets.pbmc68k_reduced()


@pytest.fixture(scope="session")
def fitted(reduced: AnnData) -> AnnData:
    """The same with a map. Do not change: take a copy."""
    import scgeoae as sg

    adata = reduced.copy()
    sg.tl.geoae(adata, progress_bar=False)
    return adata


@pytest.fixture
def small() -> AnnData:
    """60 cells on a bent sheet in 8 dimensions, for what trains but need not be good."""
    rng = np.random.default_rng(0)
    t = rng.uniform(-1, 1, size=(60, 2))
    x = np.zeros((60, 8))
    x[:, :2] = 3 * t
    x[:, 2] = t[:, 0] ** 2
    x += 0.01 * rng.normal(size=x.shape)
    adata = AnnData(x.astype(np.float32))
    adata.obs["side"] = np.where(t[:, 0] > 0, "right", "left")
    return adata


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture(scope="session")
def reference():
    """Read one of the reference data sets, preprocessed to 50 PCs, or skip."""
    import anndata
    import scanpy as sc

    cache: dict[str, AnnData] = {}

    def read(name: str) -> AnnData:
        path = DATA / f"{name}.h5ad"
        if not path.is_file():
            pytest.skip(f"no reference data at {path}")
        if name not in cache:
            adata = anndata.read_h5ad(path)
            if "X_pca" not in adata.obsm:
                sc.pp.filter_genes(adata, min_cells=3)
                sc.pp.normalize_total(adata, target_sum=1e4)
                sc.pp.log1p(adata)
                sc.pp.highly_variable_genes(adata, n_top_genes=2000)
                sc.pp.pca(adata, n_comps=50)
            cache[name] = adata
        return cache[name].copy()

    return read
