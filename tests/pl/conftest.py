from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import scgeoae as sg

if TYPE_CHECKING:
    from anndata import AnnData


@pytest.fixture(scope="package")
def both(fitted: AnnData) -> AnnData:
    """A map and a UMAP with its distortion. Do not change: take a copy."""
    return sg.tl.distortion(fitted, basis="umap", method="laplacian", copy=True)
