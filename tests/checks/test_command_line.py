"""``python -m scgeoae`` with every case that a file can hold: status 0, or 2 and one line that says why."""

from __future__ import annotations

import functools
import warnings

import anndata
import numpy as np
import pytest

import scgeoae as sg
from scgeoae.__main__ import main

from .battery import ORDERS, duplicate, prepared
from .calls import QUICK

FIRST = ("as it is", "complex numbers", "CSC array", "3 cells", "NaN in one cell", "zeros", "1 feature")


@pytest.fixture
def quick(monkeypatch):
    options = {name: QUICK[name] for name in ("n_steps", "hidden", "n_neighbors")}
    monkeypatch.setattr(sg.tl, "geoae", functools.partial(sg.tl.geoae, **options))


@pytest.mark.parametrize(
    ("case", "order"),
    [
        pytest.param(case, order, marks=[] if order == "before" and case in FIRST else pytest.mark.slow)
        for order, cases in ORDERS.items()
        for case in cases
    ],
)
@pytest.mark.usefixtures("quick")
def test_case(case, order, tmp_path, capsys):
    source, target = tmp_path / "in.h5ad", tmp_path / "out.h5ad"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            duplicate(prepared(case, order)).write_h5ad(source)
        except Exception:  # noqa: BLE001
            pytest.skip("no file holds it")
        status = main([str(source), "-o", str(target), "--figures", str(tmp_path)])
    told = capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.glob(".*")) == []
    if status == 0:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names that are not unique
            written = anndata.read_h5ad(target)
        assert np.isfinite(written.obsm["X_geoae"]).all()
        assert (tmp_path / "indicatrices.png").is_file()
    else:
        assert status == 2
        assert told.splitlines()[-1].startswith("scgeoae: error: ")
        assert not target.exists()
