"""The same bits whatever the order in which the numbers of a representation lie in memory."""

from __future__ import annotations

import numpy as np
import pytest
from anndata import AnnData
from sklearn.datasets import make_blobs

import scgeoae as sg
from scgeoae._matrix import blocks, dense
from scgeoae.training.standardization import standardize_rows

from ..checks.slots import fingerprints
from ..for_each import for_each

QUICK = {"n_steps": 20, "hidden": (8,), "progress_bar": False}


def every_other(x):
    wide = np.zeros((2 * len(x), 2 * x.shape[1]), dtype=x.dtype)
    wide[::2, ::2] = x
    return wide[::2, ::2]


FORMS = {
    "Fortran": np.asfortranarray,
    "transposed": lambda x: np.ascontiguousarray(x.T).T,
    "every other row and column": every_other,
    "reversed": lambda x: np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1],
    "of the other byte order": lambda x: x.astype(x.dtype.newbyteorder()),
}


def cells(n=240, d=8, dtype=np.float32):
    return make_blobs(n, d, centers=4, random_state=0)[0].astype(dtype)


@for_each("form", FORMS)
def test_rows_lie_in_order(form, monkeypatch):
    x = cells()
    other = FORMS[form](x)
    assert not (other.flags.c_contiguous and other.dtype.isnative)
    monkeypatch.setattr("scgeoae._matrix.BLOCK_SIZE", 100 * x.shape[1])
    parts = [block for _, block in blocks(other)]
    assert [len(block) for block in parts] == [100, 100, 40]
    for block in (*parts, dense(other)):
        assert block.flags.c_contiguous
        assert block.dtype == x.dtype
    np.testing.assert_array_equal(np.concatenate(parts), x)
    np.testing.assert_array_equal(dense(other), x)


def test_what_lies_in_order_is_not_copied():
    x = cells()
    assert dense(x) is x
    assert all(np.shares_memory(block, x) for _, block in blocks(x))


@for_each("dtype", [np.float32, np.float64])
@for_each("form", FORMS)
def test_sums_have_the_same_bits(form, dtype):
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(300, 8)) * np.geomspace(3, 0.3, 8)).astype(dtype)
    found, expected = (standardize_rows(matrix, np.arange(300)) for matrix in (FORMS[form](x), x))
    np.testing.assert_array_equal(found[0].center, expected[0].center)
    assert found[0][1:] == expected[0][1:]
    np.testing.assert_array_equal(found[1], expected[1])


def everything(adata, form):
    """Return a fingerprint of what every tool writes."""
    x = adata.obsm["X_cells"]
    adata = adata.copy()
    adata.obsm["X_cells"] = form(x)
    given = {"use_rep": "X_cells"}
    sg.tl.geoae(adata, **given, **QUICK)
    sg.tl.geoae(adata, **given, **QUICK, refine=False, key_added="encoder", ambient="mahalanobis")
    sg.tl.adopt(adata, **given, **QUICK)
    adata.obsm["X_copy"] = adata.obsm["X_umap"].copy()
    sg.tl.distortion(adata, **given, **QUICK, basis="copy")
    sg.tl.curvature(adata)
    sg.tl.pseudotime(adata, "0")
    sg.tl.evaluate(adata, **given, local_scores=True)
    new = adata[:50].copy()
    for slot in list(new.obsm):
        del new.obsm[slot]
    new.obsm["X_cells"] = form(x[:50])
    for key in ("geoae", "encoder", "umap"):
        sg.tl.transform(new, adata, key=key)
    at = sg.tl.metric(adata, key="encoder", side="encoder").tensors
    # the bytes of the representation itself are what differs
    written = {**fingerprints(adata), **{f"new {path}": value for path, value in fingerprints(new).items()}}
    return {path: value for path, value in written.items() if "X_cells" not in path} | {"at": at.tobytes()}


@pytest.mark.filterwarnings("ignore:adata.X has 60 variables")
def test_components_that_are_computed_have_the_same_bits():
    x = cells(d=60)
    found, expected = (AnnData(matrix) for matrix in (np.asfortranarray(x), x))
    for adata in (found, expected):
        sg.tl.geoae(adata, **QUICK)
    np.testing.assert_array_equal(found.obsm["X_pca"], expected.obsm["X_pca"])
    np.testing.assert_array_equal(found.obsm["X_geoae"], expected.obsm["X_geoae"])


@pytest.fixture(scope="module")
def bare():
    x = cells()
    adata = AnnData(np.zeros((len(x), 1), dtype=np.float32))
    adata.obsm["X_cells"] = x
    adata.obsm["X_umap"] = (x[:, :2] + 0.3 * x[:, 2:4]).astype(np.float32)
    return adata


@pytest.fixture(scope="module")
def expected(bare):
    return everything(bare, np.ascontiguousarray)


@for_each("form", FORMS)
def test_every_tool_gives_the_same_bits(bare, expected, form):
    found = everything(bare, FORMS[form])
    assert {path for path in found | expected if found.get(path) != expected.get(path)} == set()
    assert len(found) > 60
