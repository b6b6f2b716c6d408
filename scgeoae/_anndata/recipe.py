"""What is needed to make a map again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from .._arguments import check_found
from ..training.affinities import n_affinities
from .neighbors import choose_graph
from .paga import paga_positions
from .params import settings_of

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from ..training import Settings
    from .map import Map
    from .params import Params


class Recipe(NamedTuple):
    """The arguments of `scgeoae.tl.geoae` that made a map."""

    adata: AnnData
    params: Params

    def settings(self, seed: int) -> Settings:
        """Return the settings with another seed."""
        return settings_of(self.params, seed=seed)

    @property
    def ambient(self) -> str | NDArray[np.float32] | None:
        """The ambient metric, as it was given."""
        return self.params.get("ambient")

    def start(self, rows: NDArray[np.intp], seed: int) -> NDArray[Any] | Literal["isomap"] | None:
        """Return where training on the cells in `rows` starts."""
        init_pos = self.params["init_pos"]
        if init_pos == "pca":
            return None
        if init_pos == "isomap":
            return "isomap"
        if init_pos == "paga":
            d = int(self.params["n_components"])
            return paga_positions(self.adata, n_components=d, seed=seed)[rows]
        return np.asarray(self.adata.obsm[init_pos])[rows]


def recipe_of(m: Map) -> Recipe:
    """Return what made a map, or raise if it cannot be made again from what is stored."""
    z, where = m.positions, f"adata.obsm[{m.slot!r}]"
    is_lost = m.kind is None and m.slots.metric in m.adata.obsm
    if m.kind != "autoencoder" and not is_lost:
        made_by = "sg.model.GeoSCVI" if m.kind == "counts" else "another method"
        msg = (
            f"The map in {where} was made by {made_by}, and only maps of sg.tl.geoae can be made again; run "
            "sg.tl.geoae(adata) and sg.tl.stability(adata)."
        )
        raise ValueError(msg)
    params = m.params
    if "n_cells" not in params:
        msg = (
            f"The cells in {where} were placed on a map of other cells: run sg.tl.stability on the AnnData in which "
            "that map was made."
        )
        raise ValueError(msg)
    m.check_whole()
    try:
        settings = settings_of(params, seed=0)
    except (TypeError, ValueError) as error:
        msg = f"The settings in adata.uns[{m.entry!r}] do not make the map again: {error} Run {m.call} again."
        raise ValueError(msg) from None
    if settings.n_components != z.shape[1]:
        msg = (
            f"The map in {where} has {z.shape[1]} dimensions, and was made with {settings.n_components}; run {m.call}."
        )
        raise ValueError(msg)
    n, n_least = m.adata.n_obs, settings.n_components + 2
    if n // 2 < n_least:
        msg = f"The map in {where} has {n} cells, and a map of half of them needs {n_least}; add cells."
        raise ValueError(msg)
    if "interrupted_at" in params:
        msg = f"The map in {where} was interrupted at {params['interrupted_at']}; run {m.call} to the end first."
        raise ValueError(msg)
    ambient, init_pos = params.get("ambient"), params.get("init_pos")
    if isinstance(ambient, str) and ambient != "mahalanobis":
        msg = (
            f"The map in {where} was made with the function {ambient!r} as `ambient`, which cannot be stored. Make it "
            "with 'mahalanobis', with weights or with a matrix to ask for its stability."
        )
        raise ValueError(msg)
    if init_pos in (None, "array", m.slot):
        msg = (
            f"The positions that the map in {where} started from are not stored. Keep them under another key of "
            "adata.obsm and make the map again, with this key as `init_pos`."
        )
        raise ValueError(msg)
    if init_pos not in ("pca", "isomap", "paga"):
        check_found(init_pos, m.adata.obsm, "adata.obsm", f"; the map in {where} started from it")
    neighbors_key = params.get("neighbors_key")
    k = min(n_affinities(settings.perplexity), m.adata.n_obs - 1)
    if neighbors_key is not None or (
        settings.refines and choose_graph(m.adata, m.representation, key=None, k=k) is not None
    ):
        msg = (
            f"The map in {where} follows the neighbor graph in adata.uns[{neighbors_key or 'neighbors'!r}], which only "
            "has neighbors among all cells, and a refit needs those among a half of them. Make the map without "
            "`neighbors_key`, from a representation in which Euclidean neighbors are the right ones."
        )
        raise ValueError(msg)
    return Recipe(m.adata, params)
