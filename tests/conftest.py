from __future__ import annotations

import os
import sys

# before torch and numba are imported: threads of the two processes of a run would wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")
if "numba" not in sys.modules:
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")
else:
    # fast-array-utils has a plugin that imports it first, and numba does not bear the variable after that
    import numba

    numba.set_num_threads(1)

import warnings
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pytest
from _pytest.doctest import DoctestItem
from hypothesis import settings

if TYPE_CHECKING:
    from anndata import AnnData

mpl.use("Agg")
# a shared machine pauses at will
settings.register_profile("scgeoae", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("scgeoae")

DATA = Path(os.environ.get("SCGEOAE_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


@cache
def pbmc() -> AnnData:
    import scanpy as sc

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the file was written by an old anndata
        return sc.datasets.pbmc68k_reduced()


@cache
def pbmc_with_a_map() -> AnnData:
    import scgeoae as sg

    return sg.tl.geoae(pbmc(), progress_bar=False, copy=True)


class WithoutScvi:
    """Where scvi-tools is not installed, `scgeoae.model` cannot be imported, and its examples are left out."""

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        return True if collection_path.parts[-2:] == ("scgeoae", "model") and find_spec("scvi") is None else None


class Examples:
    """Examples in docstrings that begin with the default map of the PBMCs share one training, which is that of each."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Any:
        # that of the function itself trains
        if not isinstance(item, DoctestItem) or item.name == "scgeoae.tl._geoae.geoae":
            return (yield)
        import scgeoae as sg

        from .checks.slots import fingerprints

        train = sg.tl.geoae

        def geoae(adata: AnnData, **kwargs: Any) -> AnnData | None:
            if kwargs or fingerprints(adata) != fingerprints(pbmc()):
                return train(adata, **kwargs)
            mapped = pbmc_with_a_map().copy()
            for name in ("obs", "obsm", "obsp", "uns"):
                here, there = getattr(adata, name), getattr(mapped, name)
                for key in [key for key in there if key not in here]:
                    here[key] = there[key]
            return None

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sg.tl, "geoae", geoae)
            return (yield)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Examples())
    config.pluginmanager.register(WithoutScvi())


@pytest.fixture(scope="session")
def reduced() -> AnnData:
    """The 700 PBMCs inside scanpy. Do not change: take a copy."""
    return pbmc()


@pytest.fixture(scope="session")
def fitted() -> AnnData:
    """The same with a map. Do not change: take a copy."""
    return pbmc_with_a_map()


@pytest.fixture
def small() -> AnnData:
    """60 cells on a bent sheet in 8 dimensions, for what trains but need not be good."""
    from anndata import AnnData

    rng = np.random.default_rng(0)
    t = rng.uniform(-1, 1, size=(60, 2))
    x = np.zeros((60, 8))
    x[:, :2] = 3 * t
    x[:, 2] = t[:, 0] ** 2
    x += 0.01 * rng.normal(size=x.shape)
    adata = AnnData(x.astype(np.float32))
    adata.obs["side"] = np.where(t[:, 0] > 0, "right", "left")
    return adata


@pytest.fixture(scope="session")
def chart():
    """Return charts of surfaces whose metric is known: the points, their (n, 2) coordinates and (n, 2, 2) tensors."""
    import scgeoae as sg

    def sphere(rng, n, low, high, longitude):
        height, east = rng.uniform(np.sin(low), np.sin(high), n), rng.uniform(-longitude, longitude, n)
        across = np.sqrt(1 - height**2)
        x = np.stack([across * np.cos(east), across * np.sin(east), height], axis=1)
        return x, np.arcsin(height), east

    def diagonal(a, b):
        return np.stack([a, b], axis=1)[:, :, None] * np.eye(2)

    def draw(name: str, n: int = 2000):
        rng = np.random.default_rng(0)
        if name == "stretched Swiss roll":
            roll = sg.datasets.swiss_roll(n_obs=n)
            along, across = (roll.obsm["X_true"].astype(float) / roll.obsm["X_true"].max(0)).T
            length, width = roll.obsm["X_true"].max(0).astype(float)
            wave = 0.85 * np.sin(2 * np.pi * along) / (2 * np.pi)
            z = np.stack([length * (along + wave), width * (across + 0.8 * across**2)], axis=1)
            slope = 1 + 0.85 * np.cos(2 * np.pi * along), 1 + 1.6 * across
            return roll.X.astype(float), z, diagonal(slope[0] ** -2, slope[1] ** -2)
        if name == "stereographic":
            x, _, _ = sphere(rng, n, np.pi / 2 - 2, np.pi / 2, np.pi)
            z = x[:, :2] / (1 + x[:, 2:])
            scale = 2 / (1 + np.square(z).sum(1))
            return x, z, diagonal(scale**2, scale**2)
        x, latitude, east = sphere(rng, n, -1.2, 1.2, 2.5)
        narrow = np.cos(latitude) ** 2
        if name == "Mercator":
            return x, np.stack([east, np.arctanh(np.sin(latitude))], axis=1), diagonal(narrow, narrow)
        assert name == "plate carrée"
        return x, np.stack([east, latitude], axis=1), diagonal(narrow, np.ones(n))

    return draw


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture(autouse=True)
def _numpy_printing():
    # sc.tl.diffmap sets how many digits NumPy prints (findings/scanpy_diffmap_printing.sh)
    with np.printoptions():
        yield


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
