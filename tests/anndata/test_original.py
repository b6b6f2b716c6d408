"""Data that are no longer those of a map, whatever became of them."""

from __future__ import annotations

import numpy as np
import pytest

import scgeoae as sg
from scgeoae._anndata.map import read_map


@pytest.mark.parametrize("value", [np.inf, 1e300, np.nan])
@pytest.mark.parametrize("has_errors", [True, False])
def test_values_that_are_not_finite_do_not_widen_the_tolerance(small, value, has_errors):
    sg.tl.geoae(small, use_rep="X", n_steps=5, hidden=(4,), progress_bar=False)
    if not has_errors:
        del small.obs["geoae_reconstruction_error"]
    small.X = small.X.astype(np.float64)
    assert read_map(small, "geoae").representation.matrix.shape == (60, 8)
    small.X[7, 2] = value
    small.X[10:20] += 1
    with pytest.raises(ValueError, match=r"is no longer what .*: 11 of 60 cells, such as '7'"):
        _ = read_map(small, "geoae").representation
