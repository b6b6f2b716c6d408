"""A representation that is too large for the second stage is mapped by the encoder alone, and that is said."""

from __future__ import annotations

import io

import numpy as np
import scanpy as sc
from anndata import AnnData

import scgeoae as sg
from scgeoae.tl import _geoae

from ..for_each import for_each


@for_each("refine, expected", [(None, False), (True, True)])
def test_second_stage_of_a_large_representation(monkeypatch, refine, expected):
    monkeypatch.setattr(_geoae, "MAX_HELD", 999)
    adata = AnnData(np.random.default_rng(0).normal(size=(100, 10)).astype(np.float32))
    log, before = io.StringIO(), sc.settings.logfile
    sc.settings.logfile = log
    try:
        sg.tl.geoae(adata, refine=refine, n_steps=5, progress_bar=False)
    finally:
        sc.settings.logfile = before
    assert bool(adata.uns["geoae"]["params"]["refine"]) is expected
    assert ("refinement" in log.getvalue()) is not expected
