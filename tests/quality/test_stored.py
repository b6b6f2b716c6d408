"""Points on disk are measured as in memory, and never read as a whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from scgeoae import _matrix
from scgeoae.quality import evaluate, stored
from scgeoae.quality.distances import diameter
from scgeoae.quality.points import as_points, in_double_precision


class OnDisk:
    """A matrix that raises if more than a few rows are read at a time."""

    def __init__(self, matrix: Any, most: int) -> None:
        self.matrix, self.shape, self.dtype, self.chunks, self.most = matrix, matrix.shape, matrix.dtype, None, most
        self.n_read = 0

    def __getitem__(self, rows: slice) -> Any:
        found = self.matrix[rows]
        assert found.shape[0] <= self.most, f"{found.shape[0]} rows were read at a time"
        self.n_read += found.shape[0]
        return found


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(_matrix, "BLOCK_SIZE", 30 * 40)
    # some of the cells at a time
    monkeypatch.setattr(stored, "GATHERED", 400 * 64)


def points(kind: str) -> Any:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 40)).astype(np.float32) * np.linspace(3, 0.2, 40, dtype=np.float32) + 5
    if kind == "whole numbers":
        # many equal distances
        return np.round(x)
    if kind == "few columns":
        return x[:, :5]
    if kind == "sparse":
        return sparse.csr_matrix(np.where(x > 6, x, 0))
    return x


@pytest.mark.parametrize("local_scores", [False, True])
@pytest.mark.parametrize("kind", ["dense", "few columns", "sparse", "whole numbers"])
def test_measures_are_those_in_memory(kind, local_scores):
    x = points(kind)
    rng = np.random.default_rng(1)
    z = np.asarray(x[:, :2].toarray() if sparse.issparse(x) else x[:, :2]) + rng.normal(size=(400, 2))
    labels = rng.integers(3, size=400)
    given = {"labels": labels, "n_sample": 150, "local_scores": local_scores}
    on_disk = OnDisk(x, most=30 * 40 // x.shape[1])
    found, true = (evaluate(each, {"z": z, "x": z[:, ::-1]}, **given) for each in (on_disk, x))
    for name in ("z", "x"):
        assert found[name].scores.keys() == true[name].scores.keys()
        for which, estimate in true[name].scores.items():
            np.testing.assert_allclose(found[name].scores[which], estimate, rtol=1e-9, atol=1e-12, err_msg=which)
        if local_scores:
            np.testing.assert_allclose(found[name].neighborhood_preservation, true[name].neighborhood_preservation)
            np.testing.assert_allclose(found[name].trust, true[name].trust)


@pytest.mark.parametrize("kind", ["dense", "few columns", "sparse"])
def test_the_diameter_is_that_in_memory(kind):
    x = points(kind)
    order = np.random.default_rng(2).permutation(400)
    found = stored.StoredPoints(OnDisk(x, most=240), order, 50)
    assert found.diameter() == pytest.approx(diameter(in_double_precision(as_points(x)[order]), 50), rel=1e-12)


def test_the_number_of_passes_is_small():
    x = OnDisk(points("dense"), most=30)
    evaluate(x, {"z": x.matrix[:, :2]}, n_sample=128)
    # 64 of the sampled cells at a time, and a few before
    assert x.n_read <= 400 * (128 // 64 + 8)


def test_points_that_are_not_finite_are_found_in_blocks():
    x = points("dense")
    x[[3, 399]] = np.nan
    with pytest.raises(ValueError, match="2 of 400 cells have NaN"):
        evaluate(OnDisk(x, most=30), {"z": np.ones((400, 2))})
    with pytest.raises(ValueError, match="All 400 cells are equal in 'x'"):
        evaluate(OnDisk(np.ones((400, 40)), most=30), {"z": np.ones((400, 2))})
