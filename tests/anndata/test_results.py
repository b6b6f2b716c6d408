from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import scgeoae as sg
from scgeoae.quality import MEASURES
from scgeoae.quality.measures import OPENPROBLEMS

from ..for_each import for_each

QUICK = {"n_steps": 5, "hidden": (4,), "progress_bar": False}
ATTRIBUTES = ("obs", "var", "obsm", "varm", "obsp", "uns")


def slots_of(adata):
    return {(attribute, name) for attribute in ATTRIBUTES for name in getattr(adata, attribute)}


def compute_all(adata, key):
    """Compute all that is stored beside a map, under its own names and others."""
    sg.tl.curvature(adata, key=key)
    sg.tl.pseudotime(adata, "0", key=key)
    sg.tl.rank_genes_by_jacobian(adata, "side", key=key)
    sg.tl.rank_genes_by_jacobian(adata, "side", key=key, key_added="ranked")
    sg.tl.evaluate(adata, basis=[f"X_{key}"], local_scores=True)
    sg.tl.evaluate(adata, basis=[f"X_{key}"], key_added="table")
    sg.tl.distortion(adata, basis=key)


def with_umap(adata):
    adata.obsm["X_umap"] = (adata.X[:, :2] + 0.1 * adata.X[:, 2:4]).copy()
    return adata


def place(adata):
    reference = adata.copy()
    sg.tl.geoae(reference, random_state=1, key_added="umap", **QUICK)
    sg.tl.transform(adata, reference, key="umap")


# What replaces the map in obsm["X_umap"], or its tensors alone.
NEW_MAPS = {
    "geoae": lambda adata: sg.tl.geoae(adata, random_state=1, key_added="umap", **QUICK),
    "transform": place,
}
NEW_TENSORS = {
    "adopt": lambda adata: sg.tl.adopt(adata, random_state=1, **QUICK),
    "distortion": lambda adata: sg.tl.distortion(adata, random_state=1, **QUICK),
    "laplacian": lambda adata: sg.tl.distortion(adata, method="laplacian"),
}


@for_each("replace", NEW_MAPS)
def test_a_new_map_leaves_nothing_of_the_one_that_it_replaces(small, replace):
    expected = with_umap(small.copy())
    NEW_MAPS[replace](expected)
    sg.tl.geoae(with_umap(small), key_added="umap", **QUICK)
    fresh = slots_of(small)
    compute_all(small, "umap")
    assert len(slots_of(small) - fresh) >= 11
    NEW_MAPS[replace](small)
    assert slots_of(small) == slots_of(expected)


@pytest.mark.slow
@for_each("replace", NEW_TENSORS)
def test_new_tensors_leave_nothing_of_those_that_they_replace(small, replace):
    small = small.copy()
    expected = with_umap(small.copy())
    NEW_TENSORS[replace](expected)
    sg.tl.adopt(with_umap(small), **QUICK)
    compute_all(small, "umap")
    NEW_TENSORS[replace](small)
    # the embedding is still what was measured
    of_embedding = {("obs", "umap_trust"), ("obs", "umap_neighborhood_preservation")}
    of_embedding |= {("uns", "evaluation"), ("uns", "table")}
    assert slots_of(small) - slots_of(expected) == of_embedding
    for table in ("evaluation", "table"):
        measured = set(small.uns[table]["measure"])
        about_cells = {name for name, measure in MEASURES.items() if measure.about not in ("decoder", "labels")}
        assert measured == about_cells - set(OPENPROBLEMS)


@for_each("of_umap", [False, True])
def test_another_map_leaves_what_was_computed_from_the_first(small, of_umap):
    sg.tl.geoae(small, **QUICK)
    compute_all(small, "geoae")
    before, table = slots_of(small), small.uns["evaluation"]
    if of_umap:
        small.obsm["X_umap"] = small.obsm["X_geoae"].copy()
        sg.tl.distortion(small, **QUICK)
    else:
        sg.tl.geoae(small, key_added="mine", **QUICK)
    assert before < slots_of(small)
    assert small.uns["evaluation"] is table


@for_each("replace", [*NEW_MAPS, *NEW_TENSORS])
def test_a_table_keeps_the_rows_of_other_maps(small, replace):
    small = small.copy()
    sg.tl.geoae(with_umap(small), **QUICK)
    sg.tl.distortion(small, **QUICK)
    # `umap` is another embedding than `X_umap`, and the whole key tells them apart
    small.obsm["umap"] = np.flip(small.obsm["X_umap"], axis=1)
    table = sg.tl.evaluate(small)
    assert set(table["basis"]) == {"geoae", "X_umap", "umap"}
    stale = table["basis"] == "X_umap"
    if replace in NEW_TENSORS:
        stale &= table["measure"].isin(["CN", "VPres", "ISO", "MSE", "MSE_held_out"])
    (NEW_MAPS | NEW_TENSORS)[replace](small)
    pd.testing.assert_frame_equal(small.uns["evaluation"], table[~stale].reset_index(drop=True))
    assert small.uns["evaluation"]["basis"].nunique() == 2 + (replace in NEW_TENSORS)


def test_the_tensors_of_an_embedding_leave_its_local_scores(small):
    small.obsm["X_umap"] = small.X[:, :2].copy()
    sg.tl.evaluate(small, basis="X_umap", local_scores=True)
    before = slots_of(small)
    sg.tl.distortion(small, **QUICK)
    assert before < slots_of(small)
