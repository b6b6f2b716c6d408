"""A small training, and the bits of what it stores."""

from __future__ import annotations

import hashlib

import numpy as np
from anndata import AnnData

import scgeoae as sg


def train(seed: int = 0, *, progress_bar: bool = False) -> AnnData:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 10)).astype(np.float32)
    x[:, 2] = x[:, 0] ** 2
    adata = AnnData(x)
    sg.tl.geoae(adata, n_steps=30, hidden=(32, 32), random_state=seed, progress_bar=progress_bar)
    return adata


def digest(adata: AnnData) -> str:
    """Return a digest of the positions and of all arrays of the model."""
    found = hashlib.sha256(np.ascontiguousarray(adata.obsm["X_geoae"]).tobytes())
    _add(found, adata.uns["geoae"]["model"])
    return found.hexdigest()


def _add(found: hashlib._Hash, value: object) -> None:
    if hasattr(value, "items"):
        for key, part in sorted(value.items()):
            found.update(key.encode())
            _add(found, part)
    else:
        found.update(np.asarray(value).tobytes())


def trained(seed: int = 0) -> str:
    return digest(train(seed))
