"""Initial positions of cells from the positions of their groups in a PAGA graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.neighbors import NearestNeighbors

from .columns import obs_labels

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


def paga_positions(adata: AnnData, *, n_components: int, seed: int) -> NDArray[np.float64]:
    """Return positions of the cells around those that `scanpy.pl.paga` gave to their groups, (n, 2).

    Each cell is drawn from a square around the position of its group. The side of the square is the median, over the
    groups, of the distance to the nearest other group. ``init_pos="paga"`` of `scanpy.tl.umap` does the same, but here
    all positions have two dimensions and the global seed does not change.
    """
    if n_components != 2:
        msg = f"Expected `n_components` to be 2 for init_pos='paga', which lies in a plane, found {n_components}."
        raise ValueError(msg)
    mend = "run sc.tl.paga(adata) and sc.pl.paga(adata)"
    entry = adata.uns.get("paga") if isinstance(adata.uns, Mapping) else None
    if not isinstance(entry, Mapping) or "pos" not in entry or not isinstance(entry.get("groups"), str):
        msg = f"Did not find positions of a PAGA graph in adata.uns['paga']; {mend} first."
        raise KeyError(msg)
    groups = entry["groups"]
    labels = obs_labels(adata, groups)
    wanted = (len(labels.categories), 2)
    try:
        positions = np.asarray(entry["pos"], dtype=np.float64)
    except (TypeError, ValueError):
        positions = np.empty(0)
    if positions.shape != wanted or not np.isfinite(positions).all():
        msg = (
            f"Expected adata.uns['paga']['pos'] to hold a finite position for each of the {wanted[0]} groups in "
            f"adata.obs[{groups!r}], shape {wanted}, found shape {positions.shape}; {mend} again."
        )
        raise ValueError(msg)
    if n_without := int((labels.codes < 0).sum()):
        n = len(labels)
        msg = f"{n_without} of {n} cells have no group in adata.obs[{groups!r}]; give them one and {mend} again."
        raise ValueError(msg)
    jitter = np.random.default_rng(seed).uniform(-0.5, 0.5, size=(len(labels), 2))
    return positions[labels.codes] + _spacing(positions) * jitter


def _spacing(positions: NDArray[Any]) -> float:
    """Return the median distance from a group to the nearest other one, or 1 if there is only one group."""
    if len(positions) < 2:
        return 1.0
    distance = NearestNeighbors(n_neighbors=1).fit(positions).kneighbors()[0]
    return float(np.median(distance)) or 1.0
