"""What plots ask of a stored map."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._anndata.results import read_embedding, read_uns

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


def read_map(adata: AnnData, basis: str, caller: str) -> NDArray:
    """Return the (n, 2) coordinates of the map."""
    z = read_embedding(adata, basis)
    if z.ndim != 2 or z.shape[1] != 2:
        msg = (
            f"{caller} draws maps of 2 dimensions, and adata.obsm['X_{basis}'] has {z.shape[1]}; "
            "run sg.tl.geoae(adata, n_components=2)."
        )
        raise ValueError(msg)
    return z


def unit_name(adata: AnnData, basis: str) -> str:
    """Return what one unit of length on the map is."""
    params = read_uns(adata, basis, "params")
    representation = params.get("layer", params["use_rep"])
    if "ambient" not in params:
        return f"units of {representation}"
    if isinstance(params["ambient"], str) and params["ambient"] == "mahalanobis":
        return f"standard deviations of {representation}"
    return f"units of the ambient metric on {representation}"
