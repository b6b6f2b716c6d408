from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import scanpy as sc
from sklearn.neighbors import NearestNeighbors

from scgeoae._anndata.neighbors import choose_neighbors, neighbors_of
from scgeoae._anndata.representation import choose_representation
from scgeoae.training.neighbors import nearest_neighbors

from ..for_each import for_each


def chosen(adata, *, use_rep=None, n_pcs=None, layer=None, key=None, k=10):
    representation = choose_representation(adata, use_rep=use_rep, n_pcs=n_pcs, layer=layer)
    return choose_neighbors(adata, representation, key=key, k=k)


def nearest(x, k=10):
    return NearestNeighbors(n_neighbors=k + 1).fit(x).kneighbors(return_distance=False)[:, :k]


@pytest.fixture
def adata(reduced):
    adata = reduced.copy()
    del adata.uns["neighbors"], adata.obsp["distances"], adata.obsp["connectivities"]
    return adata


def test_graph_of_scanpy_is_used(adata):
    assert chosen(adata) is None
    sc.pp.neighbors(adata)
    found = chosen(adata)
    np.testing.assert_array_equal(found, nearest(adata.obsm["X_pca"]))


@for_each(
    "made_from, asked_for, same",
    [
        ({"use_rep": "X_pca"}, {}, True),
        # which is the default then
        ({"n_pcs": 10}, {}, True),
        ({"n_pcs": 10}, {"n_pcs": 10}, True),
        ({"n_pcs": 50}, {}, True),
        ({"n_pcs": 0}, {"use_rep": "X"}, True),
        ({"n_pcs": 0}, {}, True),
        ({"use_rep": "X_umap"}, {}, True),
        ({"use_rep": "X_umap"}, {"use_rep": "X_pca"}, False),
        ({"n_pcs": 10}, {"use_rep": "X_pca"}, False),
        ({}, {"use_rep": "X_umap"}, False),
        ({}, {"layer": "other"}, False),
    ],
)
def test_only_of_the_same_representation_unless_named(adata, made_from, asked_for, same):
    adata.layers["other"] = adata.X.copy()
    adata.obsm["X_pca_other"] = adata.obsm["X_pca"]
    sc.pp.neighbors(adata, **made_from)
    assert (chosen(adata, **asked_for) is not None) == same
    assert chosen(adata, **asked_for, key="neighbors") is not None


@for_each(
    "recorded, asked_for, same",
    [
        (None, {}, True),
        (['["obsm", "pca"]'], {}, True),
        (np.array(['["obsm", "pca"]'], dtype=object), {}, True),  # as it comes out of a file
        (['["obsm", "X_umap"]'], {}, True),
        (['["layers", null]'], {"use_rep": "X"}, True),
        (['["layers", "other"]'], {}, False),
    ],
)
def test_graph_that_version_2_of_scanpy_records(adata, recorded, asked_for, same):
    adata = adata.copy()
    sc.pp.neighbors(adata, use_rep="X_pca")
    adata.obsm["pca"] = adata.obsm.pop("X_pca")
    adata.uns["neighbors"]["params"]["use_rep"] = recorded
    if recorded is None:
        del adata.uns["neighbors"]["params"]["use_rep"]
    assert (chosen(adata, **asked_for) is not None) == same


def test_named_graph(adata):
    sc.pp.neighbors(adata, use_rep="X_umap", key_added="on_umap")
    np.testing.assert_array_equal(chosen(adata, key="on_umap"), nearest(adata.obsm["X_umap"]))
    with pytest.raises(KeyError, match=r"run sc.pp.neighbors\(adata, key_added='spam'\) first"):
        chosen(adata, key="spam")


def test_cells_that_lost_neighbors(adata):
    sc.pp.neighbors(adata)
    some = adata[:40].copy()
    found = chosen(some, k=20)
    assert found.shape == (40, 20)
    for i, row in enumerate(found):
        kept = row[row >= 0]
        assert (row[len(kept) :] == -1).all()
        distances = np.linalg.norm(some.obsm["X_pca"][kept] - some.obsm["X_pca"][i], axis=1)
        assert (np.diff(distances) > -1e-4).all()
        assert i not in kept


@contextmanager
def few_are_exact():
    """Treat 700 cells as too many for an exact search."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("scgeoae._anndata.neighbors", "scgeoae.training.neighbors"):
            patch.setattr(f"{module}.MAX_EXACT", 100)
        yield


def distances_to(x, indices):
    return np.linalg.norm(x[indices].astype(np.float64) - x[:, None], axis=2)


def test_beyond_an_exact_search_the_graph_of_scanpy_is_used(adata):
    x = adata.obsm["X_pca"]
    representation = choose_representation(adata, use_rep="X_pca", n_pcs=None, layer=None)
    # Scanpy counts the cell itself
    sc.pp.neighbors(adata, n_neighbors=15, use_rep="X_pca")
    exact = neighbors_of(adata, representation, k=15)
    np.testing.assert_array_equal(exact.indices, nearest(x, 15))

    with few_are_exact():
        found = neighbors_of(adata, representation, k=15)
    np.testing.assert_array_equal(found.indices, nearest(x, 15)[:, :14])
    np.testing.assert_allclose(found.distances, distances_to(x, found.indices), rtol=1e-5)


@for_each("how", ["another metric", "another representation since", "a missing length"])
def test_a_graph_of_other_distances_is_not_used(adata, how):
    representation = choose_representation(adata, use_rep="X_pca", n_pcs=None, layer=None)
    with few_are_exact():
        expected = neighbors_of(adata, representation, k=14)
        sc.pp.neighbors(adata, use_rep="X_pca", metric="cosine" if how == "another metric" else "euclidean")
        if how == "another representation since":
            adata.obsm["X_pca"] = np.ascontiguousarray(adata.obsm["X_pca"][::-1])
            representation = choose_representation(adata, use_rep="X_pca", n_pcs=None, layer=None)
            expected = nearest_neighbors(adata.obsm["X_pca"], 14)
        elif how == "a missing length":
            adata.obsp["distances"].data[5] = np.nan
        found = neighbors_of(adata, representation, k=14)
    np.testing.assert_array_equal(found.indices, expected.indices)


@for_each("offset", [0, 1e6])
def test_a_graph_that_does_not_fit_is_not_used(adata, offset):
    x = adata.obsm["X_pca"].astype(np.float64) + offset
    adata.obsm["X_pca"] = x
    representation = choose_representation(adata, use_rep="X_pca", n_pcs=None, layer=None)
    for made_from in ({"n_neighbors": 14, "use_rep": "X_pca"}, {"use_rep": "X_umap"}):
        sc.pp.neighbors(adata, **made_from)
        with few_are_exact():
            found = neighbors_of(adata, representation, k=15)
        kept = [np.isin(a, b).mean() for a, b in zip(found.indices, nearest(x, 15), strict=True)]
        assert np.mean(kept) > 0.98
        np.testing.assert_allclose(found.distances, distances_to(x, found.indices), rtol=1e-4)


def test_a_cell_far_away_does_not_cost_the_others_their_neighbors(adata):
    x = adata.obsm["X_pca"]
    x[0] = 1e13
    representation = choose_representation(adata, use_rep="X_pca", n_pcs=None, layer=None)
    with few_are_exact():
        found = neighbors_of(adata, representation, k=15)
    kept = [np.isin(a, b).mean() for a, b in zip(found.indices, nearest(x, 15), strict=True)]
    assert np.mean(kept[1:]) > 0.95
