"""Make a map again from some of the cells, and place the others on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .._matrix import dense
from .ambient import choose_ambient
from .fit import fit
from .neighbors import NeighborSearch
from .placement import Field

if TYPE_CHECKING:
    from typing import Literal

    from numpy.typing import NDArray

    from .settings import Settings

# Cells placed at a time. The search for their neighbors compares all that are in one list at once, so many take less
# time.
BLOCK = 32_768


def refit(
    raw: Any,
    rows: NDArray[np.intp],
    settings: Settings,
    *,
    init_pos: NDArray[Any] | Literal["isomap"] | None = None,
    ambient: str | NDArray[Any] | None = None,
    device: str | torch.device = "auto",
    name: str = "the matrix",
) -> NDArray[np.float32]:
    """Return the positions of all n cells, (n, d), on a map of the cells in `rows` alone.

    These have their own positions. The others are placed as new cells are: where the map is refined, by the forces of
    the cells on it, and else by the encoder.

    Parameters
    ----------
    raw
        (n, D) in any form whose rows can be selected.
    rows
        In ascending order, each once.
    settings, init_pos, device, name
        As in `fit`; `init_pos` are positions of the cells in `rows`.
    ambient
        As in `scgeoae.tl.geoae`, but not a function.
    """
    sample = raw[rows]
    measure = choose_ambient(ambient, sample)
    fitted = fit(sample, settings, init_pos=init_pos, ambient=measure, device=device, name=name)
    model, field = fitted.model, None
    if fitted.displacement is not None:
        field = Field(
            model,
            NeighborSearch(model.standardize(dense(sample)).numpy()),
            model.to_latent(fitted.embedding).numpy(),
            perplexity=settings.perplexity,
            divergence_weight=settings.tsne_weight,
            equal_room=settings.equal_room,
        )
    z = np.empty((raw.shape[0], settings.n_components), dtype=np.float32)
    z[rows] = fitted.embedding
    others = np.setdiff1d(np.arange(len(z)), rows)
    for start in range(0, len(others), BLOCK):
        part = others[start : start + BLOCK]
        x = model.standardize(dense(raw[part]))
        with torch.no_grad():
            codes = model.encoder(x) if field is None else torch.from_numpy(field.place(x.numpy()))
            z[part] = model.to_map(codes).numpy()
    return z
