from __future__ import annotations

import numpy as np
import pytest

import scgeoae as sg


@pytest.mark.parametrize("part", ["embedding", "metric", "error"])
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
