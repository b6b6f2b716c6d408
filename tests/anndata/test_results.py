from __future__ import annotations

import pytest

import scgeoae as sg

QUICK = {"n_steps": 5, "hidden": (4,), "progress_bar": False}
ATTRIBUTES = ("obs", "var", "obsm", "varm", "obsp", "uns")


def slots_of(adata):
    return {(attribute, name) for attribute in ATTRIBUTES for name in getattr(adata, attribute)}


def compute_all(adata, key):
    """Compute all that is stored beside a map."""
    sg.tl.curvature(adata, key=key)
    sg.tl.pseudotime(adata, "0", key=key)
    sg.tl.rank_genes_by_jacobian(adata, "side", key=key)
    sg.tl.evaluate(adata, basis=[f"X_{key}"], local_scores=True)
    sg.tl.distortion(adata, basis=key)


def test_a_new_map_leaves_nothing_of_the_one_that_it_replaces(small):
    sg.tl.geoae(small, **QUICK)
    fresh = slots_of(small)
    compute_all(small, "geoae")
    assert len(slots_of(small) - fresh) >= 8
    sg.tl.geoae(small, random_state=1, **QUICK)
    # the table is of all maps that were compared
    assert slots_of(small) - fresh == {("uns", "evaluation")}


@pytest.mark.parametrize("of_umap", [False, True])
def test_another_map_leaves_what_was_computed_from_the_first(small, of_umap):
    sg.tl.geoae(small, **QUICK)
    compute_all(small, "geoae")
    before = slots_of(small)
    if of_umap:
        small.obsm["X_umap"] = small.obsm["X_geoae"].copy()
        sg.tl.distortion(small, **QUICK)
    else:
        sg.tl.geoae(small, key_added="mine", **QUICK)
    assert before < slots_of(small)


def test_the_tensors_of_an_embedding_leave_its_local_scores(small):
    small.obsm["X_umap"] = small.X[:, :2].copy()
    sg.tl.evaluate(small, basis="X_umap", local_scores=True)
    before = slots_of(small)
    sg.tl.distortion(small, **QUICK)
    assert before < slots_of(small)
