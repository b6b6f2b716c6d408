"""Labels that are valid in pandas name the same groups everywhere, before and after a file."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from anndata import AnnData

import scgeoae as sg


@pytest.fixture(scope="module")
def mapped():
    """60 cells in three groups; do not change."""
    rng = np.random.default_rng(0)
    adata = AnnData(rng.normal(size=(60, 8)).astype(np.float32))
    adata.obs["group"] = pd.Categorical(np.array(["zero", "one", "two"])[np.arange(60) % 3], ["zero", "one", "two"])
    sg.tl.geoae(adata, use_rep="X", n_steps=60, progress_bar=False, refine=False)
    return adata


CODES = np.arange(60) % 3
LABELS = {
    "categories of integers": (pd.Categorical(CODES), [0, 1, 2]),
    "integers": (CODES, [0, 1, 2]),
    "nullable integers": (pd.array(CODES, dtype="Int64"), [0, 1, 2]),
    "integers that a missing one made floats": (np.where(np.arange(60) == 59, np.nan, CODES), [0, 1, 2]),
    "clusters of Leiden": (pd.Categorical(CODES.astype(str)), [0, 1, 2]),
    "text": (CODES.astype(str).astype(object), ["0", "1", "2"]),
    "nullable text": (pd.array(CODES.astype(str), dtype="string"), ["0", "1", "2"]),
    "truth values": (CODES == 0, [False, True]),
    "nullable truth values": (pd.array(CODES == 0, dtype="boolean"), [False, True]),
    "an empty name": (pd.Categorical(np.array(["", "b", "c"])[CODES]), ["", "b", "c"]),
}
# what the message about an empty name says to do
NAMED = {"": "unknown"}


def rows_of(adata, label):
    # NumPy's and pandas' own comparison, so that it is not ours
    return np.flatnonzero([value == label or str(value) == str(label) for value in adata.obs["label"]])


@pytest.fixture(params=LABELS)
def labeled(request, mapped):
    column, labels = LABELS[request.param]
    adata = mapped.copy()
    adata.obs["label"] = column
    return adata, labels


def test_a_group_is_found_by_its_label(labeled):
    adata, labels = labeled
    z = adata.obsm["X_geoae"]
    for label in labels:
        sg.tl.pseudotime(adata, label, groupby="label")
        np.testing.assert_array_equal(np.flatnonzero(adata.obs["geoae_pseudotime"] == 0), rows_of(adata, label))
    # as NumPy has it
    ax = sg.pl.gene_compass(adata, "label", np.array(labels)[1], genes=["0"], show=False)
    (arrow,) = [text for text in ax.texts if text.get_text() == ""]
    np.testing.assert_allclose(arrow.xyann, np.median(z[rows_of(adata, labels[1])], axis=0), rtol=1e-5)
    # as text, which for numbers that are whole by chance is '0.0'
    names = labels if adata.obs["label"].dtype == float else list(map(str, labels))
    path = sg.tl.geodesic(adata, *names[:2], groupby="label", genes=[])
    for end, label in zip(path.coordinates[[0, -1]], labels, strict=False):
        assert np.flatnonzero((z == end).all(1)) in rows_of(adata, label)
    tables = sg.tl.geodesic_distances(adata, "label")
    assert path.length == pytest.approx(tables.geodesic.loc[path.source, path.target], rel=1e-3)


@pytest.fixture(scope="module")
def ranked(mapped, tmp_path_factory):
    """Genes of the groups of each column of labels: as they were found, and as files of two kinds keep them."""
    adata, path = mapped.copy(), tmp_path_factory.mktemp("ranked") / "a"
    for kind, (column, _) in LABELS.items():
        adata.obs[kind] = column
        if kind == "an empty name":
            adata.obs[kind] = adata.obs[kind].cat.rename_categories(NAMED)
        sg.tl.rank_genes_by_jacobian(adata, kind, direction="into", key_added=kind)
    sg.tl.rank_genes_by_jacobian(adata, "group", direction="into", key_added="by_name")
    adata.write_h5ad(path.with_suffix(".h5ad"))
    adata.write_zarr(path.with_suffix(".zarr"))
    return adata, [anndata.read_h5ad(path.with_suffix(".h5ad")), anndata.read_zarr(path.with_suffix(".zarr"))]


@pytest.mark.parametrize("kind", LABELS)
def test_genes_of_groups_are_kept_in_files(kind, ranked):
    adata, files = ranked
    labels = [NAMED.get(label, label) for label in LABELS[kind][1]]
    found, named = adata.uns[kind], adata.uns["by_name"]
    if len(labels) == 3 and not pd.isna(adata.obs[kind]).any():
        for field in ("names", "scores"):
            for i, name in enumerate(["zero", "one", "two"]):
                np.testing.assert_array_equal(found[field][found[field].dtype.names[i]], named[field][name])
    for again in files:
        for field in ("names", "scores", "logfoldchanges"):
            kept = again.uns[kind][field]
            assert kept.dtype.names == found[field].dtype.names
            for name in kept.dtype.names:
                np.testing.assert_array_equal(kept[name].astype(found[field][name].dtype), found[field][name])
        sg.tl.rank_genes_by_jacobian(again, kind, groups=[labels[1]], key_added="one")
        (name,) = again.uns["one"]["names"].dtype.names
        assert name == found["names"].dtype.names[1]
        frame = sc.get.rank_genes_groups_df(again, name, key=kind)
        np.testing.assert_array_equal(frame["names"], found["names"][name])


def test_a_group_whose_name_is_empty_has_no_genes(mapped):
    adata = mapped.copy()
    adata.obs["label"] = LABELS["an empty name"][0]
    with pytest.raises(ValueError, match=r"has a group whose name is empty, .*rename_categories\({'': 'unknown'}\)"):
        sg.tl.rank_genes_by_jacobian(adata, "label")
    assert "geoae_rank_genes" not in adata.uns


def test_labels_that_are_not_there(mapped):
    adata = mapped.copy()
    adata.obs["label"] = CODES
    for call in (
        lambda label: sg.tl.rank_genes_by_jacobian(adata, "label", groups=[label]),
        lambda label: sg.pl.gene_compass(adata, "label", label, show=False),
    ):
        for label in (3, "3", None, np.nan, [0]):
            with pytest.raises(KeyError, match=r"in adata\.obs\['label'\], whose groups are '0', '1', '2'"):
                call(label)
    with pytest.raises(KeyError, match=r"`root` is 3, which is not a cell.*, nor a group of adata\.obs\['label'\]"):
        sg.tl.pseudotime(adata, 3, groupby="label")
    with pytest.raises(ValueError, match=r"Expected `groups` to name some of '0', '1', '2', found \[\]"):
        sg.tl.rank_genes_by_jacobian(adata, "label", groups=[])
    # of a column of measurements the first ones, however many cells there are
    adata.obs["label"] = np.arange(60) / 4
    with pytest.raises(KeyError, match=r"whose groups are '0\.0', '0\.25', .*, '9\.5', '9\.75', and 20 more\."):
        sg.tl.rank_genes_by_jacobian(adata, "label", groups=["left"])


def test_color_by_truth_values_that_some_cells_lack(mapped):
    adata, new = mapped.copy(), mapped[:10].copy()
    new.obs_names = [f"new {name}" for name in new.obs_names]
    sg.tl.transform(new, adata)
    new.obs["geoae_outlier"] = np.arange(10) < 3
    joined = anndata.concat([adata, new], join="outer", uns_merge="first")
    plots = {
        "indicatrices": lambda **kwargs: sg.pl.indicatrices(joined, **kwargs),
        "gene_compass": lambda **kwargs: sg.pl.gene_compass(joined, "geoae_outlier", True, genes=["0"], **kwargs),  # noqa: FBT003
        "geodesics": lambda **kwargs: sg.pl.geodesics(joined, sg.tl.geodesic(adata, 0, 1, genes=[]), **kwargs),
    }
    for plot in plots.values():
        first, panel = plot(color=["0", "geoae_outlier"], show=False)
        assert first.get_title() == "0"
        colors = [tuple(color) for color in panel.collections[0].get_facecolors()]
        # the cells without a value in gray, below the others
        assert colors[:60] == [colors[0]] * 60
        assert len(set(colors[0][:3])) == 1
        assert sorted(map(colors[60:].count, set(colors[60:]))) == [3, 7]
        assert joined.obs["geoae_outlier"].dtype == "boolean"
