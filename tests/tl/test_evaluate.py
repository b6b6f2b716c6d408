from __future__ import annotations

import re

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse
from sklearn.manifold import trustworthiness

import scgeoae as sg
from scgeoae.quality import MEASURES, evaluate, openproblems
from scgeoae.quality.measures import OPENPROBLEMS

from ..for_each import for_each


@pytest.fixture
def maps(fitted):
    """Cells with a map of scgeoae, Scanpy's UMAP, and what is no map."""
    adata = fitted.copy()
    adata.obsm["spatial"] = np.random.default_rng(0).normal(size=(adata.n_obs, 2))
    return adata


def slots(adata):
    return {
        name: {key: id(value) for key, value in getattr(adata, name).items()} for name in ("obs", "obsm", "uns", "obsp")
    }


def test_table(maps):
    table = sg.tl.evaluate(maps, groupby="bulk_labels")
    assert list(table) == ["basis", "measure", "value", "error", "better", "use_rep", "n_sample", "n_cells"]
    assert [table[c].dtype for c in ("value", "error", "n_sample", "n_cells")] == [*[np.float64] * 2, *[np.int64] * 2]
    assert (table["n_cells"] == 700).all()
    # neither the representation, nor tensors of three columns, nor positions in space
    assert list(table["basis"].unique()) == ["geoae", "umap"]
    for name, part in table.groupby("basis"):
        known = [m for m in MEASURES if m not in OPENPROBLEMS]
        known = [m for m in known if name == "geoae" or MEASURES[m].about != "decoder"]
        assert list(part["measure"]) == known
        assert list(part["better"]) == [MEASURES[m].better for m in known]
    assert set(table["use_rep"]) == {"X_pca"}
    read = table["measure"].isin(["MSE", "MSE_held_out"])
    assert (table.loc[~read, "n_sample"] == 700).all()
    assert (table.loc[~read, "error"] == 0).all()
    assert (table.loc[read, "n_sample"] == 0).all()
    assert table.loc[read, "error"].isna().all()


def test_agrees_with_the_route_on_arrays(maps):
    table = sg.tl.evaluate(maps, groupby="bulk_labels", n_sample=200, random_state=3)
    embeddings = {name: maps.obsm[f"X_{name}"] for name in ("umap", "geoae")}
    labels = maps.obs["bulk_labels"]
    found = evaluate(maps.obsm["X_pca"], embeddings, labels=labels, n_sample=200, random_state=3)
    for name, quality in found.items():
        for measure, estimate in quality.scores.items():
            (row,) = table[(table["basis"] == name) & (table["measure"] == measure)].itertuples()
            assert (row.value, row.error, row.n_sample) == estimate
            assert row.n_sample == 200


def test_decoder_scores_are_those_of_the_run(maps):
    table = sg.tl.evaluate(maps, basis="geoae").set_index("measure")["value"]
    scores = sg.get.scores(maps)
    for name in ("CN", "VPres", "ISO", "MSE", "MSE_held_out"):
        assert table[name] == pytest.approx(scores[name], rel=1e-5)


def test_is_stored_and_returned(maps):
    table = sg.tl.evaluate(maps)
    pd.testing.assert_frame_equal(maps.uns["evaluation"], table)
    table["value"] = 0.0
    assert (maps.uns["evaluation"]["value"] != 0).any()
    sg.tl.evaluate(maps, basis="umap", key_added="mine")
    assert set(maps.uns["mine"]["basis"]) == {"umap"}
    assert set(maps.uns["evaluation"]["basis"]) == {"umap", "geoae"}
    # again, in place of the first
    sg.tl.evaluate(maps, basis="geoae")
    assert set(maps.uns["evaluation"]["basis"]) == {"geoae"}


def test_survives_a_file(maps, tmp_path):
    table = sg.tl.evaluate(maps, groupby="bulk_labels", local_scores=True)
    # what is written
    kept = anndata.AnnData(obs=maps.obs, uns={"evaluation": maps.uns["evaluation"]})
    for form in ("h5ad", "zarr"):
        path = tmp_path / f"a.{form}"
        getattr(kept, f"write_{form}")(path)
        again = getattr(anndata, f"read_{form}")(path)
        pd.testing.assert_frame_equal(again.uns["evaluation"], table)
        pd.testing.assert_series_equal(again.obs["umap_trust"], maps.obs["umap_trust"])
        assert sg.pl.evaluation(again, show=False).texts


def test_names_of_embeddings(maps):
    def evaluated(basis):
        return list(sg.tl.evaluate(maps, basis=basis)["basis"].unique())

    assert evaluated("X_umap") == evaluated("umap") == ["umap"]
    assert evaluated(["geoae", "X_umap", "umap"]) == ["geoae", "umap"]
    # of any number of columns, if asked for
    assert evaluated(("X_pca", "spatial")) == ["pca", "spatial"]
    # the name in Scanpy's preview of its next version
    maps.obsm["umap"] = maps.obsm["X_umap"][:, ::-1].copy()
    assert evaluated(["X_umap", "umap"]) == ["umap"]
    assert evaluated(None) == ["geoae", "X_umap", "umap"]
    del maps.obsm["X_umap"]
    assert evaluated(None) == ["geoae", "umap"]


def test_embeddings_in_any_form(maps):
    plain = maps.obsm["X_umap"]
    expected = sg.tl.evaluate(maps, basis="umap")
    maps.obsm["X_umap"] = pd.DataFrame(plain, index=maps.obs_names, columns=["a", "b"])
    pd.testing.assert_frame_equal(sg.tl.evaluate(maps, basis="umap"), expected)


def noisy_umap(maps):
    z = maps.obsm["X_umap"].copy()
    z[3] = np.nan
    return z


def shares(maps):
    return np.random.default_rng(0).dirichlet(np.ones(3), maps.n_obs).astype(np.float32)


# What obsm has in two or three columns and is no map, the warning it is left out with, and whether it can be measured.
NO_MAPS = {
    "NaN": ("X_other", noisy_umap, "1 of 700 cells have NaN", False),
    "infinite": ("X_other", lambda maps: noisy_umap(maps) * np.nan + np.inf, "700 of 700 cells have NaN or inf", False),
    "a point": ("X_other", lambda maps: np.ones((maps.n_obs, 2)), r"All 700 cells are equal in adata\.obsm", False),
    "text": ("donors", lambda maps: np.full((maps.n_obs, 2), "x"), "to be a matrix of real numbers", False),
    "objects": ("donors", lambda maps: np.full((maps.n_obs, 2), None), "to be a matrix of real numbers", False),
    "complex": ("X_other", lambda maps: maps.obsm["X_umap"] * 1j, "to be a matrix of real numbers", False),
    "table of text": (
        "donors", lambda maps: pd.DataFrame({"a": "x", "b": "y"}, index=maps.obs_names), "is a data frame", False
    ),
    "table of shares": (
        "shares", lambda maps: pd.DataFrame(shares(maps), maps.obs_names, list("abc")), "is a data frame", True
    ),
    "shares": ("shares", shares, r"adata\.obsm\['shares'\] has shares that sum to one", True),
    "arrows of scVelo": ("velocity_umap", lambda maps: maps.obsm["X_umap"][::-1].copy(), None, True),
    "ellipses of a map": ("umap_stability", lambda maps: maps.obsm["geoae_metric"] + 1, None, True),
    "arrows of CellRank": ("T_fwd_umap", lambda maps: maps.obsm["X_umap"][::-1].copy(), None, True),
}  # fmt: skip


@for_each("case", NO_MAPS)
def test_what_is_no_map_is_left_out_unless_it_is_named(maps, case, monkeypatch):
    key, value, warning, can_be_measured = NO_MAPS[case]
    maps = maps.copy()
    expected = sg.tl.evaluate(maps, n_sample=100)
    maps.obsm[key] = value(maps)
    said = []
    monkeypatch.setattr("scanpy.logging.warning", said.append)
    pd.testing.assert_frame_equal(sg.tl.evaluate(maps, n_sample=100), expected)
    if warning is None:
        assert said == []
    else:
        assert len(said) == 1
        assert re.search(f"^Left out of the table: .*{warning}", said[0])
        assert key in said[0]
    if can_be_measured:
        assert list(sg.tl.evaluate(maps, basis=key, n_sample=100)["basis"].unique()) == [key]
    else:
        with pytest.raises((TypeError, ValueError), match=rf"adata\.obsm\['{key}'\]"):
            sg.tl.evaluate(maps, basis=["umap", key], n_sample=100)


def test_arrows_of_any_name_are_left_out(maps):
    maps = maps.copy()
    maps.obsm["to_b"] = maps.obsm["X_pca"][0] - maps.obsm["X_pca"]
    sg.tl.project_vectors(maps, "to_b")
    assert maps.obsm["to_b_geoae"].shape == (700, 2)
    assert list(sg.tl.evaluate(maps, n_sample=100)["basis"].unique()) == ["geoae", "umap"]


def test_a_map_of_positive_coordinates_is_measured(maps):
    maps.obsm["X_umap"] -= maps.obsm["X_umap"].min(0) - 1
    assert "umap" in set(sg.tl.evaluate(maps, n_sample=100)["basis"])


def test_representation(maps):
    def held_against(**kwargs):
        (described,) = sg.tl.evaluate(maps, basis=["umap", "geoae"], **kwargs)["use_rep"].unique()
        return described

    assert held_against() == "X_pca"
    assert held_against(n_pcs=7) == "X_pca[:, :7]"
    assert held_against(use_rep="X") == "X"
    maps.layers["scaled"] = maps.X.copy()
    maps.obsm["X_pca_scaled"] = maps.obsm["X_pca"] * 2
    assert held_against(layer="scaled") == "X_pca_scaled"
    assert held_against(layer="scaled", use_rep="X") == "layers['scaled']"
    # what the first map was trained on
    maps.obsm["X_nine"] = maps.obsm["X_pca"][:, :9].copy()
    sg.tl.geoae(maps, use_rep="X_nine", n_pcs=8, n_steps=5, key_added="other", progress_bar=False)
    assert held_against() == "X_pca"
    (described,) = sg.tl.evaluate(maps, basis=["umap", "other", "geoae"])["use_rep"].unique()
    assert described == "X_nine[:, :8]"


def test_a_pca_computed_for_it_is_kept(reduced):
    adata = anndata.AnnData(reduced.X.copy(), obs=reduced.obs[[]])
    adata.obsm["X_umap"] = reduced.obsm["X_umap"].copy()
    with pytest.warns(UserWarning, match=r"computing it with sc\.pp\.pca"):
        table = sg.tl.evaluate(adata)
    assert set(table["use_rep"]) == {"X_pca"}
    assert adata.obsm["X_pca"].shape == (700, 50)
    pd.testing.assert_frame_equal(sg.tl.evaluate(adata), table)


def test_local_scores(maps):
    table = sg.tl.evaluate(maps, local_scores=True, n_sample=100).set_index(["basis", "measure"])
    for name in ("umap", "geoae"):
        for column, measure in (("neighborhood_preservation", "kNN"), ("trust", "Trust")):
            values = maps.obs[f"{name}_{column}"]
            assert values.dtype == np.float32
            row = table.loc[(name, measure)]
            assert (row["value"], row["error"], row["n_sample"]) == (pytest.approx(values.mean()), 0, 700)
    expected = np.mean(
        [trustworthiness(maps.obsm["X_pca"], maps.obsm["X_umap"], n_neighbors=k) for k in range(10, 201, 10)]
    )
    assert maps.obs["umap_trust"].mean() == pytest.approx(expected, abs=1e-6)


def test_draws_with_scanpy(maps):
    import scanpy as sc

    sg.tl.evaluate(maps, basis="umap", local_scores=True)
    ax = sc.pl.embedding(maps, "X_umap", color="umap_neighborhood_preservation", show=False)
    assert len(ax.collections[0].get_array()) == 700


def test_labels_of_any_kind(maps):
    codes = maps.obs["bulk_labels"].cat.codes.to_numpy()
    tables = []
    for labels in (codes, codes.astype(float), codes.astype(str), pd.Categorical(codes, categories=range(50))):
        maps.obs["labels"] = labels
        tables.append(sg.tl.evaluate(maps, basis="umap", groupby="labels"))
        pd.testing.assert_frame_equal(tables[-1], tables[0])


@for_each(
    "kwargs, error, message",
    [
        ({"basis": "tsne"}, KeyError, r"embedding 'tsne' in adata\.obsm, which has 'X_pca', .*sc\.tl\.umap\(adata\)"),
        ({"basis": []}, ValueError, "found an empty list"),
        ({"basis": [2]}, TypeError, "`basis` to be a name or a list of names, found"),
        ({"basis": "nans"}, ValueError, r"1 of 700 cells have NaN or infinite values in adata\.obsm\['X_nans'\]"),
        ({"basis": "point"}, ValueError, r"All 700 cells are equal in adata\.obsm\['X_point'\]"),
        ({"use_rep": "X_spam"}, KeyError, "Did not find 'X_spam'"),
        ({"layer": "spam"}, KeyError, r"Did not find 'spam' in adata\.layers"),
        ({"n_pcs": -1}, ValueError, "`n_pcs`"),
        ({"groupby": "spam"}, KeyError, r"find 'spam' in adata\.obs, which has"),
        (
            {"measures": "spam"},
            KeyError,
            r"Did not find 'spam' in scgeoae\.quality\.MEASURES, which has 'kNN', .* stands",
        ),
        (
            {"measures": []},
            ValueError,
            "`measures` to be None, 'openproblems' or names of measures, found an empty list",
        ),
        ({"measures": 3}, TypeError, "`measures` to be a name or a list of names, found 3"),
        ({"measures": "openproblems", "n_sample": 5}, ValueError, "`n_sample` to be an integer >= 100, found 5"),
        (
            {"groupby": "holes"},
            ValueError,
            r"1 of 700 cells have no label .* adata\[adata\.obs\['holes'\]\.notna\(\)\]",
        ),
        ({"n_sample": 5}, ValueError, "`n_sample` to be an integer >= 100, found 5"),
        ({"key_added": "a/b"}, ValueError, "`key_added` to be a name without '/', found 'a/b'"),
        ({"key_added": "geoae"}, ValueError, r"adata\.uns\['geoae'\] holds something else that would be lost"),
    ],
)
def test_refused_and_nothing_written(maps, kwargs, error, message):
    maps.obsm["X_nans"] = np.where(np.arange(700)[:, None] == 3, np.nan, maps.obsm["X_umap"])
    maps.obsm["X_point"] = np.ones((700, 2))
    maps.obs["holes"] = np.where(np.arange(700) == 3, np.nan, maps.obs["bulk_labels"].cat.codes)
    before = slots(maps)
    with pytest.raises(error, match=message):
        sg.tl.evaluate(maps, **({"basis": "umap"} | kwargs))
    assert {k: list(v) for k, v in slots(maps).items()} == {k: list(v) for k, v in before.items()}


@for_each("n", [1, 20])
def test_too_few_cells(maps, n):
    with pytest.raises(ValueError, match=f"at least 21 cells, twice a neighborhood of 10, found {n}"):
        sg.tl.evaluate(maps[:n].copy())
    sg.tl.evaluate(maps[:21].copy())


def test_no_embedding(reduced):
    adata = anndata.AnnData(obs=reduced.obs[[]], obsm={"X_pca": reduced.obsm["X_pca"]})
    with pytest.raises(ValueError, match=r"no embedding of two or three columns; compute one first \(sg\.tl\.geoae"):
        sg.tl.evaluate(adata)
    adata.obsm["X_umap"] = np.full((700, 2), np.nan)
    with pytest.raises(ValueError, match="no embedding of two or three columns"):
        sg.tl.evaluate(adata)
    # one of two columns that is the representation itself
    adata.obsm["X_pca"] = adata.obsm["X_pca"][:, :2]
    with pytest.raises(ValueError, match="no embedding of two or three columns"):
        sg.tl.evaluate(adata)
    assert (sg.tl.evaluate(adata, basis="pca").set_index("measure")["value"]["kNN"]) == 1


def test_damaged_tensors(maps):
    maps.obsm["geoae_metric"] = np.ones((700, 2), dtype=np.float32)
    with pytest.raises(ValueError, match="do not form the upper triangle"):
        sg.tl.evaluate(maps, basis="geoae")


def test_a_map_without_its_run(maps):
    """As after `del adata.uns["geoae"]`, or from a file of another program."""
    del maps.uns["geoae"]
    table = sg.tl.evaluate(maps, basis="geoae")
    assert {"CN", "VPres", "ISO"} <= set(table["measure"])
    assert not {"MSE", "MSE_held_out"} & set(table["measure"])


def test_backed(maps, tmp_path):
    expected = sg.tl.evaluate(maps)
    maps.write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    pd.testing.assert_frame_equal(sg.tl.evaluate(backed), expected)
    backed.file.close()


def test_real_cells(reference):
    adata = reference("pbmc3k_pca")
    adata.obsm["X_first"] = adata.obsm["X_pca"][:, :2]
    sg.tl.geoae(adata, use_rep="X_pca", n_steps=300, progress_bar=False)
    table = sg.tl.evaluate(adata, basis=["first", "geoae"], groupby="louvain", n_sample=500)
    wide = table.pivot(index="basis", columns="measure", values="value")
    for name in ("kNN", "Trust", "kNN_10", "AUC_RNX", "purity", "silhouette"):
        assert wide.loc["geoae", name] > wide.loc["first", name]


def said_of(monkeypatch):
    said = []
    monkeypatch.setattr("scanpy.logging.warning", said.append)
    return said


def test_openproblems(maps, monkeypatch):
    said, maps = said_of(monkeypatch), maps[:150].copy()
    table = sg.tl.evaluate(maps, groupby="bulk_labels", measures="openproblems", use_rep="X")
    assert said == []
    assert list(table["basis"].unique()) == ["geoae", "umap"]
    found = openproblems(maps.X, {"umap": maps.obsm["X_umap"]}, labels=maps.obs["bulk_labels"])["umap"].scores
    umap = table[table["basis"] == "umap"]
    assert list(umap["measure"]) == list(OPENPROBLEMS)
    assert set(umap["better"]) == {"higher"}
    assert (umap["n_sample"] == 150).all()
    assert (umap["error"] == 0).all()
    assert dict(zip(umap["measure"], umap["value"], strict=True)) == pytest.approx(
        {name: score.value for name, score in found.items()}, abs=1e-12
    )


def test_named_measures(maps, monkeypatch):
    said = said_of(monkeypatch)
    names = ["qnx_auc", "CN", "kNN", "purity"]
    table = sg.tl.evaluate(maps, groupby="bulk_labels", measures=names, n_sample=100)
    assert list(table["measure"]) == names * 2
    value = table.set_index(["basis", "measure"])["value"]
    everything = sg.tl.evaluate(maps, groupby="bulk_labels", n_sample=100).set_index(["basis", "measure"])["value"]
    for name in ("CN", "kNN", "purity"):
        assert value["geoae", name] == everything["geoae", name]
    assert np.isnan(value["umap", "CN"])
    why = "a decoder is needed; sg.tl.distortion(adata, basis=...) fits one to an embedding that has none"
    assert said == [f"No value for CN of umap: {why}."]
    said.clear()
    assert list(sg.tl.evaluate(maps, basis="umap", measures="Spear")["measure"]) == ["Spear"]
    for measures in ("purity", "adjusted_rand_index"):
        assert sg.tl.evaluate(maps, basis="umap", measures=measures)["value"].isna().all()
    assert said == [
        f"No value for {name} of umap: labels are needed; name a column of adata.obs with `groupby`."
        for name in ("purity", "adjusted_rand_index")
    ]


@for_each("labels, why", [("one", "all cells have the same label"), ("each", "each cell has a label of its own")])
def test_labels_that_tell_nothing(maps, labels, why, monkeypatch):
    maps.obs["one"] = "a"
    maps.obs["each"] = np.arange(700)
    said = said_of(monkeypatch)
    expected = sg.tl.evaluate(maps, basis="umap", n_sample=100)
    for measures in (None, "openproblems"):
        table = sg.tl.evaluate(maps, basis="umap", groupby=labels, measures=measures, n_sample=100)
        is_about_labels = table["measure"].map(lambda name: MEASURES[name].about == "labels")
        names = list(table["measure"][is_about_labels])
        assert names == [
            name
            for name, measure in MEASURES.items()
            if measure.about == "labels" and (name in OPENPROBLEMS) == (measures is not None)
        ]
        assert table.loc[is_about_labels, "value"].isna().all()
        assert (table.loc[is_about_labels, "n_sample"] == 0).all()
        assert table.loc[~is_about_labels, "value"].notna().all()
        found = f"{why} in adata.obs['{labels}']"
        assert said == [f"No value for {', '.join(names)} of umap: {found}; choose another column with `groupby`."]
        said.clear()
        if measures is None:
            rest = table[~is_about_labels].reset_index(drop=True)
            pd.testing.assert_frame_equal(rest, expected)
    assert sg.pl.evaluation(maps, show=False).texts


def test_few_cells_of_openproblems(maps, monkeypatch):
    said = said_of(monkeypatch)
    table = sg.tl.evaluate(maps[:30].copy(), basis="umap", measures="openproblems", use_rep="X_pca")
    known = table.set_index("measure")["value"].dropna()
    assert {"waypoint_distance_correlation", "qnx_auc", "spectral_distance_correlation"} <= set(known.index)
    assert not {"qnx_at_k30", "density_preservation"} & set(known.index)
    assert [message.split(": ", 1)[1] for message in said] == [
        "at least 32 cells are needed, found 30.",
        "labels are needed; name a column of adata.obs with `groupby`.",
    ]


def test_duplicates_of_openproblems(maps, monkeypatch):
    maps.obsm["X_umap"][:30] = maps.obsm["X_umap"][30:60]
    said = said_of(monkeypatch)
    sg.tl.evaluate(maps, measures=["qnx_auc", "waypoint_distance_correlation"], use_rep="X_pca")
    why = "60 of 700 cells are equal to others in the embedding, so the order of their neighbors is random"
    assert said == [f"Of little meaning: qnx_auc of umap, as {why}."]


@for_each("measures", [None, "openproblems"])
def test_all_genes_of_a_sparse_layer(maps, measures, monkeypatch):
    maps = maps[:200].copy()
    maps.layers["normalized"] = np.maximum(maps.X, 0)
    maps.layers["sparse"] = sparse.csr_matrix(maps.layers["normalized"])
    kwargs = {"use_rep": "X", "basis": "umap", "groupby": "bulk_labels", "measures": measures, "n_sample": 100}
    expected = sg.tl.evaluate(maps, layer="normalized", **kwargs)
    shape, toarray = maps.shape, sparse.csr_matrix.toarray

    def toarray_of_some(self, *args, **kwargs):
        assert self.shape != shape, "the whole matrix is made dense"
        return toarray(self, *args, **kwargs)

    for kind in (sparse.csr_array, sparse.csr_matrix):
        monkeypatch.setattr(kind, "toarray", toarray_of_some)
    # a block of rows, as where there are more cells
    monkeypatch.setattr("scgeoae.quality.distances.BLOCK", 200 * 50)
    found = sg.tl.evaluate(maps, layer="sparse", **kwargs)
    assert set(found["use_rep"]) == {"layers['sparse']"}
    np.testing.assert_allclose(found["value"], expected["value"], atol=1e-7)


def test_the_default_map_decides_what_all_are_compared_with(fitted, caplog):
    adata = fitted.copy()
    adata.obsm["X_integrated"] = adata.obsm["X_pca"] * np.linspace(1, 0.1, adata.obsm["X_pca"].shape[1])
    before, after = sg.tl.evaluate(adata, basis=["geoae"], measures="kNN_10"), adata.copy()
    assert set(before["use_rep"]) == {"X_pca"}
    # a map that comes first in obsm, and the default map of another matrix
    after.obsm = {"X_before": after.obsm["X_geoae"], **after.obsm}
    after.uns["before"], after.obsm["before_metric"] = after.uns["geoae"], after.obsm["geoae_metric"]
    sg.tl.geoae(after, use_rep="X_integrated", n_steps=200, refine=False)
    sc.settings._root_logger.addHandler(caplog.handler)
    table = sg.tl.evaluate(after, measures="kNN_10")
    assert set(table["use_rep"]) == {"X_integrated"}
    assert "'before' was made from another matrix" in caplog.text
    caplog.clear()
    table = sg.tl.evaluate(after, basis=["before", "umap"], measures="kNN_10")
    assert set(table["use_rep"]) == {"X_pca"}
    assert not caplog.text
    sc.settings._root_logger.removeHandler(caplog.handler)
