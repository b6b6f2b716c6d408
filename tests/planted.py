"""Maps whose decoders are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scgeoae._anndata.genes import genes_of
from scgeoae._anndata.representation import choose_representation

if TYPE_CHECKING:
    from anndata import AnnData

    from scgeoae.nn import Autoencoder


def plant(adata: AnnData, model: Autoencoder, z: Any, use_rep: str, key: str = "geoae") -> AnnData:
    """Store a map with these positions and this model, as `sg.tl.geoae` does; return `adata`."""
    model.genes = genes_of(adata, choose_representation(adata, use_rep=use_rep, n_pcs=None, layer=None))
    z = np.asarray(z, dtype=np.float32)
    rows, columns = np.triu_indices(z.shape[1])
    adata.obsm[f"X_{key}"] = z
    adata.obsm[f"{key}_metric"] = model.metric(z).detach().numpy()[:, rows, columns]
    params = {"use_rep": use_rep, "n_cells": adata.n_obs, "refine": True}
    adata.uns[key] = {"params": params, "scores": {}, "model": model.to_arrays()}
    return adata
