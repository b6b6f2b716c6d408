"""What all toy manifolds have in common."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np
from anndata import AnnData
from scipy.spatial.distance import pdist, squareform

if TYPE_CHECKING:
    from numpy.typing import NDArray


def checked_generator(n_obs: int, noise: float, random_state: int | None) -> np.random.Generator:
    """Check the arguments that all manifolds take, and start their generator."""
    if not isinstance(n_obs, Integral) or n_obs < 1:
        msg = f"Expected `n_obs` to be an integer >= 1, found {n_obs!r}."
        raise ValueError(msg)
    if not 0 <= noise < np.inf:
        msg = f"Expected `noise` to be a finite number >= 0, found {noise!r}."
        raise ValueError(msg)
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
