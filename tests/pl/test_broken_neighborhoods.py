from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from anndata import AnnData
from matplotlib.collections import LineCollection
from matplotlib.legend import Legend

import scgeoae as sg


@pytest.fixture(scope="module")
def ripped():
    """A plane that is cut, one side moved away. Do not change: take a copy."""
    x = np.random.default_rng(0).uniform(size=(600, 2))
    adata = AnnData(x.astype(np.float32))
    right = x[:, 0] > 0.5
    adata.obs["side"] = np.where(right, "right", "left")
    adata.obsm["X_umap"] = (x + 0.5 * right[:, None] * [1, 0]).astype(np.float32)
    sg.tl.distortion(adata, method="laplacian")
    return adata


def lines(ax) -> LineCollection:
    (collection,) = [c for c in ax.collections if isinstance(c, LineCollection)]
    return collection


def said(ax) -> list[str]:
    ours = [a for a in ax.artists if isinstance(a, Legend)][-1]
    return [text.get_text() for text in ours.get_texts()]


def test_edges_and_cells(ripped):
    ax = sg.pl.broken_neighborhoods(ripped, color="side", show=False)
    torn = ripped.obsp["umap_torn"]
    segments = np.array(lines(ax).get_segments())
    assert len(segments) == torn.nnz / 2
    # each spans the gap
    assert (np.abs(np.diff(segments[:, :, 0], axis=1)) > 0.5).all()
    (rings,) = [c for c in ax.collections if len(c.get_offsets()) == ripped.obs["umap_broken"].sum()]
    np.testing.assert_array_equal(rings.get_offsets(), ripped.obsm["X_umap"][ripped.obs["umap_broken"]])
    assert said(ax) == [f"{torn.nnz // 2} torn edges", f"{ripped.obs['umap_broken'].sum()} broken cells"]
    # the legend of the colors is still there
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["left", "right"]
    assert ax.get_title() == "side"


def test_the_most_stretched_edges_first(ripped):
    ax = sg.pl.broken_neighborhoods(ripped, max_edges=10, show=False)
    torn = ripped.obsp["umap_torn"].tocoo()
    z = ripped.obsm["X_umap"]
    largest = np.argsort(-torn.data)[:20]  # each twice
    expected = {tuple(sorted((torn.row[e], torn.col[e]))) for e in largest}
    drawn = {
        tuple(sorted(int(np.abs(z - end).sum(1).argmin()) for end in segment)) for segment in lines(ax).get_segments()
    }
    assert drawn == expected
    assert said(ax)[0] == f"{torn.nnz // 2} torn edges, the 10 stretched most are drawn"


def test_arguments(ripped, tmp_path):
    _, ax = plt.subplots()
    returned = sg.pl.broken_neighborhoods(
        ripped, basis="X_umap", ax=ax, edgecolor="blue", linewidth=2, alpha=0.3, title="mine", size=5, show=False
    )
    assert returned is ax
    assert ax.get_title() == "mine"
    assert lines(ax).get_linewidth() == [2]
    np.testing.assert_allclose(lines(ax).get_colors(), [[0, 0, 1, 0.3]])
    axes = sg.pl.broken_neighborhoods(ripped, color=["side", "umap_torn"], save=tmp_path / "x.png", show=False)
    assert [ax.get_title() for ax in axes] == ["side", "umap_torn"]
    assert (tmp_path / "x.png").is_file()


def test_nothing_torn(ripped):
    adata = ripped.copy()
    adata.obsm["X_umap"] = np.array(adata.X)
    sg.tl.distortion(adata, method="laplacian")
    ax = sg.pl.broken_neighborhoods(adata, show=False)
    assert said(ax) == ["0 torn edges", "0 broken cells"]
    assert not lines(ax).get_segments()


def test_subset(ripped):
    subset = ripped[ripped.obs["side"] == "left"]
    assert said(sg.pl.broken_neighborhoods(subset, show=False))[0] == "0 torn edges"


def test_bad_calls(ripped, reduced, fitted, small):
    with pytest.raises(KeyError, match=r"Did not find adata\.obsp\['umap_torn'\]; run sg\.tl\.distortion\(adata, basi"):
        sg.pl.broken_neighborhoods(reduced, show=False)
    with pytest.raises(KeyError, match=r"'geoae_torn'\]; run sg\.tl\.distortion\(adata, basis='geoae'\) first"):
        sg.pl.broken_neighborhoods(fitted, basis="geoae", show=False)
    with pytest.raises(ValueError, match="`max_edges` to be an integer >= 0, found -1"):
        sg.pl.broken_neighborhoods(ripped, max_edges=-1, show=False)
    small.obsm["X_umap"] = small.X[:, :3].copy()
    sg.tl.distortion(small, method="laplacian")
    with pytest.raises(ValueError, match=r"draws maps of 2 dimensions, and adata\.obsm\['X_umap'\] has 3"):
        sg.pl.broken_neighborhoods(small, show=False)
    assert not plt.get_fignums()
