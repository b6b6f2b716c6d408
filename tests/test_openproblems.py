"""The component for OpenProblems (benchmarks/openproblems) has the form that its repository asks for."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import sparse

COMPONENT = Path(__file__).parents[1] / "benchmarks" / "openproblems" / "scgeoae"
INJECTED = re.compile(r"^## VIASH START$.*?^## VIASH END$", flags=re.MULTILINE | re.DOTALL)
pytestmark = pytest.mark.skipif(not COMPONENT.is_dir(), reason="not a clone")


@pytest.fixture(scope="module")
def config() -> dict:
    return yaml.safe_load((COMPONENT / "config.vsh.yaml").read_text())


@pytest.fixture
def dataset(tmp_path):
    """60 cells with 30 genes, of which 20 are flat and have no score, as OpenProblems writes them."""
    rng = np.random.default_rng(0)
    signal = rng.gamma(2, size=(60, 2)) @ rng.uniform(0, 1, size=(2, 10))
    normalized = np.hstack([np.ones((60, 20)), signal])
    adata = ad.AnnData(
        layers={"normalized": sparse.csr_matrix(normalized), "counts": sparse.csr_matrix(normalized.round())},
        obs=pd.DataFrame(index=[f"cell {i}" for i in range(60)]),
        var=pd.DataFrame(
            {"hvg_score": [np.nan] * 20 + [1.0 + i for i in range(10)]}, index=[f"g{i}" for i in range(30)]
        ),
        uns={"dataset_id": "some data", "normalization_id": "log_cp10k"},
    )
    path = tmp_path / "dataset.h5ad"
    adata.write_h5ad(path)
    return path


@pytest.fixture
def embedded(monkeypatch):
    """What the component gives `sg.tl.geoae`, which is replaced by the first two columns."""
    import scgeoae as sg

    seen = {}

    def geoae(adata, *, use_rep, **arguments):
        x = adata.obsm[use_rep]
        seen.update(arguments, representation=x.toarray() if sparse.issparse(x) else x)
        adata.obsm["X_geoae"] = seen["representation"][:, :2].astype(np.float32)

    monkeypatch.setattr(sg.tl, "geoae", geoae)
    return seen


def check(path: Path, dataset: Path, method: str) -> np.ndarray:
    """Check the file that the component wrote, and return its map."""
    written, read = ad.read_h5ad(path), ad.read_h5ad(dataset)
    assert written.obs_names.equals(read.obs_names)
    assert dict(written.uns) == {**read.uns, "method_id": method}
    z = written.obsm["X_emb"]
    assert z.dtype == np.float64
    assert z.shape == (60, 2)
    assert np.isfinite(z).all()
    return z


def test_script_writes_a_map(dataset, tmp_path, monkeypatch):
    output = tmp_path / "embedding.h5ad"
    monkeypatch.setattr(
        sys, "argv", ["script.py", "--input", str(dataset), "--output", str(output), "--neighbors_weight", "0"]
    )
    runpy.run_path(str(COMPONENT / "script.py"))
    z = check(output, dataset, "scgeoae")
    assert np.linalg.matrix_rank(z - z.mean(0)) == 2


def test_viash_replaces_the_arguments(dataset, tmp_path, embedded):
    text = (COMPONENT / "script.py").read_text()
    par = {"input": str(dataset), "output": str(tmp_path / "out.h5ad"), "n_hvg": 10, "n_pca_dims": 4}
    par |= {"neighbors_weight": 0.0, "random_state": 3}
    injected, n = INJECTED.subn(f"par = {par!r}\nmeta = {{'name': 'another name'}}", text)
    assert n == 1
    exec(compile(injected, "script.py", "exec"), {"__name__": "__main__"})
    check(tmp_path / "out.h5ad", dataset, "another name")
    # the genes without a score, which do not vary, are left out
    x = ad.read_h5ad(dataset).layers["normalized"].toarray()[:, 20:]
    x = x - x.mean(0)
    variances = np.linalg.svd(x, compute_uv=False)[:4] ** 2
    np.testing.assert_allclose((embedded["representation"] ** 2).sum(0), variances, rtol=1e-6, atol=1e-8)
    assert embedded["neighbors_weight"] == 0
    assert embedded["random_state"] == 3


def test_zero_keeps_all_genes_and_skips_pca(dataset, tmp_path, monkeypatch, embedded):
    arguments = ["--input", str(dataset), "--output", str(tmp_path / "out.h5ad"), "--n_hvg", "0", "--n_pca_dims", "0"]
    monkeypatch.setattr(sys, "argv", ["script.py", *arguments])
    runpy.run_path(str(COMPONENT / "script.py"))
    np.testing.assert_array_equal(embedded["representation"], ad.read_h5ad(dataset).layers["normalized"].toarray())


def test_config_has_what_a_method_needs(config):
    # limits of OpenProblems' common/component_tests/check_config.py
    for field, longest in {"name": 50, "label": 50, "summary": 400, "description": 5000}.items():
        assert 0 < len(config[field]) <= longest
    assert re.fullmatch(r"10\.\d{4,9}/[-._;()/:A-Za-z0-9]+", config["references"]["doi"])
    assert {"documentation", "repository"} <= config["links"].keys()
    assert config["__merge__"] == "/src/api/comp_method.yaml"
    assert config["info"]["preferred_normalization"] == "log_cp10k"
    names = {argument["name"].lstrip("-") for argument in config["arguments"]}
    for variant in config["info"]["variants"].values():
        assert (variant or {}).keys() <= names
    assert config["resources"] == [{"type": "python_script", "path": "script.py"}]
    runners = {runner["type"]: runner for runner in config["runners"]}
    assert "executable" in runners
    labels = runners["nextflow"]["directives"]["label"]
    for kind in ("time", "mem", "cpu"):
        assert sum(label in {f"{level}{kind}" for level in ("low", "mid", "high", "veryhigh")} for label in labels) == 1


def test_config_and_script_have_the_same_arguments(config, dataset, tmp_path, monkeypatch, embedded):
    output = str(tmp_path / "out.h5ad")
    monkeypatch.setattr(sys, "argv", ["script.py", "--input", str(dataset), "--output", output])
    par = runpy.run_path(str(COMPONENT / "script.py"))["par"]
    # `input` and `output` come from OpenProblems' comp_method.yaml
    declared = {argument["name"].lstrip("-"): argument.get("default") for argument in config["arguments"]}
    assert par == {"input": str(dataset), "output": output, **declared}


@pytest.fixture(scope="module")
def run():
    """The module that scales the values."""
    return SimpleNamespace(**runpy.run_path(str(COMPONENT.parent / "run.py")))


def values(run, **by_method: list[float]) -> pd.DataFrame:
    """Return one value per method and seed, the same for all measures."""
    rows = [
        (method.replace("_", " "), seed, measure, value)
        for method, of_seeds in by_method.items()
        for seed, value in enumerate(of_seeds)
        for measure in run.OPENPROBLEMS
    ]
    return pd.DataFrame(rows, columns=["method", "seed", "measure", "value"])


def test_scores_are_scaled_by_the_controls(run):
    table = run.wide(
        values(
            run, random_features=[0.1, 0.2, 0.3], spectral_features=[-0.2], true_features=[0.6], PCA=[0.3, 0.5, 9, 9]
        )
    )
    table.loc["PCA", run.OPENPROBLEMS[0]] = [np.nan] * 4
    # on this measure, true features are worse than random ones
    table.loc[("true features", 0), run.OPENPROBLEMS[1]] = 0.0
    scores, raw = run.summary(table)
    # two seeds of four are better than the best control
    score = np.median([0.25, 0.75, 1, 1])
    np.testing.assert_allclose(scores.loc["PCA", list(run.OPENPROBLEMS[2:])].astype(float), score)
    assert scores.loc["PCA", list(run.OPENPROBLEMS[:2])].isna().all()
    assert scores.loc["PCA", "mean"] == pytest.approx(12 / 14 * score)
    assert scores.loc["random features", "mean"] == 0
    assert scores.loc["true features", "mean"] == pytest.approx(13 / 14)
    # by all three controls, 0 is at -0.2, and 1 of the second measure at the random features
    four = np.clip((np.array([0.3, 0.5, 9, 9]) + 0.2)[:, None] / np.repeat([0.4, 0.8], [1, 12]), 0, 1)
    assert scores.loc["PCA", "mean, 3 controls"] == pytest.approx(np.median(four.sum(1) / 14))
    assert raw.loc["PCA", run.OPENPROBLEMS[2]] == np.median([0.3, 0.5, 9, 9])


def test_losses_are_named(run):
    controls = {"random_features": [0.0], "spectral_features": [0.0], "true_features": [1.0]}
    table = run.wide(values(run, **controls, PCA=[0.2], UMAP=[0.3], scgeoae=[0.5]))
    table.loc[("UMAP", 0), "qlocal"] = 0.75
    scores, raw = run.summary(table)
    assert run.losses("some data", scores, raw) == ["| some data | qlocal | UMAP | 0.750 | 0.500 | 0.250 |"]
