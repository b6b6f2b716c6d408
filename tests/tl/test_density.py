from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad
from scipy.spatial import KDTree
from scipy.stats import false_discovery_control, hypergeom

import scgeoae as sg

from ..for_each import for_each


def known(z, metric=None) -> AnnData:
    """Return cells at known positions, with known tensors."""
    n, d = z.shape
    adata = AnnData(np.zeros((n, 1), dtype=np.float32))
    adata.obsm["X_known"] = np.asarray(z, dtype=np.float32)
    metric = np.tile(np.eye(d), (n, 1, 1)) if metric is None else metric
    rows, columns = np.triu_indices(d)
    adata.obsm["known_metric"] = metric[:, rows, columns].astype(np.float32)
    return adata


@pytest.fixture(scope="module")
def square() -> AnnData:
    """1,500 cells in a square, nearly all of them of condition b on the right. Do not change: take a copy."""
    rng = np.random.default_rng(0)
    z = rng.uniform(size=(1500, 2))
    adata = known(z)
    b = rng.uniform(size=1500) < np.where(z[:, 0] > 0.7, 0.9, 0.5)
    adata.obs["condition"] = pd.Categorical(np.where(b, "b", "a"))
    adata.obs["sample"] = np.char.add(np.where(b, "b", "a"), (np.arange(1500) % 4).astype(str))
    return adata


@for_each("name, area", [("stereographic", 2 * np.pi * (1 - np.cos(2))), ("Mercator", 10 * np.sin(1.2))])
def test_density_on_the_sphere_does_not_depend_on_the_map(chart, name, area):
    _, z, metric = chart(name)
    adata = known(z, metric)
    sg.tl.density(adata, key="known")
    found = adata.obs["known_density"].to_numpy() / (len(z) / area)
    assert np.median(np.abs(found - 1)) < 0.1
    assert np.median(found) == pytest.approx(1, abs=0.04)
    # density on the map itself varies with the scale
    adata.obsm["known_metric"][:] = [1, 0, 1]
    sg.tl.density(adata, key="known")
    on_map = adata.obs["known_density"].to_numpy()
    assert np.corrcoef(np.log(on_map), np.linalg.slogdet(metric)[1])[0, 1] > 0.9


def test_slots(square):
    adata = square.copy()
    assert sg.tl.density(adata, key="known", groupby="condition", sample="sample") is None
    entry = adata.uns["known_density"]
    assert entry["params"] == {"groupby": "condition", "sample": "sample", "n_neighbors": 77}
    assert list(entry["conditions"]) == ["a", "b"]
    assert list(entry["n_cells"]) == adata.obs["condition"].value_counts()[["a", "b"]].tolist()
    columns = {name: adata.obs[name].dtype for name in adata.obs if name.startswith("known")}
    assert columns == {
        "known_density": np.float64,
        **{f"known_density_{name}": np.float64 for name in "ab"},
        **{f"known_log_ratio_{name}": np.float32 for name in "ab"},
        **{f"known_fdr_{name}": np.float64 for name in "ab"},
    }
    copy = sg.tl.density(adata, key="known", copy=True)
    assert [name for name in copy.obs if name.startswith("known")] == ["known_density"]
    assert "conditions" not in copy.uns["known_density"]
    assert "known_fdr_a" in adata.obs


def test_conditions_are_compared_in_the_same_neighborhoods(square):
    adata = square.copy()
    sg.tl.density(adata, key="known", groupby="condition", n_neighbors=50)
    obs, is_b = adata.obs, (adata.obs["condition"] == "b").to_numpy()
    z = adata.obsm["X_known"]
    near = KDTree(z).query(z, 51)[1]
    b, n_b, n = is_b[near].sum(1), is_b.sum(), len(z)
    np.testing.assert_allclose(obs["known_density_b"], obs["known_density"] * b / 51 * n / n_b)
    half = 0.5 / min(n_b, n - n_b)
    ratio = (b / n_b + half) / ((51 - b) / (n - n_b) + half)
    np.testing.assert_allclose(obs["known_log_ratio_b"], np.log2(ratio), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(obs["known_log_ratio_a"], -obs["known_log_ratio_b"])
    law = hypergeom(n, n_b, 51)
    p = np.minimum(1, 2 * np.minimum(law.cdf(b), law.sf(b - 1)))
    np.testing.assert_allclose(obs["known_fdr_b"], false_discovery_control(np.r_[p, p])[:n])
    right = z[:, 0] > 0.8
    assert (obs["known_fdr_b"] < 0.05)[right].mean() > 0.9
    assert np.median(obs["known_log_ratio_b"][right]) > 1


def test_samples_count_equally_and_their_differences_are_no_difference_of_conditions():
    rng = np.random.default_rng(1)
    z = rng.uniform(size=(1200, 2))
    # every donor has its own place, and b has larger ones
    share = np.array([1, 1, 1, 2, 2, 4]) * np.exp(-4 * np.abs(z[:, :1] - np.linspace(0, 1, 6)))
    donor = (np.log(share) + rng.gumbel(size=share.shape)).argmax(1)
    adata = known(z)
    adata.obs["donor"], adata.obs["condition"] = donor, np.where(donor > 2, "b", "a")
    sg.tl.density(adata, key="known", groupby="condition")
    assert (adata.obs["known_fdr_b"] < 0.05).mean() > 0.3
    adata.obs["condition"] = np.where(np.isin(donor, [0, 3, 4]), "a", "b")
    sg.tl.density(adata, key="known", groupby="condition", sample="donor")
    assert not (adata.obs["known_fdr_b"] < 0.05).any()
    near = KDTree(z.astype(np.float32)).query(z.astype(np.float32), 70)[1]
    shares = np.stack([(donor[near] == i).sum(1) / (donor == i).sum() for i in (1, 2, 5)])
    expected = adata.obs["known_density"] * shares.mean(0) * 1200 / 70
    assert np.median(np.abs(adata.obs["known_density_b"] / expected - 1)) < 1e-6


def test_reference_and_numbers_as_conditions(square):
    adata = square.copy()
    adata.obs["time"] = np.random.default_rng(0).integers(0, 3, size=1500) * 10
    sg.tl.density(adata, key="known", groupby="time", reference=10)
    assert {name for name in adata.obs if "log_ratio" in name} == {"known_log_ratio_0", "known_log_ratio_20"}
    assert {name for name in adata.obs if "fdr" in name} == {"known_fdr_0", "known_fdr_20"}
    assert adata.uns["known_density"]["params"]["reference"] == "10"


def test_cells_without_a_condition_count_for_all_cells_only(square):
    adata = square.copy()
    sg.tl.density(adata, key="known")
    whole = adata.obs["known_density"].to_numpy()
    adata.obs.loc[adata.obs_names[::2], "condition"] = np.nan
    sg.tl.density(adata, key="known", groupby="condition")
    np.testing.assert_array_equal(adata.obs["known_density"], whole)
    assert adata.uns["known_density"]["n_cells"].sum() == 750
    # scaled to the number of cells with a condition
    both = adata.obs["known_density_a"] * 0.5 + adata.obs["known_density_b"] * 0.5
    assert np.median(both / whole) == pytest.approx(0.5, rel=0.1)


def test_file_and_new_map(fitted, tmp_path):
    adata = fitted.copy()
    sg.tl.density(adata, groupby="phase", reference="G1")
    adata.write_h5ad(tmp_path / "map.h5ad")
    adata = read_h5ad(tmp_path / "map.h5ad")
    # the largest clusters of blood are dense
    assert adata.obs.groupby("phase", observed=True)["geoae_density"].median().gt(0).all()
    sg.tl.geoae(adata, n_steps=2, refine=False, progress_bar=False)
    assert not [name for name in [*adata.obs, *adata.uns] if "geoae_density" in name or "geoae_fdr" in name]
    assert not [name for name in adata.obs if "geoae_log_ratio" in name]


def one(adata):
    adata.obs["condition"] = "a"


def one_cell(adata):
    adata.obs["condition"] = ["b"] + ["a"] * (adata.n_obs - 1)


def slash(adata):
    adata.obs["condition"] = np.where(adata.obs["condition"] == "a", "CD4+/CD25+", "b")


def empty(adata):
    adata.obs["condition"] = np.where(adata.obs["condition"] == "a", "", "b")


def missing(adata):
    adata.obs.loc[adata.obs_names[0], "sample"] = None


def nobody(adata):
    adata.obs["condition"] = np.nan


def crossed(adata):
    adata.obs["sample"] = np.arange(adata.n_obs) % 4


def single(adata):
    adata.obs["sample"] = adata.obs["condition"].astype(str)


def without_tensors(adata):
    del adata.obsm["known_metric"]


def three_dimensions(adata):
    adata.obsm["X_known"] = np.pad(adata.obsm["X_known"], [(0, 0), (0, 1)])


def one_place(adata):
    adata.obsm["X_known"][:] = 1


@for_each(
    "change, arguments, error, words",
    [
        (None, {"groupby": "spam"}, KeyError, "Did not find 'spam' in adata.obs"),
        (None, {"groupby": "condition", "reference": "spam"}, KeyError, "Did not find 'spam'.*groups are 'a', 'b'"),
        (None, {"groupby": "condition", "sample": "spam"}, KeyError, "Did not find 'spam' in adata.obs"),
        (None, {"groupby": "condition", "sample": 3}, TypeError, "`sample` to be a name"),
        (None, {"sample": "sample"}, ValueError, "give the column of the conditions as `groupby`"),
        (None, {"reference": "a"}, ValueError, "give the column of the conditions as `groupby`"),
        (None, {"n_neighbors": 1500}, ValueError, "`n_neighbors` to be less than the number of cells, 1500"),
        (None, {"n_neighbors": 0}, ValueError, "`n_neighbors` to be an integer >= 1 or None"),
        (None, {"key": "spam"}, KeyError, "run sg.tl.*first"),
        (one, {"groupby": "condition"}, ValueError, "has one condition, 'a'"),
        (one_cell, {"groupby": "condition"}, ValueError, "The condition 'b' .* has one cell"),
        (slash, {"groupby": "condition"}, ValueError, "'CD4\\+/CD25\\+', which cannot be part of the name of a column"),
        (empty, {"groupby": "condition"}, ValueError, "named '', which cannot be part"),
        (nobody, {"groupby": "condition"}, ValueError, "No cell has a group"),
        (
            missing,
            {"groupby": "condition", "sample": "sample"},
            ValueError,
            "1 of 1500 cells have a condition.*and no sample",
        ),
        (crossed, {"groupby": "condition", "sample": "sample"}, ValueError, "has cells of 'a' and 'b'"),
        (single, {"groupby": "condition", "sample": "sample"}, ValueError, "has one sample.*two are needed"),
        (without_tensors, {}, KeyError, "run sg.tl.distortion"),
        (three_dimensions, {}, ValueError, "has 3 dimensions, and its tensors have 2"),
        (one_place, {}, ValueError, "All cells are at the same place"),
    ],
)
def test_errors(square, change, arguments, error, words):
    adata = square.copy()
    if change is not None:
        change(adata)
    before = set(adata.obs), set(adata.uns)
    with pytest.raises(error, match=words):
        sg.tl.density(adata, **({"key": "known"} | arguments))
    assert (set(adata.obs), set(adata.uns)) == before
