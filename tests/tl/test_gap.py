from __future__ import annotations

import numpy as np
import pytest
from anndata import AnnData

import scgeoae as sg

PAIR = ("CD14+ Monocyte", "Dendritic")


@pytest.fixture(scope="module")
def found(fitted):
    return sg.tl.gap(fitted, *PAIR, groupby="bulk_labels")


def test_monocytes_and_dendritic_cells(fitted, found):
    assert found.verdict == "gap"
    assert found.on_map == "gap"
    assert (found.source, found.target, found.key, found.groupby) == (*PAIR, "geoae", "bulk_labels")
    assert str(found).startswith("There is a gap between CD14+ Monocyte and Dendritic in the data.")
    assert str(found).endswith("The map shows it.")
    assert repr(found) == f"gap: {found}"
    # the straight curve runs from center to center
    labels, z = fitted.obs["bulk_labels"], fitted.obsm["X_geoae"]
    for end, name in zip(found.curves["straight"][[0, -1]], PAIR, strict=True):
        spread = np.linalg.norm(z[labels == name] - end, axis=1)
        assert np.linalg.norm(end - np.median(z[labels == name], axis=0)) < np.median(spread)
    # as far apart as the means in the representation
    means = [fitted.obsm["X_pca"][labels == name].mean(0) for name in PAIR]
    assert 0.7 < found.length / np.linalg.norm(means[1] - means[0]) < 1.4


def test_profile_counts_the_cells(found):
    table = found.profile
    width = table.index[1] - table.index[0]
    assert np.isclose(width, found.length / 12)
    counts = table[["source", "target", "other"]] * width
    np.testing.assert_allclose(counts, counts.round(), atol=1e-6)
    inner = table.dropna()
    assert len(inner) == 12
    # a density without a valley has as many cells between the centers
    np.testing.assert_allclose(
        inner["expected"].sum(), inner[["source", "target", "other"]].to_numpy().sum(), rtol=1e-6
    )
    assert ((inner["low"] <= inner["expected"] + 1 / width) & (inner["expected"] <= inner["high"] + 1 / width)).all()


def test_same_seed_same_result_and_lists_of_labels(fitted, found):
    again = sg.tl.gap(fitted, [PAIR[0]], [PAIR[1]], groupby="bulk_labels")
    assert again == found
    np.testing.assert_array_equal(again.profile, found.profile)
    both = sg.tl.gap(fitted, ["CD14+ Monocyte", "CD34+"], PAIR[1], groupby="bulk_labels", random_state=1)
    assert both.source == "CD14+ Monocyte + CD34+"
    assert both.groups == (["CD14+ Monocyte", "CD34+"], ["Dendritic"])


def test_writes_nothing(fitted):
    adata = fitted.copy()
    sg.tl.gap(adata, *PAIR, groupby="bulk_labels")
    for slot in ("obs", "uns", "obsm", "obsp", "varm", "layers"):
        assert set(getattr(adata, slot)) == set(getattr(fitted, slot))
    assert adata.obs.equals(fitted.obs)


def test_measured_umap(reduced):
    adata = reduced.copy()
    with pytest.raises(KeyError, match=r"run sg.tl.distortion\(adata, basis='umap'\) first"):
        sg.tl.gap(adata, *PAIR, groupby="bulk_labels", key="umap")
    sg.tl.distortion(adata, n_steps=50, progress_bar=False)
    found = sg.tl.gap(adata, *PAIR, groupby="bulk_labels", key="umap")
    assert (found.key, found.on_map) == ("umap", "gap")
    assert found.torn_edges is not None
    sg.tl.distortion(adata, method="laplacian")
    with pytest.raises(ValueError, match=r"run sg.tl.distortion\(adata, basis='umap', method='decoder'\)|has no model"):
        sg.tl.gap(adata, *PAIR, groupby="bulk_labels", key="umap")


def test_bad_input(fitted):
    adata = fitted.copy()
    labels = adata.obs["bulk_labels"].astype(str).to_numpy()
    labels[0] = "alone"
    adata.obs["labels"] = labels
    lost = fitted.copy()
    del lost.obsm["X_pca"]
    cases = [
        (adata, ("alone", "CD19+ B"), ValueError, r"'alone' of adata.obs\['labels'\] has 1 cell, .* at least 10"),
        (adata, ("CD19+ B", "CD19+ B"), ValueError, "'CD19\\+ B' is on both sides"),
        (adata, (["CD19+ B", "Dendritic"], ["Dendritic"]), ValueError, "'Dendritic' is on both sides"),
        (adata, ("nobody", "CD19+ B"), KeyError, r"Did not find 'nobody' in adata.obs\['labels'\]"),
        (adata, ([], "CD19+ B"), ValueError, "Expected `source` to be a group"),
        (lost, PAIR, (KeyError, ValueError), "X_pca|columns"),
    ]

    for data, pair, error, words in cases:
        before = data.copy()
        column = "labels" if data is adata else "bulk_labels"
        with pytest.raises(error, match=words):
            sg.tl.gap(data, *pair, groupby=column)
        assert set(data.uns) == set(before.uns)
        assert set(data.obs) == set(before.obs)
    with pytest.raises(KeyError, match=r"Did not find 'spam' in adata\.obs"):
        sg.tl.gap(adata, *PAIR, groupby="spam")
    with pytest.raises(KeyError, match=r"run sg\.tl\.geoae"):
        sg.tl.gap(AnnData(np.zeros((3, 2))), "a", "b", groupby="c")


def test_words_of_each_verdict(found):
    from dataclasses import replace

    bridge = str(replace(found, verdict="bridge"))
    assert "some cells bridge it: intermediate cells, another type, or doublets" in bridge
    few = str(replace(found, verdict="too few cells", power=0.4))
    assert "too few cells" in few
    assert "chance of 40% only" in few
    continuum = str(replace(found, verdict="continuum", p_value=0.4, detectable=0.5))
    assert continuum.startswith("There is no gap")
    assert "50% of the density" in continuum
    torn = str(replace(found, verdict="torn", torn_edges=7))
    assert torn.endswith(f"their density fall to {found.depth_on_map:.0%} and tears 7 neighbors apart there.")
    shallow = str(replace(found, verdict="torn", p_value=0.02, depth=0.9, detectable=np.nan))
    assert "has a valley (p = 0.02), but a shallow one: 90%" in shallow
    assert "nan" not in shallow
    hidden = str(replace(found, on_map="continuum"))
    assert hidden.endswith("The map hides it.")
    assert str(replace(found, on_map="unclear")).endswith(f"would leave {found.n_expected}.")
    shallow = str(replace(found, verdict="continuum", p_value=0.01, depth=0.8))
    assert "a shallow one: 80%" in shallow
    chance = str(replace(found, verdict="too few cells", power=0.9, p_value=0.06))
    assert chance.startswith("The cells do not tell")
    nowhere = {"depth": np.nan, "depth_interval": (np.nan, np.nan)}
    unknown = replace(found, verdict="too few cells", power=0.9, p_value=0.06, **nowhere)
    assert str(unknown).endswith("a valley of uncertain depth (p = 0.06).")
