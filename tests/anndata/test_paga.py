from __future__ import annotations

import re

import numpy as np
import pytest
import scanpy as sc
from scipy.spatial.distance import cdist

from scgeoae._anndata.paga import paga_positions

from ..for_each import for_each


@pytest.fixture(scope="module")
def with_paga(reduced):
    adata = reduced.copy()
    sc.tl.paga(adata, groups="bulk_labels")
    sc.pl.paga(adata, show=False)
    return adata


def test_cells_lie_around_their_groups(with_paga):
    positions = paga_positions(with_paga, n_components=2, seed=0)
    centers = with_paga.uns["paga"]["pos"]
    labels = with_paga.obs["bulk_labels"].cat
    offsets = positions - centers[labels.codes]
    spacing = np.median(np.sort(cdist(centers, centers), axis=1)[:, 1])
    assert np.abs(offsets).max() <= spacing / 2
    # they fill the square, in both directions
    assert np.abs(offsets).max(axis=0) == pytest.approx(spacing / 2, rel=0.05)


def test_the_same_seed_gives_the_same_positions_and_touches_no_global_one(with_paga):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    maps = [paga_positions(with_paga, n_components=2, seed=seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(*maps[:2])
    assert not np.array_equal(*maps[1:])
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@for_each("positions", [[[3.0, 4.0]], [[3.0, 4.0]] * 2])
def test_groups_without_a_distance(small, positions):
    small.obs["side"] = np.resize([str(i) for i in range(len(positions))], small.n_obs)
    small.uns["paga"] = {"groups": "side", "pos": np.array(positions)}
    found = paga_positions(small, n_components=2, seed=0)
    assert np.abs(found - [3, 4]).max() == pytest.approx(0.5, abs=0.05)


def without_pos(adata):
    del adata.uns["paga"]["pos"]


def without_paga(adata):
    del adata.uns["paga"]


def of_text(adata):
    adata.uns["paga"] = "text"


def without_groups(adata):
    del adata.uns["paga"]["groups"]


@for_each("change", [without_pos, without_paga, of_text, without_groups])
def test_says_what_to_run_first(with_paga, change):
    adata = with_paga.copy()
    change(adata)
    mend = "run sc.tl.paga(adata) and sc.pl.paga(adata) first."
    sentence = f"Did not find positions of a PAGA graph in adata.uns['paga']; {mend}"
    with pytest.raises(KeyError, match=re.escape(sentence)):
        paga_positions(adata, n_components=2, seed=0)


@for_each("pos", [np.zeros((3, 2)), np.zeros((10, 3)), np.full((10, 2), np.nan), "text", [[1], [2, 3]]])
def test_positions_of_other_groups_are_refused(with_paga, pos):
    adata = with_paga.copy()
    adata.uns["paga"]["pos"] = pos
    with pytest.raises(ValueError, match=r"a finite position for each of the 10 groups in adata\.obs\['bulk_labels'\]"):
        paga_positions(adata, n_components=2, seed=0)


def test_every_cell_needs_a_group(with_paga):
    adata = with_paga.copy()
    adata.obs.loc[adata.obs_names[:4], "bulk_labels"] = None
    with pytest.raises(ValueError, match=r"4 of 700 cells have no group in adata\.obs\['bulk_labels'\]"):
        paga_positions(adata, n_components=2, seed=0)
    del adata.obs["bulk_labels"]
    with pytest.raises(KeyError, match=r"Did not find 'bulk_labels' in adata\.obs"):
        paga_positions(adata, n_components=2, seed=0)


def test_has_two_dimensions(with_paga):
    with pytest.raises(ValueError, match=r"Expected `n_components` to be 2 for init_pos='paga', .* found 3"):
        paga_positions(with_paga, n_components=3, seed=0)
