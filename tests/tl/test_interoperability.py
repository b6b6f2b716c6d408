"""What becomes of a map when its AnnData is cut, copied, renamed, joined, written and read."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from scipy.sparse.csgraph import connected_components, dijkstra

import scgeoae as sg

from ..for_each import for_each


def same_place(adata, other):
    model, again = sg.get.model(adata), sg.get.model(other)
    z = torch.from_numpy(other.obsm["X_geoae"])
    assert torch.equal(model.decode(z), again.decode(z))


def works(adata):
    """Everything that reads a map."""
    sg.get.scores(adata)
    sg.tl.metric(adata, side="encoder")
    sg.tl.curvature(adata)
    sg.tl.pseudotime(adata, adata.obs_names[0])
    sg.tl.decode(adata, adata.obsm["X_geoae"][:2])
    sg.tl.geodesic(adata, adata.obs_names[0], adata.obs_names[-1], genes=[])
    sg.pl.indicatrices(adata, show=False)
    sg.pl.jacobian_heatmap(adata, show=False)


@for_each("how", ["copy", "subset", "view", "reordered", "renamed", "fewer genes"])
def test_what_is_done_to_an_anndata(fitted, how):
    adata = fitted.copy()
    rows = np.arange(0, adata.n_obs, 3)
    if how == "subset":
        adata = adata[rows].copy()
    elif how == "view":
        adata = adata[rows]
    elif how == "reordered":
        adata = adata[np.random.default_rng(0).permutation(adata.n_obs)].copy()
    elif how == "renamed":
        adata.obs_names = [f"cell {i}" for i in range(adata.n_obs)]
        adata.var_names = [f"gene {i}" for i in range(adata.n_vars)]
    elif how == "fewer genes":
        adata = adata[:, ::5].copy()
    same_place(fitted, adata)
    # a view is copied by whatever writes to it, and says so
    works(adata.copy() if adata.is_view else adata)


def test_a_subset_keeps_its_own_lengths(fitted):
    rows = np.arange(0, fitted.n_obs, 2)
    part = fitted[rows].copy()
    np.testing.assert_array_equal(
        part.obsp["geoae_distances"].toarray(), fitted.obsp["geoae_distances"].toarray()[np.ix_(rows, rows)]
    )
    graph = part.obsp["geoae_distances"]
    _, piece = connected_components(graph, directed=False)
    root = int(np.flatnonzero(piece == np.bincount(piece).argmax())[0])
    sg.tl.pseudotime(part, part.obs_names[root])
    # it is the way through these, for those that are reached without a bridge
    way = dijkstra(graph.maximum(graph.T), indices=root)
    reached = np.isfinite(way) & (way > 0)
    assert reached.sum() > 100
    ratio = part.obs["geoae_pseudotime"][reached] / way[reached]
    np.testing.assert_allclose(ratio, ratio.iloc[0], rtol=1e-4)


def test_concat_keeps_the_map_and_says_what_is_lost(fitted):
    halves = [fitted[::2].copy(), fitted[1::2].copy()]
    joined = anndata.concat(halves)
    assert np.array_equal(joined.obsm["X_geoae"][: len(halves[0])], halves[0].obsm["X_geoae"])
    lost = (
        r"run sg\.tl\.geoae\(adata\) first\. Its tensors are there: anndata\.concat drops uns, unless uns_merge='first'"
    )
    with pytest.raises(KeyError, match=lost):
        sg.get.model(joined)
    # anndata drops uns and obsp unless it is told to keep them
    kept = anndata.concat(halves, uns_merge="first", pairwise=True)
    same_place(fitted, kept)
    works(kept)


def test_a_lost_graph_says_how_to_keep_it(fitted):
    joined = anndata.concat([fitted[::2].copy(), fitted[1::2].copy()], uns_merge="first")
    calls = [
        lambda: sg.tl.geodesic(joined, *joined.obs_names[:2]),
        lambda: sg.tl.geodesic_distances(joined, groupby="bulk_labels"),
        lambda: sg.tl.pseudotime(joined, joined.obs_names[0]),
    ]
    for call in calls:
        with pytest.raises(
            KeyError, match=r"'geoae_distances'\]; run .* anndata\.concat drops obsp, unless pairwise=True"
        ):
            call()
    joined.uns["umap_distortion"] = {**joined.uns["geoae"], "torn": {}}
    with pytest.raises(KeyError, match=r"'umap_torn'\]; run .* anndata\.concat drops obsp, unless pairwise=True"):
        sg.pl.broken_neighborhoods(joined)
    # a map that was never measured lost nothing
    with pytest.raises(KeyError, match=r"'umap_torn'\]; run sg\.tl\.distortion\(adata, basis='umap'\) first\.\"$"):
        sg.pl.broken_neighborhoods(fitted)


def test_placed_cells_have_no_graph(fitted):
    new = fitted[:50].copy()
    new.uns, new.obsp = {}, {}
    del new.obsm["X_geoae"]
    sg.tl.transform(new, fitted, use_rep="X_pca")
    with pytest.raises(KeyError, match=r"sg\.tl\.transform or sg\.tl\.atlas placed .* in which the map was made"):
        sg.tl.pseudotime(new, new.obs_names[0])


def test_new_cells_and_old_ones_in_one_anndata(fitted):
    known, new = fitted[:600].copy(), fitted[600:].copy()
    for name in [*new.obsp, *new.obsm]:
        if name.startswith(("geoae", "X_geoae")):
            (new.obsp if name in new.obsp else new.obsm).__delitem__(name)
    sg.tl.transform(new, known, use_rep="X_pca", allow_subset=True)
    joined = anndata.concat({"known": known, "new": new}, label="origin", uns_merge="first")
    assert joined.n_obs == 700
    np.testing.assert_array_equal(joined.obsm["X_geoae"][:600], fitted.obsm["X_geoae"][:600])
    # where they lay when they were among the cells of the map
    away = np.linalg.norm(joined.obsm["X_geoae"][600:] - fitted.obsm["X_geoae"][600:], axis=1)
    assert np.median(away) < 0.05 * np.ptp(fitted.obsm["X_geoae"], axis=0).max()
    sg.pl.indicatrices(joined, color="origin", show=False)


def test_other_readers_find_what_they_expect(fitted, tmp_path):
    adata = fitted.copy()
    sg.tl.pseudotime(adata, adata.obs_names[0])
    sg.tl.rank_genes_by_jacobian(adata, "bulk_labels", n_genes=5)
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = anndata.read_h5ad(tmp_path / "a.h5ad")
    # readers in the browser and in R: dense embeddings without NaN in two dimensions, numeric columns, no pickles
    for name, array in again.obsm.items():
        assert array.ndim == 2, name
    assert np.isfinite(again.obsm["X_geoae"]).all()
    for name in again.obs:
        if name.startswith("geoae"):
            assert pd.api.types.is_numeric_dtype(again.obs[name]) or again.obs[name].dtype == bool
    for name, matrix in again.obsp.items():
        assert sparse.issparse(matrix), name
    works(again)
    assert again.uns["geoae_rank_genes"]["names"].dtype.names == adata.uns["geoae_rank_genes"]["names"].dtype.names
