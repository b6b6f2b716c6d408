"""What becomes of every answer of a map when its AnnData is edited: the same value, or an error; nothing between."""

from __future__ import annotations

import warnings

import anndata
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from anndata import AnnData
from matplotlib.collections import EllipseCollection, PathCollection
from scipy import sparse

import scgeoae as sg

from ..for_each import for_each

KEPT = [f"g{i}" for i in range(0, 60, 2)]


@pytest.fixture(scope="module")
def made() -> dict[str, tuple[AnnData, str]]:
    """Return an AnnData of three types for each kind of map, and the name of the map. Do not change: take copies."""
    rng = np.random.default_rng(0)
    kind, t = rng.integers(3, size=240), rng.uniform(size=240)
    rate = rng.gamma(1.0, 2.0, size=(3, 60))[kind] + t[:, None] * rng.gamma(1.0, 1.0, size=60)
    base = AnnData(sparse.csr_matrix(rng.poisson(rate).astype(np.float32)))
    base.obs_names, base.var_names = [f"c{i}" for i in range(240)], [f"g{i}" for i in range(60)]
    base.obs["kind"], base.obs["batch"] = pd.Categorical(kind.astype(str)), "a"
    base.layers["counts"] = base.X.copy()
    sc.pp.normalize_total(base, target_sum=1e3)
    sc.pp.log1p(base)
    base.layers["log"] = base.X.copy()
    options = {"n_steps": 60, "progress_bar": False}
    maps = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata = base.copy()
        sc.pp.pca(adata, n_comps=8)
        sg.tl.geoae(adata, **options)
        maps["PCA"] = adata, "geoae"
        adata = base.copy()
        sc.pp.pca(adata, n_comps=8, layer="log")
        sg.tl.geoae(adata, refine=False, **options)
        maps["PCA of a layer, encoder"] = adata, "geoae"
        adata = base.copy()
        adata.obsm["X_scVI"] = (adata.X @ rng.normal(size=(60, 6))).astype(np.float32)
        sg.tl.geoae(adata, use_rep="X_scVI", **options)
        maps["X_scVI"] = adata, "geoae"
        adata = base.copy()
        sg.tl.geoae(adata, use_rep="X", layer="log", **options)
        maps["genes of a layer"] = adata, "geoae"
        adata = base.copy()
        sc.pp.pca(adata, n_comps=8)
        adata.obsm["X_umap"] = np.tanh(adata.obsm["X_pca"][:, :2] / 9) * 5
        sg.tl.adopt(adata, **options)
        maps["adopted"] = adata, "umap"
    return maps


@pytest.fixture(scope="module")
def made_of_counts(made) -> tuple[AnnData, str]:
    """Return the same with a map of counts, in a layer."""
    scvi = pytest.importorskip("scvi")
    adata = made["PCA"][0].copy()
    adata = AnnData(adata.X, obs=adata.obs[["kind"]], var=adata.var[[]], layers=adata.layers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scvi.settings.seed = 0
        sg.model.GeoSCVI.setup_anndata(adata, layer="counts")
        model = sg.model.GeoSCVI(adata)
        model.train(max_epochs=3, accelerator="cpu", enable_progress_bar=False)
        model.to_anndata()
    return adata, "geoscvi"


def again_on_other_genes(adata):
    sc.pp.pca(adata, n_comps=8, mask_var=np.arange(adata.n_vars) % 2 == 0)
    return adata


def flipped(adata):
    if "X_pca" in adata.obsm:
        adata.obsm["X_pca"] = adata.obsm["X_pca"] * np.r_[np.ones(7), -1].astype(np.float32)
        adata.varm["PCs"] = adata.varm["PCs"] * np.r_[np.ones(7), -1]
    return adata


def replaced(adata):
    rng = np.random.default_rng(1)
    for name in ("X_pca", "X_scVI"):
        if name in adata.obsm:
            adata.obsm[name] = rng.normal(size=adata.obsm[name].shape).astype(np.float32)
    adata.X = adata.X * 2
    adata.layers["log"] = adata.layers["log"] * 2
    adata.layers["counts"] = adata.layers["counts"].log1p()
    return adata


def renamed(adata):
    for name in ("log", "counts"):
        adata.layers[f"{name} of before"] = adata.layers.pop(name)
    return adata


CHANGES = {
    "PCA again on other genes": again_on_other_genes,
    "genes permuted": lambda adata: adata[:, np.random.default_rng(0).permutation(adata.n_vars)].copy(),
    "genes subset": lambda adata: adata[:, KEPT].copy(),
    "cells subset": lambda adata: adata[adata.obs["kind"] == "1"].copy(),
    "representation replaced": replaced,
    "layer renamed": renamed,
    "signs flipped": flipped,
}
NEW = np.arange(0, 240, 6)


def frame(values, index) -> pd.DataFrame:
    values = np.asarray(values, dtype=np.float64)
    return pd.DataFrame(values.reshape(len(index), -1 if len(index) else 0), index=list(map(str, index)))


def columns(adata, *names):
    return {name: frame(adata.obs[name], adata.obs_names) for name in names}


def transform(adata, key, base):
    new = AnnData(
        base.X[NEW],
        var=base.var[[]],
        obsm={k: base.obsm[k][NEW] for k in ("X_scVI",) if k in base.obsm},
        layers={"log": base.layers["log"][NEW]},
    )
    new.obs_names = [f"new{i}" for i in NEW]
    sg.tl.transform(new, adata, key=key)
    found = columns(new, f"{key}_outlier_score", f"{key}_log_area")
    return found | {"positions": frame(new.obsm[f"X_{key}"], new.obs_names)}


def decode(adata, key, base):
    decoded = sg.tl.decode(adata, base.obsm[f"X_{key}"][:20], key=key)
    few = sg.tl.decode(adata, base.obsm[f"X_{key}"][:20], key=key, genes=["g2", "g51"])
    return {"all": frame(decoded.X.T, decoded.var_names), "few": frame(few.X.T, few.var_names)}


def ranked(adata, key, base, **kwargs):
    sg.tl.rank_genes_by_jacobian(adata, "kind", groups=["1"], key=key, **kwargs)
    found = adata.uns[f"{key}_rank_genes"]
    return {"scores": frame(found["scores"]["1"], found["names"]["1"])}


def drawn(adata, key, plot):
    """Return what is drawn: the value of each cell by its position, ellipses, arrows and texts."""
    axes = plot()
    names = {tuple(np.round(z, 3)): name for z, name in zip(adata.obsm[f"X_{key}"], adata.obs_names, strict=True)}
    found = {}
    for i, ax in enumerate(axes if isinstance(axes, list) else [axes]):
        for part in ax.collections:
            at = [names.get(tuple(np.round(z, 3))) for z in np.asarray(part.get_offsets())]
            if isinstance(part, PathCollection) and len(at) == adata.n_obs and None not in at:
                if part.get_array() is not None and f"cells {i}" not in found:
                    found[f"cells {i}"] = frame(part.get_array(), at)
            elif isinstance(part, EllipseCollection):
                found["ellipses"] = frame(np.c_[part._widths, part._heights], [str(z) for z in part.get_offsets()])
        if texts := [text for text in ax.texts if text.get_text()]:
            found[f"texts {i}"] = frame([text.get_position() for text in texts], [text.get_text() for text in texts])
    plt.close("all")
    return found


FUNCTIONS = {
    "get.metric_tensors": lambda a, k, _: {"G": frame(sg.get.metric_tensors(a, key=k), a.obs_names)},
    "get.scores": lambda a, k, _: {"scores": pd.DataFrame({"value": sg.get.scores(a, key=k)})},
    "get.model": lambda a, k, b: {"decoded": frame(sg.get.model(a, key=k).decode(b.obsm[f"X_{k}"][:9]), range(9))},
    "tl.decode": decode,
    "tl.transform": transform,
    "tl.rank_genes_by_jacobian": ranked,
    "tl.rank_genes_by_jacobian(direction=[1, 0])": lambda a, k, b: ranked(a, k, b, direction=[1, 0]),
    "tl.rank_genes_by_jacobian(direction='into')": lambda a, k, b: ranked(a, k, b, direction="into"),
    "tl.curvature": lambda a, k, _: (sg.tl.curvature(a, key=k), columns(a, f"{k}_mean_curvature"))[1],
    "tl.metric": lambda a, k, _: {"G": frame(sg.tl.metric(a, key=k).tensors, a.obs_names)},
    "tl.metric(encoder)": lambda a, k, _: {"P": frame(sg.tl.metric(a, key=k, side="encoder").tensors, a.obs_names)},
    "tl.metric(mahalanobis)": lambda a, k, _: {
        "G": frame(sg.tl.metric(a, key=k, ambient="mahalanobis").tensors, a.obs_names)
    },
    "tl.geodesic": lambda a, k, b: {
        "length": frame([sg.tl.geodesic(a, b.obsm[f"X_{k}"][0], b.obsm[f"X_{k}"][9], key=k).length], ["length"])
    },
    "tl.pseudotime": lambda a, k, _: (
        sg.tl.pseudotime(a, "1", groupby="kind", key=k),
        columns(a, f"{k}_pseudotime"),
    )[1],
    "tl.evaluate": lambda a, k, _: {
        "value": sg.tl.evaluate(a, basis=k).set_index("measure")[["value"]].drop(["MSE_held_out"], errors="ignore")
    },
    "tl.distortion": lambda a, k, _: (sg.tl.distortion(a, basis=k, progress_bar=False), columns(a, f"{k}_torn"))[1],
    "pl.indicatrices": lambda a, k, _: drawn(
        a, k, lambda: sg.pl.indicatrices(a, basis=k, where="cells", scale=1, show=False)
    ),
    "pl.jacobian_heatmap": lambda a, k, _: drawn(a, k, lambda: sg.pl.jacobian_heatmap(a, basis=k, show=False)),
    "pl.decoded_genes": lambda a, k, _: drawn(a, k, lambda: sg.pl.decoded_genes(a, ["g2", "g8"], basis=k, show=False)),
    "pl.gene_compass": lambda a, k, _: drawn(a, k, lambda: sg.pl.gene_compass(a, "kind", "1", basis=k, show=False)),
}
# Whose answers are about the cells that are there, and other ones of other cells.
OF_ITS_CELLS = ("tl.geodesic", "tl.pseudotime", "tl.evaluate", "tl.distortion", "pl.indicatrices", "pl.gene_compass")
# Which change of the AnnData changes what a map was made of.
CHANGES_OF = {
    "PCA": {"PCA again on other genes", "representation replaced", "signs flipped"},
    "genes of a layer": {"genes subset", "layer renamed", "representation replaced"},
    "adopted": {"PCA again on other genes", "representation replaced", "signs flipped"},
    "X_scVI": {"representation replaced"},
    "PCA of a layer, encoder": {"PCA again on other genes", "representation replaced", "signs flipped"},
    "counts": {"genes subset", "layer renamed", "representation replaced"},
}
READS_REPRESENTATION = (
    "tl.transform",
    "tl.evaluate",
    "tl.distortion",
    "tl.metric(encoder)",
    "tl.metric(mahalanobis)",
)
NEEDS_ALL_CELLS = ("tl.transform", "tl.metric(mahalanobis)")
TOLERANCE = 1e-5


def is_error(which, function, change) -> bool:
    """Whether the outcome is an error, and not the same answer."""
    return (
        (function in READS_REPRESENTATION and change in CHANGES_OF[which])
        or (function in NEEDS_ALL_CELLS and change == "cells subset")
        # of one type there are no other cells to come from
        or ("into" in function and change == "cells subset")
        # it draws what was measured too
        or (function == "pl.decoded_genes" and change == "representation replaced")
        or (function == "pl.decoded_genes" and change == "layer renamed" and ("layer" in which or which == "counts"))
        # which are normalized by the counts of all genes
        or (function == "pl.decoded_genes" and change == "genes subset" and which == "counts")
    )


def check(base, key, which, function):
    expected = FUNCTIONS[function](base.copy(), key, base)
    assert all(len(part) for part in expected.values())
    for change, edit in CHANGES.items():
        if change == "cells subset" and function in OF_ITS_CELLS:
            continue
        edited = edit(base.copy())
        if is_error(which, function, change):
            with pytest.raises((KeyError, ValueError), match=r"[Bb]ring|Did not find|give the AnnData|no other cells"):
                FUNCTIONS[function](edited, key, base)
            continue
        for name, found in FUNCTIONS[function](edited, key, base).items():
            then = expected[name].reindex(found.index)
            size = np.abs(expected[name].to_numpy()).max() + 1e-12
            np.testing.assert_allclose(
                found, then, rtol=TOLERANCE, atol=TOLERANCE * size, err_msg=f"{change}, {name}", equal_nan=False
            )


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("X_scVI", "PCA of a layer, encoder")]


@for_each("function", FUNCTIONS)
@for_each("which", ["PCA", "genes of a layer", "adopted", *SLOW])
def test_the_same_answer_or_an_error(made, which, function):
    if (which, function) == ("adopted", "tl.distortion"):
        pytest.skip("which fits a decoder to the embedding anew")
    check(*made[which], which, function)


@pytest.mark.slow
@for_each("function", [name for name in FUNCTIONS if name not in ("tl.transform", "tl.metric(encoder)")])
def test_the_same_of_a_map_of_counts(made_of_counts, function):
    check(*made_of_counts, "counts", function)


def test_cells_that_an_outer_join_adds_are_placed_before_it(small):
    sg.tl.geoae(small, n_steps=20, progress_bar=False)
    new = AnnData(small.X[:10], obs=pd.DataFrame(index=[f"new {i}" for i in range(10)]), var=small.var)
    joined = anndata.concat([small, new], join="outer", uns_merge="first")
    for call in (sg.pl.indicatrices, sg.tl.density, lambda adata: sg.tl.decode(adata, [[0, 0]])):
        with pytest.raises(ValueError, match=r"10 of 70 positions .*place them first, with sg\.tl\.transform\(new"):
            call(joined)
    sg.tl.transform(new, small)
    joined = anndata.concat([small, new], join="outer", uns_merge="first")
    np.testing.assert_array_equal(sg.get.metric_tensors(joined)[60:], sg.get.metric_tensors(new, key="geoae"))
    assert sg.pl.indicatrices(joined, show=False)
    # positions that are damaged in another way have another remedy
    small.obsm["X_geoae"][0, 0] = np.inf
    with pytest.raises(ValueError, match=r"1 of 60 positions .*run sg\.tl\.geoae\(adata\) again\.$"):
        sg.tl.density(small)
