"""What a map hides in its regions."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import scgeoae as sg

QUICK = {"n_steps": 150, "hidden": (), "progress_bar": False}


@pytest.fixture(scope="module")
def split() -> AnnData:
    """Three groups on a plane of 12 genes; half of the cells of "b" have more of "up" and less of "down".

    The map is that plane, so that the split is hidden whatever the decoder has learned.
    """
    rng = np.random.default_rng(0)
    group = np.repeat(["a", "b", "c"], 60)
    x = rng.normal(size=(180, 12))
    x[:, 0] += 15 * (group == "a")
    x[:, 1] += 15 * (group == "c")
    hidden = 5 * (group == "b") * (np.arange(180) % 2)
    x[:, 5] += hidden
    x[:, 6] -= hidden
    adata = AnnData(x.astype(np.float32))
    adata.var_names = [{5: "up", 6: "down"}.get(i, f"g{i}") for i in range(12)]
    adata.obs["group"] = group
    adata.obsm["X_plane"] = adata.X[:, :2].copy()
    sg.tl.adopt(adata, basis="plane", use_rep="X", **QUICK)
    return adata


def test_the_region_with_a_hidden_split_is_first(split):
    adata = split.copy()
    sg.tl.residual(adata, key="plane", groupby="group", n_genes=1)
    table = adata.uns["plane_residual"]
    assert table["region"][0] == "b"
    assert table["verdict"].tolist() == ["structure", "noise", "noise"]
    assert table["n_dimensions"].tolist() == [1, 0, 0]
    assert set(table["genes"][0].split(" / ")) == {"up", "down"}
    assert table["genes"].tolist()[1:] == ["", ""]
    # 2 × 5²/4 of the split beside noise of 12
    assert table["structured"][0] == pytest.approx(12.5 / 24.5, rel=0.2)
    shares = adata.obs.groupby("group")["plane_residual"].unique()
    assert {name: value.tolist() for name, value in shares.items()} == {
        "a": [0],
        "b": [np.float32(table["structured"][0])],
        "c": [0],
    }
    assert adata.obs["plane_residual"].dtype == np.float32


def test_shares_are_those_of_the_decoder(split):
    adata = split.copy()
    sg.tl.residual(adata, key="plane", groupby="group")
    decoded = sg.get.model(adata, key="plane").decode(adata.obsm["X_plane"]).detach().numpy()
    total = 0
    for row in adata.uns["plane_residual"].itertuples():
        cells = (adata.obs["group"] == row.region).to_numpy()
        assert row.variance == pytest.approx(adata.X[cells].var(0).sum(), rel=1e-4)
        assert row.hidden == pytest.approx((adata.X - decoded)[cells].var(0).sum() / row.variance, rel=1e-4)
        assert row.shown == pytest.approx(1 - row.hidden)
        total += row.n_cells * row.variance
    first = adata.uns["plane_residual"].iloc[0]
    assert first["gain"] == pytest.approx(first["structured"] * first["variance"] * first["n_cells"] / total)


def test_regions_are_found_and_numbered_by_rank(split):
    adata = split.copy()
    sg.tl.residual(adata, key="plane", n_regions=3)
    table = adata.uns["plane_residual"]
    assert table["region"].tolist() == ["1", "2", "3"]
    assert table["gain"].is_monotonic_decreasing
    assert adata.obs["plane_region"].value_counts()[table["region"]].tolist() == table["n_cells"].tolist()
    # the groups are far apart
    assert (pd.crosstab(adata.obs["group"], adata.obs["plane_region"]) > 0).to_numpy().sum() == 3
    assert adata.obs["group"][adata.obs["plane_region"] == "1"].unique().tolist() == ["b"]
    again = split.copy()
    sg.tl.residual(again, key="plane", n_regions=3)
    pd.testing.assert_frame_equal(table, again.uns["plane_residual"])
    pd.testing.assert_series_equal(adata.obs["plane_region"], again.obs["plane_region"])
    # regions found earlier are not those of another table
    sg.tl.residual(adata, key="plane", groupby="group")
    assert "plane_region" not in adata.obs


def test_cells_without_a_group_and_groups_of_few(split):
    adata = split.copy()
    labels = adata.obs["group"].astype(object)
    labels.iloc[:3] = np.nan
    labels.iloc[3] = "single"
    adata.obs["group"] = labels
    sg.tl.residual(adata, key="plane", groupby="group")
    table = adata.uns["plane_residual"].set_index("region")
    assert table.loc["single", ["n_cells", "verdict", "variance", "structured"]].tolist() == [1, "too few cells", 0, 0]
    assert table["n_cells"].sum() == 177
    assert np.flatnonzero(adata.obs["plane_residual"].isna()).tolist() == [0, 1, 2]


def test_files(split, tmp_path):
    adata = split.copy()
    sg.tl.residual(adata, key="plane", n_regions=2)
    adata.write_h5ad(tmp_path / "a.h5ad")
    adata.write_zarr(tmp_path / "a.zarr")
    for found in (anndata.read_h5ad(tmp_path / "a.h5ad"), anndata.read_zarr(tmp_path / "a.zarr")):
        ours, theirs = (each.uns["plane_residual"].reset_index(drop=True) for each in (adata, found))
        pd.testing.assert_frame_equal(ours, theirs, check_dtype=False)
        assert found.uns["plane_residual_params"] == {"n_draws": 50, "random_state": 0}
        assert found.obs["plane_region"].tolist() == adata.obs["plane_region"].tolist()


def test_a_new_map_removes_it(split):
    adata = split.copy()
    sg.tl.residual(adata, key="plane", n_regions=2)
    sg.tl.adopt(adata, basis="plane", use_rep="X", **(QUICK | {"n_steps": 2}))
    left = {*adata.obs, *adata.uns}
    assert not left & {"plane_region", "plane_residual", "plane_residual_params"}


def test_what_cannot_be_done_is_said_and_nothing_is_written(split):
    adata = split.copy()
    adata.obsm["X_umap"] = adata.X[:, :2].copy()
    sg.tl.distortion(adata, method="laplacian")
    changed = split.copy()
    changed.X = changed.X + 1
    for which, arguments, error, words in (
        (adata, {"key": "tsne"}, KeyError, "run sg.tl.distortion|run sg.tl.geoae"),
        (adata, {"groupby": "type"}, KeyError, "Did not find 'type' in adata.obs"),
        (adata, {"key": "umap"}, ValueError, "method='decoder'"),
        (adata, {"n_draws": 1}, ValueError, "`n_draws` to be an integer >= 2"),
        (adata, {"n_regions": 0}, ValueError, "`n_regions` to be an integer >= 1 or None"),
        (changed, {}, ValueError, "is no longer what the map"),
    ):
        with pytest.raises(error, match=words):
            sg.tl.residual(which, **({"key": "plane"} | arguments))
        assert not [name for name in (*which.obs, *which.uns) if name.endswith(("_residual", "_region"))]
