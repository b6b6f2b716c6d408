from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch
from anndata import AnnData, read_h5ad
from scipy import sparse

import scgeoae as sg
from scgeoae.geometry.jet import along, differentials, steepest

from ..for_each import for_each


@pytest.fixture(scope="module")
def plane():
    """A flat sheet: along the first direction "a" rises and "d" falls, along the second "b" falls; "c" is noise."""
    rng = np.random.default_rng(0)
    t = rng.uniform(-1, 1, size=(400, 2)) * [3, 1]
    x = np.column_stack([2 * t[:, 0], -t[:, 1], 0.01 * rng.normal(size=400), -0.5 * t[:, 0]])
    adata = AnnData(x.astype(np.float32))
    adata.var_names = ["a", "b", "c", "d"]
    adata.obs["side"] = np.where(t[:, 0] > 0, "right", "left")
    adata.obs["side"] = adata.obs["side"].astype("category")
    sg.tl.geoae(adata, progress_bar=False, n_steps=200, neighbors_weight=0)
    return adata


def test_changes_are_those_of_finite_differences(fitted):
    model = sg.get.model(fitted).double()
    z = torch.from_numpy(fitted.obsm["X_geoae"][:7]).double()
    loadings = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    metric = model.metric(z)
    w = differentials(model.jacobian(z), loadings)
    h = 1e-5
    axes = torch.eye(2, dtype=torch.float64)
    expected = torch.stack(
        [((model.decode(z + h * e) - model.decode(z - h * e)) @ loadings) / (2 * h) for e in axes], 2
    )
    torch.testing.assert_close(w, expected, rtol=1e-5, atol=1e-5)
    # the steepest of many directions of unit length in the data
    angle = torch.linspace(0, 2 * np.pi, 3601, dtype=torch.float64)
    each = torch.stack([along(w, metric, torch.stack([a.cos(), a.sin()])) for a in angle])
    torch.testing.assert_close(each.amax(0), steepest(w, metric), rtol=1e-5, atol=1e-8)
    # whatever the length of the direction
    v = torch.tensor([0.3, -2.0], dtype=torch.float64)
    torch.testing.assert_close(along(w, metric, v), along(w, metric, 10 * v))


def table(adata, **kwargs):
    sg.tl.rank_genes_by_jacobian(adata, "side", **kwargs)
    return sc.get.rank_genes_groups_df(adata, "right", key="geoae_rank_genes").set_index("names")["scores"]


def test_known_changes(plane):
    # on a plane a unit of travel along the first direction is 1/√(2² + 0.5²) of t
    scores = table(plane)
    assert list(scores.index[:2]) == ["b", "a"]
    np.testing.assert_allclose(scores[["a", "d", "b"]], [2 / 4.25**0.5, 0.5 / 4.25**0.5, 1], rtol=0.1)
    assert scores["c"] < 0.05
    into = table(plane, direction="into")
    assert into["a"] > 0.8
    sg.tl.rank_genes_by_jacobian(plane, "side", direction="into", key_added="mine")
    left = sc.get.rank_genes_groups_df(plane, "left", key="mine").set_index("names")["scores"]
    assert left["a"] < -0.8
    z = plane.obsm["X_geoae"]
    up = z[plane.X[:, 1].argmax()] - z[plane.X[:, 1].argmin()]
    assert table(plane, direction=up).index[0] in ("a", "b")
    given = table(plane, direction=[0.0, 1.0])
    opposite = table(plane, direction=[0.0, -1.0])
    np.testing.assert_allclose(given, -opposite[given.index], rtol=1e-5)
    assert set(table(plane, direction="first").index) == set("abcd")


DIRECTIONS = ["into", "first", "second", [0.6, -0.8]]


@for_each("direction", DIRECTIONS)
def test_genes_that_rise_come_first_and_those_that_fall_last(plane, direction):
    for group in ("left", "right"):
        ranked = {}
        for how in ({}, {"rankby_abs": True}):
            sg.tl.rank_genes_by_jacobian(plane, "side", direction=direction, key_added="mine", **how)
            frame = sc.get.rank_genes_groups_df(plane, group, key="mine")
            ranked[bool(how)] = frame.set_index("names")["scores"]
        assert (ranked[False].diff()[1:] <= 0).all()
        assert (ranked[True].abs().diff()[1:] <= 0).all()
        # the same numbers in another order
        assert ranked[False][ranked[True].index].equals(ranked[True])
        assert ranked[False].min() < 0 < ranked[False].max()
        sg.tl.rank_genes_by_jacobian(plane, "side", direction=direction, n_genes=2, key_added="mine")
        assert list(sc.get.rank_genes_groups_df(plane, group, key="mine")["names"]) == list(ranked[False].index[:2])


def test_falling_genes_are_no_markers(fitted):
    adata = fitted.copy()
    sg.tl.rank_genes_by_jacobian(adata, "bulk_labels", direction="into", key_added="into")
    groups = list(adata.obs["bulk_labels"].cat.categories)
    scores = pd.DataFrame(adata.uns["into"]["scores"])
    names = pd.DataFrame(adata.uns["into"]["names"])
    assert list(scores) == groups
    assert (scores.head(5) > 0).all(axis=None)
    assert (scores.tail(5) < 0).all(axis=None)
    for shown, n_genes in ((names.head(2), 2), (names.tail(2), -2)):
        plot = sc.pl.rank_genes_groups_dotplot(adata, key="into", n_genes=n_genes, return_fig=True, dendrogram=False)
        assert sorted(plot.var_names) == sorted(shown.T.to_numpy().ravel())


def changes(adata, key):
    groups = adata.uns[key]["names"].dtype.names
    tables = {group: sc.get.rank_genes_groups_df(adata, group, key=key).set_index("names") for group in groups}
    return pd.concat(tables)["logfoldchanges"]


def log1p_data(base=None):
    rng = np.random.default_rng(0)
    label = rng.integers(3, size=300)
    counts = rng.poisson(rng.gamma(1.0, 2.0, size=(3, 40))[label])
    counts[:, -1] = 0
    adata = AnnData(sparse.csr_matrix(counts.astype(np.float32)))
    adata.obs["type"] = pd.Categorical(np.array(["a", "b", "c"])[label])
    adata.obs.loc[adata.obs_names[:9], "type"] = np.nan
    adata.layers["counts"] = adata.X.copy()
    sc.pp.normalize_total(adata, target_sum=1e3)
    sc.pp.log1p(adata, base=base)
    sc.pp.pca(adata, n_comps=8)
    return adata


def with_map(adata, **kwargs):
    sg.tl.geoae(adata, n_steps=60, progress_bar=False, refine=False, **kwargs)
    return adata


@for_each("where", ["X", "X to base 2", "raw", "Dask", "a file", "a layer", "another order"])
def test_fold_changes_are_those_of_scanpy(where, tmp_path):
    adata = log1p_data(2 if where == "X to base 2" else None)
    sc.tl.rank_genes_groups(adata, "type", method="t-test", key_added="expected")
    expected = changes(adata, "expected")
    if where == "raw":
        adata.raw = adata
        scaled(adata)
    if where == "a layer":
        adata.layers["log"], adata.X = adata.X.copy(), adata.layers["counts"]
    if where == "another order":
        adata = adata[:, ::-1].copy()
    with_map(adata, **({"use_rep": "X", "layer": "log"} if where == "a layer" else {}))
    if where == "Dask":
        da = pytest.importorskip("dask.array")
        adata.X = da.from_array(adata.X.toarray(), chunks=(70, 40))
    if where == "a file":
        adata.write_h5ad(tmp_path / "a.h5ad")
        adata = read_h5ad(tmp_path / "a.h5ad", backed="r")
    sg.tl.rank_genes_by_jacobian(adata, "type", direction="into", genes=list(adata.var_names), key_added="into")
    found = changes(adata, "into")
    assert not found.isna().any()
    np.testing.assert_allclose(found[expected.index], expected, rtol=1e-4, atol=1e-4)
    sg.tl.rank_genes_by_jacobian(adata, "type", groups=["c"], direction="into", genes=["7", "3"], key_added="into")
    np.testing.assert_allclose(changes(adata, "into")["c", "3"], expected["c", "3"], rtol=1e-4)


def scaled(adata, **kwargs):
    adata.X = adata.X.toarray()
    sc.pp.scale(adata, **kwargs)
    return adata


@for_each(
    "units",
    {
        "counts": lambda adata: adata.layers["counts"],
        "normalized": lambda adata: adata.X.expm1(),
        "scaled": lambda adata: scaled(adata).X,
        "scaled around zero": lambda adata: scaled(adata, zero_center=False).X,
        "shifted": lambda adata: adata.X.toarray() - 1,
    }.items(),
)
def test_no_fold_changes_in_other_units(units):
    adata = with_map(log1p_data())
    adata.X = units[1](adata)
    sg.tl.rank_genes_by_jacobian(adata, "type", direction="into", key_added="into")
    assert changes(adata, "into").isna().all()


def test_no_fold_changes_in_directions_that_compare_no_groups(plane):
    for direction in (None, *DIRECTIONS[1:]):
        sg.tl.rank_genes_by_jacobian(plane, "side", direction=direction, key_added="mine")
        assert changes(plane, "mine").isna().all()


def test_scanpy_reads_and_draws_it(plane, tmp_path):
    adata = plane.copy()
    sg.tl.rank_genes_by_jacobian(adata, "side", n_genes=3)
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = read_h5ad(tmp_path / "a.h5ad")
    for data in (adata, again):
        frame = sc.get.rank_genes_groups_df(data, None, key="geoae_rank_genes")
        assert len(frame) == 6
        assert frame["pvals"].isna().all()
        sc.pl.rank_genes_groups(data, key="geoae_rank_genes", show=False)
        sc.pl.rank_genes_groups_dotplot(data, key="geoae_rank_genes", n_genes=2, show=False)
        sc.pl.rank_genes_groups_matrixplot(data, key="geoae_rank_genes", n_genes=2, show=False)


def test_groups_and_copy(plane):
    found = sg.tl.rank_genes_by_jacobian(plane, "side", groups=["left"], key_added="one", copy=True)
    assert "one" not in plane.uns
    assert found.uns["one"]["names"].dtype.names == ("left",)


def test_errors(plane):
    with pytest.raises(KeyError, match=r"Did not find 'spam' in adata\.obs"):
        sg.tl.rank_genes_by_jacobian(plane, "spam")
    with pytest.raises(KeyError, match=r"Did not find 'middle'.*whose groups are 'left', 'right'"):
        sg.tl.rank_genes_by_jacobian(plane, "side", groups=["middle"])
    for wrong in ("up", [1, 2, 3], [np.nan, 0]):
        with pytest.raises(ValueError, match="Expected `direction` to be"):
            sg.tl.rank_genes_by_jacobian(plane, "side", direction=wrong)
    with pytest.raises(ValueError, match="other than 0"):
        sg.tl.rank_genes_by_jacobian(plane, "side", direction=[0, 0])
    with pytest.raises(ValueError, match="Expected `n_genes` to be an integer >= 1 or None, found 0"):
        sg.tl.rank_genes_by_jacobian(plane, "side", n_genes=0)


def tips(ax):
    """Return the tip of the arrow under each label; both are drawn in the same order."""
    names = [text.get_text() for text in ax.texts if text.get_text()]
    return dict(zip(names, [np.array(text.xy) for text in ax.texts if not text.get_text()], strict=True))


def test_compass(plane):
    ax = sg.pl.gene_compass(plane, "side", "right", genes=["a", "b"], show=False)
    arrows = tips(ax)
    assert set(arrows) == {"a", "b"}
    start = np.median(plane.obsm["X_geoae"][plane.obs["side"] == "right"], axis=0)
    z, x = plane.obsm["X_geoae"] - plane.obsm["X_geoae"].mean(0), plane.X
    for name in ("a", "b"):
        rise = np.linalg.lstsq(z, x[:, plane.var_names.get_loc(name)], rcond=None)[0]
        arrow = arrows[name] - start
        assert arrow @ rise > 0.97 * np.linalg.norm(arrow) * np.linalg.norm(rise)
    with pytest.raises(KeyError, match="Did not find 'middle'"):
        sg.pl.gene_compass(plane, "side", "middle", show=False)
    with pytest.raises(KeyError, match="Did not find 'spam'"):
        sg.pl.gene_compass(plane, "spam", "right", show=False)
    named = plane.copy()
    named.var["symbol"] = ["first", "second", "third", "second"]
    ax = sg.pl.gene_compass(named, "side", "right", genes=["second"], gene_symbols="symbol", show=False)
    assert list(tips(ax)) == ["second"]
    (tip,) = tips(ax).values()
    along_b = (tip - start) @ (arrows["b"] - start)
    assert along_b > 0.99 * np.linalg.norm(tip - start) * np.linalg.norm(arrows["b"] - start)
    panel = sg.pl.decoded_genes(named, "first", gene_symbols="symbol", show=False)
    assert panel.get_title() == "first"
    with pytest.raises(KeyError, match=r"Did not find 'a' in adata\.var\['symbol'\]"):
        sg.pl.decoded_genes(named, "a", gene_symbols="symbol", show=False)
