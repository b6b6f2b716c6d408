from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from anndata import AnnData, read_h5ad
from scipy import sparse
from sklearn.metrics.pairwise import euclidean_distances

import scgeoae as sg
from scgeoae._anndata.representation import choose_representation, stored_representation

from ..for_each import for_each


def choose(adata, *, use_rep=None, n_pcs=None, layer=None):
    return choose_representation(adata, use_rep=use_rep, n_pcs=n_pcs, layer=layer)


def make(n=30, d=60, seed=0):
    rng = np.random.default_rng(seed)
    adata = AnnData(rng.poisson(2, size=(n, d)).astype(np.float32))
    adata.obsm["X_pca"] = rng.normal(size=(n, 10)).astype(np.float32)
    adata.obsm["X_other"] = rng.normal(size=(n, 4))
    adata.layers["counts"] = rng.poisson(3, size=(n, d))
    return adata


@for_each(
    "kwargs, name, n_columns",
    [
        ({}, "adata.obsm['X_pca']", 10),
        ({"n_pcs": 7}, "adata.obsm['X_pca']", 7),
        ({"n_pcs": 0}, "adata.X", 60),
        ({"use_rep": "X"}, "adata.X", 60),
        ({"use_rep": "X_other"}, "adata.obsm['X_other']", 4),
        ({"use_rep": "X_other", "n_pcs": 2}, "adata.obsm['X_other']", 2),
        ({"use_rep": "X", "layer": "counts"}, "adata.layers['counts']", 60),
        ({"n_pcs": 0, "layer": "counts"}, "adata.layers['counts']", 60),
    ],
)
def test_chooses_as_scanpy(kwargs, name, n_columns):
    adata = make()
    chosen = choose(adata, **kwargs)
    assert (chosen.name, chosen.matrix.shape) == (name, (30, n_columns))
    if "layer" not in kwargs:
        sc.pp.neighbors(adata, n_neighbors=30, **kwargs)
        distances = euclidean_distances(chosen.dense().astype(float))
        np.testing.assert_allclose(adata.obsp["distances"].toarray(), distances, rtol=1e-4, atol=1e-4)
    again = choose(adata, **chosen.params)
    np.testing.assert_array_equal(again.dense(), chosen.dense())


def test_few_variables_are_taken_as_they_are():
    adata = make(d=50)
    assert choose(adata).name == "adata.X"


def test_without_variables_the_components_are_taken():
    adata = AnnData(obs=pd.DataFrame(index=[f"c{i}" for i in range(5)]))
    adata.obsm["X_pca"] = np.random.default_rng(0).normal(size=(5, 3))
    assert choose(adata).name == "adata.obsm['X_pca']"
    with pytest.raises(ValueError, match=r"adata.X is empty; name a representation.*'X_pca'"):
        choose(adata, use_rep="X")


def test_a_layer_is_not_a_representation():
    adata = make()
    with pytest.raises(KeyError, match=r"Did not find 'counts' in adata\.obsm.*it is a layer: give layer='counts'"):
        choose(adata, use_rep="counts")
    assert choose(adata, layer="counts", n_pcs=0).name == "adata.layers['counts']"


def test_the_matrix_of_a_map_is_not_replaced_by_another_one(small):
    small.obsm["X_rep"], small.layers["raw"] = small.X[:, :5], small.X.copy()
    made_of = [
        ({"use_rep": "X_rep"}, lambda adata: adata.obsm.pop("X_rep"), KeyError, "Did not find adata.obsm['X_rep']"),
        ({"layer": "raw"}, lambda adata: adata.layers.pop("raw"), KeyError, "Did not find adata.layers['raw']"),
        ({"use_rep": "X"}, lambda adata: setattr(adata, "X", None), ValueError, "adata.X is empty"),
    ]
    for given, remove, error, lost in made_of:
        adata = small.copy()
        sg.tl.geoae(adata, **given, refine=False, n_steps=20, progress_bar=False)
        remove(adata)
        with pytest.raises(error) as raised:
            sg.tl.residual(adata)
        assert raised.value.args == (f"{lost}, and the map was made of it: restore it, or make the map again.",)


@for_each("kind", [np.asarray, sparse.csr_matrix, sparse.csc_array])
def test_counts_are_told_from_normalized_data(kind):
    counts = np.random.default_rng(0).poisson(2, size=(120, 60)).astype(np.float32)
    with pytest.warns(UserWarning, match=r"whole numbers: normalize counts first with sc\.pp\.normalize_total"):
        choose(AnnData(kind(counts)))
    with pytest.warns(UserWarning, match="Set use_rep='X'"):
        choose(AnnData(kind(np.log1p(counts))))


@for_each("layer", [None, "counts"])
def test_missing_components_are_computed_and_nothing_is_written(layer):
    adata = make()
    del adata.obsm["X_pca"]
    before = adata.copy()
    with pytest.warns(UserWarning, match=r"computing it with sc\.pp\.pca"):
        chosen = choose(adata, n_pcs=8, layer=layer)
    key = "X_pca" if layer is None else "X_pca_counts"
    assert chosen.name == f"adata.obsm[{key!r}]"
    assert list(adata.obsm) == list(before.obsm)
    assert not adata.uns
    expected = sc.pp.pca(
        AnnData(adata.X if layer is None else adata.layers[layer].astype("float32")), n_comps=8, copy=True
    )
    np.testing.assert_allclose(chosen.dense(), expected.obsm["X_pca"], rtol=1e-4, atol=1e-4)
    assert chosen.computed["obsm"].keys() == {key}
    # once written, the same call finds them
    for attribute, entries in chosen.computed.items():
        getattr(adata, attribute).update(entries)
    np.testing.assert_array_equal(choose(adata, layer=layer).dense(), chosen.dense())


def dask(x):
    return pytest.importorskip("dask.array").from_array(x, chunks=(10, -1))


@for_each(
    "convert",
    [
        np.asarray,
        sparse.csr_matrix,
        sparse.csc_matrix,
        sparse.csr_array,
        dask,
        lambda x: x.astype(np.float64),
        lambda x: x.astype(np.int64),
        np.asfortranarray,
    ],
)
def test_forms_of_x(convert):
    adata = make()
    dense = adata.X
    adata.X = convert(dense)
    np.testing.assert_array_equal(choose(adata, use_rep="X").dense(), dense)
    np.testing.assert_array_equal(choose(adata[5:20], use_rep="X").dense(), dense[5:20])


@for_each("convert", [pd.DataFrame, sparse.csr_matrix])
def test_forms_of_obsm(convert):
    adata = make()
    expected = adata.obsm["X_pca"]
    converted = convert(expected)
    if isinstance(converted, pd.DataFrame):
        converted.index = adata.obs_names
        converted.columns = converted.columns.astype(str)
    adata.obsm["X_pca"] = converted
    np.testing.assert_array_equal(choose(adata).dense(), expected)
    np.testing.assert_array_equal(choose(adata, n_pcs=3).dense(), expected[:, :3])


@for_each("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_backed(tmp_path, form):
    adata = make()
    dense = adata.X
    adata.X = form(dense)
    adata.write_h5ad(tmp_path / "x.h5ad")
    backed = read_h5ad(tmp_path / "x.h5ad", backed="r")
    np.testing.assert_array_equal(choose(backed, use_rep="X").dense(), dense)
    backed.file.close()


@for_each("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
@for_each("bad", [np.nan, np.inf])
def test_bad_values_are_counted_by_cell(form, bad):
    adata = make()
    x = adata.X.copy()
    x[3, [1, 5]] = bad
    x[7, 1] = bad
    adata.X = form(x)
    with pytest.raises(ValueError, match=r"2 of 30 cells have NaN or infinite values in adata\.X"):
        choose(adata, use_rep="X").dense()
    del adata.obsm["X_pca"]
    with pytest.raises(ValueError, match=r"2 of 30 cells have NaN or infinite values in adata\.X"):
        choose(adata)


@for_each(
    "kwargs, error, message",
    [
        ({"use_rep": "X_nope"}, KeyError, r"Did not find 'X_nope' in adata\.obsm, which has 'X_pca', 'X_other'"),
        ({"layer": "nope"}, KeyError, r"Did not find 'nope' in adata\.layers, which has 'counts'"),
        ({"use_rep": "X_pca", "layer": "counts"}, ValueError, "`layer` takes the place of X"),
        ({"n_pcs": 11}, ValueError, "`n_pcs` to be at most 10, the number of columns of adata.obsm"),
        ({"n_pcs": -1}, ValueError, "`n_pcs` to be an integer >= 0 or None, found -1"),
    ],
)
def test_bad_names(kwargs, error, message):
    with pytest.raises(error, match=message):
        choose(make(), **kwargs)


def test_nothing_to_embed():
    adata = make()
    adata.obsm["X_pca"][:] = 3.0
    with pytest.raises(ValueError, match=r"All 30 cells are equal in adata\.obsm\['X_pca'\]"):
        choose(adata).dense()
    with pytest.raises(ValueError, match=r"adata\.obsm\['X_pca'\] is empty: its shape is \(0, 10\)"):
        choose(make()[:0])
    adata.obsm["X_pca"] = np.array([["a", "b"]] * 30)
    with pytest.raises(TypeError, match="to hold real numbers, found dtype <U1"):
        choose(adata)


def test_constant_features_are_fine():
    adata = make()
    adata.obsm["X_pca"][:, 4] = 3.0
    assert choose(adata).matrix.shape == (30, 10)


def test_size_factors(small):
    counts = np.random.default_rng(0).poisson(3, size=small.shape).astype(np.float32)
    small.X, small.obs["factor"] = counts, np.linspace(1, 2, small.n_obs)
    params = {"use_rep": "X", "library_size": 100.0, "size_factor_key": "factor"}
    found = stored_representation(small, params, None, small.n_vars).dense()
    np.testing.assert_allclose(found, np.log1p(100 * counts / small.obs["factor"].to_numpy()[:, None]), rtol=1e-5)
    for values in ("text", np.nan):
        small.obs["factor"] = values
        with pytest.raises(ValueError, match=r"adata\.obs\['factor'\], the size factors of this map, to hold finite"):
            stored_representation(small, params, None, small.n_vars)
    del small.obs["factor"]
    with pytest.raises(KeyError, match=r"Did not find 'factor' in adata\.obs, which has 'side'"):
        stored_representation(small, params, None, small.n_vars)


@for_each("as_array", [False, True])
def test_default_is_that_of_the_neighbor_graph(reduced, as_array):
    import scanpy as sc

    adata = reduced.copy()
    adata.obsm["X_harmony"] = adata.obsm["X_pca"][:, :20] * 2
    sc.pp.neighbors(adata, use_rep="X_harmony")
    if as_array:
        adata.uns["neighbors"]["params"]["n_pcs"] = np.array([10])
        adata.uns["neighbors"]["params"]["use_rep"] = np.str_("X_harmony")
    else:
        adata.uns["neighbors"]["params"]["n_pcs"] = 10
    found = choose_representation(adata, use_rep=None, n_pcs=None, layer=None)
    assert found.params == {"use_rep": "X_harmony", "n_pcs": 10}
    np.testing.assert_array_equal(found.matrix, adata.obsm["X_harmony"][:, :10])
    # arguments go before, and a t-SNE has a record of its own
    assert choose_representation(adata, use_rep="X_pca", n_pcs=None, layer=None).params == {"use_rep": "X_pca"}
    assert choose_representation(adata, use_rep=None, n_pcs=5, layer=None).params["n_pcs"] == 5
    adata.uns["tsne"] = {"params": {"use_rep": "X_pca", "perplexity": 30}}
    tsne = choose_representation(adata, use_rep=None, n_pcs=None, layer=None, basis="tsne")
    assert tsne.params == {"use_rep": "X_pca"}
    # a graph of what is gone says nothing
    del adata.obsm["X_harmony"]
    assert choose_representation(adata, use_rep=None, n_pcs=None, layer=None).params == {"use_rep": "X_pca"}


def test_what_is_followed_is_said(reduced, caplog):
    import scanpy as sc

    adata = reduced.copy()
    adata.obsm["X_harmony"] = adata.obsm["X_pca"].copy()
    for use_rep, is_said in (("X_harmony", True), ("X_pca", False)):
        caplog.clear()
        sc.pp.neighbors(adata, use_rep=use_rep)
        with sc.settings.verbosity.override("info"):
            sc.settings._root_logger.addHandler(caplog.handler)
            choose_representation(adata, use_rep=None, n_pcs=None, layer=None)
            sc.settings._root_logger.removeHandler(caplog.handler)
        assert ("using adata.obsm['X_harmony'], as recorded in adata.uns['neighbors']" in caplog.text) == is_said


def test_a_graph_without_a_record_of_what_it_is_of_is_not_followed(reduced):
    import scanpy as sc

    bare = AnnData(obsm={"X_pca": reduced.obsm["X_pca"]})
    sc.pp.neighbors(bare, use_rep="X_pca")
    del bare.uns["neighbors"]["params"]["use_rep"]
    assert choose_representation(bare, use_rep=None, n_pcs=None, layer=None).params == {"use_rep": "X_pca"}


def test_a_named_graph_and_a_t_sne_say_what_they_are_of(reduced):
    import scanpy as sc

    adata = reduced.copy()
    adata.obsm["X_harmony"] = adata.obsm["X_pca"].copy()
    sc.pp.neighbors(adata, use_rep="X_harmony", key_added="harmony")
    named = choose_representation(adata, use_rep=None, n_pcs=None, layer=None, neighbors_key="harmony")
    assert named.params == {"use_rep": "X_harmony"}
    # which does not follow the graph, and was made of X_pca if it has no record
    sc.pp.neighbors(adata, use_rep="X_harmony")
    adata.uns["tsne"] = {"params": {"perplexity": 30}}
    assert choose_representation(adata, use_rep=None, n_pcs=None, layer=None, basis="tsne").params == {
        "use_rep": "X_pca"
    }
