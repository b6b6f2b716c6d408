"""GeoSCVI with every case: it takes what `scvi.model.SCVI` takes, or says itself why not."""

from __future__ import annotations

import inspect
import logging
import warnings

import numpy as np
import pytest

from .battery import duplicate
from .calls import raw
from .cases import CASES
from .judge import check_error, check_written, fingerprints
from .test_arguments import WRONG

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what scvi-tools and lightning import
    from scvi.model import SCVI

    from scgeoae.model import GeoSCVI

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
ARGUMENTS = [
    name
    for name, parameter in inspect.signature(GeoSCVI).parameters.items()
    if parameter.kind == parameter.KEYWORD_ONLY and name != "registry"
]
OF_TO_ANNDATA = ["n_neighbors", "key_added"]


def counts():
    adata = raw()
    adata.X = np.random.default_rng(0).poisson(3 * np.abs(adata.X)).astype(np.float32)
    return adata


def trained(cls, adata, **kwargs):
    cls.setup_anndata(adata)
    model = cls(adata, **({"n_latent": 2} | kwargs))
    model.train(max_epochs=2, accelerator="cpu", enable_progress_bar=False, batch_size=32)
    return model


def as_scvi_would(adata, error) -> bool:
    """Return whether `scvi.model.SCVI` fails on it with the same words."""
    try:
        trained(SCVI, adata).get_latent_representation()
    except Exception as theirs:  # noqa: BLE001
        return (type(theirs), str(theirs)) == (type(error), str(error))
    return False


@pytest.mark.parametrize("name", CASES)
def test_case(name):
    adata = CASES[name](counts())
    before = duplicate(adata)
    try:
        model = trained(GeoSCVI, adata)
        registered = fingerprints(adata)
        model.to_anndata(n_neighbors=4)
    except Exception as error:  # noqa: BLE001 -- that is what is judged
        if not as_scvi_would(before, error):
            check_error(error)
        assert "X_geoscvi" not in adata.obsm
        return
    assert adata.obsm["X_geoscvi"].shape == (adata.n_obs, 2)
    check_written(adata, registered, may_write=True)


@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize("argument", ARGUMENTS)
def test_wrong_argument(argument, value):
    adata = counts()
    try:
        trained(GeoSCVI, adata, **{argument: WRONG[value]})
    except Exception as error:  # noqa: BLE001
        check_error(error)


@pytest.mark.parametrize("argument", OF_TO_ANNDATA)
def test_wrong_argument_of_to_anndata(argument):
    adata = counts()
    model = trained(GeoSCVI, adata)
    for value in WRONG.values():
        before = fingerprints(adata)
        try:
            model.to_anndata(**{argument: value})
        except Exception as error:  # noqa: BLE001
            check_error(error)
            assert fingerprints(adata) == before
