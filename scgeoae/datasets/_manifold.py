"""What all toy manifolds have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from anndata import AnnData
from scipy.spatial.distance import pdist, squareform

from .._arguments import checked_integer, checked_number

if TYPE_CHECKING:
    from numpy.typing import NDArray


def checked_generator(n_obs: int, noise: float, random_state: int | None) -> np.random.Generator:
    """Check the arguments that all manifolds take, and start their generator."""
    n_obs = checked_integer(n_obs, "n_obs", 1)
    checked_number(noise, "noise")
    if random_state is not None:
        checked_integer(random_state, "random_state", 0, or_="None")
    return np.random.default_rng(random_state)


def manifold(
    points: NDArray,
    *,
    coordinates: NDArray,
    mean_curvature: NDArray | float,
    gaussian_curvature: NDArray | float | None = None,
    geodesic_distances: NDArray | None = None,
    noise: float,
    generator: np.random.Generator,
) -> AnnData:
    """Assemble the AnnData; without `geodesic_distances` the coordinates are isometric."""
    adata = AnnData((points + noise * generator.normal(size=points.shape)).astype(np.float32))
    adata.var_names = list("xyz")[: points.shape[1]]
    adata.obsm["X_true"] = coordinates.astype(np.float32)
    if gaussian_curvature is not None:
        adata.obs["gaussian_curvature"] = np.broadcast_to(gaussian_curvature, len(points)).astype(np.float32)
    adata.obs["mean_curvature"] = np.broadcast_to(mean_curvature, len(points)).astype(np.float32)
    if geodesic_distances is None:
        geodesic_distances = squareform(pdist(coordinates))
    adata.obsp["geodesic_distances"] = geodesic_distances.astype(np.float32)
    return adata
