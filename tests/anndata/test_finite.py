from __future__ import annotations

import numpy as np
import pytest

import scgeoae as sg

from ..for_each import for_each


@for_each("part", ["embedding", "metric", "error"])
def test_nothing_is_written_that_is_not_finite(small, part, monkeypatch):
    from scgeoae.tl import _geoae

    def broken(*args, **kwargs):
        fitted = sg.training.fit(*args, **kwargs)
        values = getattr(fitted, part).copy()
        values[7] = np.nan
        return fitted._replace(**{part: values})

    monkeypatch.setattr(_geoae, "fit", broken)
    with pytest.raises(RuntimeError, match=r"1 of 60 cells, the first of them in row 7,.* nothing was written"):
        sg.tl.geoae(small, n_steps=5, progress_bar=False)
    assert not small.obsm
    assert not small.uns


@for_each("method", ["decoder", "laplacian"])
def test_scales_whose_ratio_has_no_square(small, method):
    small = small.copy()
    small.X = small.X * np.float32(1e-12)
    small.obsm["X_umap"] = 1e12 * small.X[:, :2] / np.abs(small.X).max()
    with pytest.raises(ValueError, match=r"adata.X varies by .*e-13, .*e-2\d times as much as adata.obsm\['X_umap'\]"):
        sg.tl.distortion(small, method=method, progress_bar=False)


def test_tensors_that_underflow_are_said(small, monkeypatch):
    from scgeoae.tl import _geoae

    def underflowing(*args, **kwargs):
        fitted = sg.training.fit(*args, **kwargs)
        return fitted._replace(metric=fitted.metric * np.float32(1e-42))

    monkeypatch.setattr(_geoae, "fit", underflowing)
    with pytest.raises(RuntimeError, match=r"60 of 60 cells.* tensors in geoae_metric that are zero in float32"):
        sg.tl.geoae(small, n_steps=5, progress_bar=False)
    assert not small.obsm
