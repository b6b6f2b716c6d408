"""``python -m scgeoae`` with every case that a file can hold: status 0 where `tl.geoae` works, else 2 and its error."""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING

import anndata
import matplotlib.pyplot as plt
import numpy as np
import pytest

import scgeoae as sg
from scgeoae.__main__ import main

from .battery import ORDERS, duplicate, prepared
from .calls import QUICK
from .table import agrees
from .test_outcomes import TABLE

if TYPE_CHECKING:
    from pathlib import Path

FIRST = ("as it is", "complex numbers", "CSC array", "3 cells", "NaN in one cell", "zeros", "1 feature")
WORKS = ("same", "works", "scanpy")


@pytest.fixture
def quick(monkeypatch):
    options = {name: QUICK[name] for name in ("n_steps", "hidden", "n_neighbors")}
    monkeypatch.setattr(sg.tl, "geoae", functools.partial(sg.tl.geoae, **options))


def write(case: str, order: str, path: Path) -> bool:
    """Write the data of a case, and return whether a file can hold them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            duplicate(prepared(ORDERS[order][case], order, with_map=False)).write_h5ad(path)
        except Exception:  # noqa: BLE001
            return False
    return True


@pytest.mark.parametrize(
    ("order", "cases"),
    [
        ("before", FIRST),
        *(pytest.param(order, tuple(cases), marks=pytest.mark.slow) for order, cases in ORDERS.items()),
    ],
    ids=["first", *ORDERS],
)
@pytest.mark.usefixtures("quick")
def test_what_comes_of_tl_geoae_comes_of_the_command(order, cases, tmp_path, capsys):
    failures = []
    for i, case in enumerate(cases):
        folder = tmp_path / str(i)
        folder.mkdir()
        if not write(case, order, folder / "in.h5ad"):
            continue
        expected = TABLE.decides["tl.geoae(adata)", order, case].expected
        status = main([str(folder / "in.h5ad"), "-o", str(folder / "out.h5ad"), "--figures", str(folder)])
        told = capsys.readouterr().err
        try:
            check(folder, expected, status, told)
        except AssertionError as error:
            failures.append(f"{case}: expected {expected!r}, status {status}, {told[-300:]!r}: {error}")
        plt.close("all")
    assert not failures, "\n".join(["", *failures])


def check(folder: Path, expected: str, status: int, told: str) -> None:
    assert not list(folder.glob(".*"))
    if expected.startswith(WORKS):
        assert status == 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # names that are not unique
            written = anndata.read_h5ad(folder / "out.h5ad")
        assert np.isfinite(written.obsm["X_geoae"]).all()
        assert (folder / "indicatrices.png").is_file()
    else:
        assert status == 2
        assert told.splitlines()[-1].startswith("scgeoae: error: ")
        assert agrees(expected, f"{expected.partition(':')[0]}: {told}")
        assert not (folder / "out.h5ad").exists()
