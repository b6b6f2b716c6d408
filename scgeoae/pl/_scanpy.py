"""Every call of a Scanpy plot stands here: its next version changes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import scanpy as sc

from .._anndata.results import embedding_slot

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

# points beyond this number make a vector file that no viewer opens
MAX_VECTOR_POINTS = 200_000


def scatter(adata: AnnData, basis: str, *, ax: Axes | None, **kwargs: Any) -> list[Axes]:
    """Draw the cells on the map with `scanpy.pl.embedding` and return one axes per colour."""
    if adata.n_obs > MAX_VECTOR_POINTS:
        kwargs.setdefault("rasterized", True)
    drawn = sc.pl.embedding(adata, basis=embedding_slot(adata, basis), ax=ax, show=False, **kwargs)
    axes = drawn if isinstance(drawn, list) else [drawn]
    for panel in axes:
        panel.set_xlabel(f"{basis}1")
        panel.set_ylabel(f"{basis}2")
    return axes
