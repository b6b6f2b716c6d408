"""Whether an AnnData still has what a map was made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from .._matrix import blocks, digest_of_rows
from ..nn import Autoencoder
from .columns import obs_numbers
from .representation import Representation, stored_representation
from .results import embedding_slot, has_own_decoder, read_embedding, read_model, read_params
from .slots import Slots
from .units import statistics_of

if TYPE_CHECKING:
    from anndata import AnnData

    from ..nn.genes import Statistics

# Up to which number of cells training sees all, in their order, so that their digest can be taken again.
MAX_DIGESTED = 100_000
# By what share the error of a cell may differ from the stored one, and by what share of the mean square of the data.
MAX_DEVIATION, MAX_NOISE = 1e-3, 1e-5
# How far from where it lies a cell may be encoded, as a share of the map; in the median where cells have settled.
MAX_STRAY, MAX_MEDIAN_STRAY = 0.01, 0.1


def read_representation(adata: AnnData, key: str, *, whole: bool = False) -> Representation:
    """Return what a map was made of, its genes in the order that the model knows, or say what has changed since.

    A digest tells that nothing has. Else some cells or genes may be gone, or in another order, and each cell tells by
    the error of its reconstruction, which was stored beside it.

    Parameters
    ----------
    whole
        Whether all cells of the map have to be there.

    Raises
    ------
    KeyError
        If the representation is not there.
    ValueError
        If it is another.
    """
    params, model = read_params(adata, key), read_model(adata, key)
    found = stored_representation(adata, params, None if model.genes is None else model.genes.names)
    n_cells = int(params.get("n_cells", adata.n_obs))
    if whole and adata.n_obs != n_cells:
        msg = (
            f"adata has {adata.n_obs} cells, and the map in adata.obsm[{embedding_slot(adata, key)!r}] was made of "
            f"{n_cells}, all of which this takes: give the AnnData in which it was made."
        )
        raise ValueError(msg)
    if isinstance(model, Autoencoder):
        may_be_digested = adata.n_obs == n_cells <= MAX_DIGESTED
        if not (may_be_digested and digest_of_rows(found.matrix) == params.get("data")):
            _check_cells(adata, key, found, model)
    elif model.genes is not None and model.genes.statistics is not None:
        _check_counts(adata, key, found, model.genes.statistics, whole=adata.n_obs == n_cells)
    return found


def _check_counts(adata: AnnData, key: str, found: Representation, then: Statistics, *, whole: bool) -> None:
    """Say if counts are others than those of the map: in the mean, or of some of its cells beyond their range."""
    now = statistics_of(found.matrix)
    tolerance = MAX_DEVIATION * then.std + MAX_NOISE
    is_other = now.high > then.high + tolerance
    if whole:
        is_other |= np.abs(now.mean - then.mean) > tolerance
    if is_other.any():
        name = read_model(adata, key).genes.names[int(is_other.argmax())]
        msg = (
            f"{found.name} is no longer that of which the map in adata.obsm[{embedding_slot(adata, key)!r}] was made: "
            f"{np.count_nonzero(is_other)} genes, such as {str(name)!r}, have other counts. Bring them back, or make "
            "the map again."
        )
        raise ValueError(msg)


def _check_cells(adata: AnnData, key: str, found: Representation, model: Autoencoder) -> None:
    slots, z = Slots(key), torch.from_numpy(read_embedding(adata, key)).float()
    stored = obs_numbers(adata, slots.reconstruction_error) if slots.reconstruction_error in adata.obs else None
    error, stray, square = (np.empty(len(z)) for _ in range(3))
    with torch.no_grad():
        for start, block in blocks(found.matrix):
            x, at = torch.from_numpy(block.astype(np.float32)), z[start : start + len(block)]
            rows = slice(start, start + len(block))
            error[rows] = (model.decode(at) - x).square().sum(1)
            square[rows] = (x - model.center).square().sum(1)
            if stored is None:
                stray[rows] = torch.linalg.vector_norm(model.encode(x) - at, dim=1)
    if stored is not None:
        is_other = ~(np.abs(error - stored) <= MAX_DEVIATION * stored + MAX_NOISE * np.nanmean(square))
    else:
        # an encoder that was fitted to an embedding is only near to it, and one that follows cells nearer
        size = np.ptp(z.numpy(), 0).max() or np.inf
        limit, typical = MAX_STRAY * size, np.median(stray)
        is_near = bool(read_params(adata, key).get("refine", False)) or not has_own_decoder(adata, key)
        is_other = ~np.isfinite(stray) | ((typical > MAX_MEDIAN_STRAY * size) if is_near else stray > limit)
    if n_other := np.count_nonzero(is_other):
        slot = embedding_slot(adata, key)
        msg = (
            f"{found.name} is no longer what the map in adata.obsm[{slot!r}] was made of: {n_other} of {adata.n_obs} "
            f"cells, such as {adata.obs_names[int(is_other.argmax())]!r}, have other values in it, or moved on the "
            "map. Bring it back, or make the map again."
        )
        raise ValueError(msg)
