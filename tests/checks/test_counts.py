"""GeoSCVI with every case: it takes what `scvi.model.SCVI` takes, and `counts.txt` says what comes of the rest."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import pytest

from .battery import duplicate
from .calls import raw
from .cases import CASES
from .judge import check_error, check_written
from .slots import fingerprints
from .table import Table, agrees

pytest.importorskip("scvi")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what scvi-tools and lightning import
    from scvi.model import SCVI

    from scgeoae.model import GeoSCVI

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
FILE = Path(__file__).with_name("counts.txt")
ROLE = "model.GeoSCVI(adata)"
TABLE = Table(FILE.read_text(), [ROLE], {"before": list(CASES)})
WRONG = {
    "regularizer": ["spam", -1],
    "strength": ["spam", -1, float("nan")],
    "sampling": ["spam", -1],
    "ambient": ["spam", -1],
    "library_size": ["spam", -1, 0],
}
WRONG_OF_TO_ANNDATA = {"n_neighbors": ["spam", 0, 1.5], "key_added": [-1, [], "a/b"]}


def counts():
    adata = raw()
    adata.X = np.random.default_rng(0).poisson(3 * np.abs(adata.X)).astype(np.float32)
    return adata


def trained(cls, adata, **kwargs):
    cls.setup_anndata(adata)
    model = cls(adata, **({"n_latent": 2} | kwargs))
    model.train(max_epochs=2, accelerator="cpu", enable_progress_bar=False, batch_size=32)
    return model


def what_scvi_says(adata) -> str:
    """Return the error of `scvi.model.SCVI` on the same data, or nothing."""
    try:
        trained(SCVI, adata).get_latent_representation()
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"
    return ""


def outcome(case: str) -> str:
    """Return ``works``, ``scvi`` for an error that SCVI raises too, or our error."""
    adata = CASES[case](counts())
    before = duplicate(adata)
    try:
        model = trained(GeoSCVI, adata)
        registered = fingerprints(adata)
        model.to_anndata(n_neighbors=4)
    except Exception as error:  # noqa: BLE001 -- that is what is judged
        assert "X_geoscvi" not in adata.obsm
        if f"{type(error).__name__}: {error}" == what_scvi_says(before):
            return "scvi"
        check_error(error)
        return f"{type(error).__name__}: {error.args[0]}"
    assert adata.obsm["X_geoscvi"].shape == (adata.n_obs, 2)
    check_written(adata, registered, may_write=True)
    return "works"


@pytest.mark.parametrize("case", CASES)
def test_case(case):
    row, found = TABLE.decides[ROLE, "before", case], outcome(case)
    assert found == row.expected or agrees(row.expected, found), f"{row}: expected {row.expected!r}, found {found!r}"


def test_every_row_decides_something():
    assert not [str(row) for row in TABLE.rows if row not in TABLE.decides.values()]


@pytest.mark.parametrize("argument", WRONG)
def test_wrong_argument(argument):
    for value in WRONG[argument]:
        with pytest.raises((TypeError, ValueError), match=argument) as caught:
            trained(GeoSCVI, counts(), **{argument: value})
        check_error(caught.value)


@pytest.mark.parametrize("argument", WRONG_OF_TO_ANNDATA)
def test_wrong_argument_of_to_anndata(argument):
    adata = counts()
    model = trained(GeoSCVI, adata)
    for value in WRONG_OF_TO_ANNDATA[argument]:
        before = fingerprints(adata)
        with pytest.raises((TypeError, ValueError), match=f"`{argument}`") as caught:
            model.to_anndata(**{argument: value})
        check_error(caught.value)
        assert fingerprints(adata) == before
