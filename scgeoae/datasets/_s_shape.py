from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._manifold import checked_generator, manifold

if TYPE_CHECKING:
    from anndata import AnnData


def s_shape(*, n_obs: int = 1000, noise: float = 0.0, random_state: int | None = 0) -> AnnData:
    r"""Sample a sheet bent to an S: two three-quarter cylinders of radius 1, 2 wide.

    Uniform in area. It can be flattened without stretching.

    Parameters
    ----------
    n_obs
        Number of points.
    noise
        Standard deviation of Gaussian noise on each coordinate of X; what is true stays true of
        the points without it.
    random_state
        Seed.

    Returns
    -------
    AnnData with, beside the points in `X`,

    ``obsm["X_true"]`` : (n, 2) float32
        Isometric coordinates: arc length along the S, and across.
    ``obs["gaussian_curvature"]`` : float32
        0 everywhere.
    ``obs["mean_curvature"]`` : float32
        1/2 everywhere.
    ``obsp["geodesic_distances"]`` : (n, n) float32, dense
        Length of the shortest path within the surface, exact.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    One of the surfaces of Gropp, Atzmon & Lipman 2020, *Isometric Autoencoders*.

    Examples
    --------
    >>> import scgeoae as sg
    >>> sg.datasets.s_shape(n_obs=100).obsm["X_true"].shape
    (100, 2)
    """
    generator = checked_generator(n_obs, noise, random_state)
    t = generator.uniform(-1.5 * np.pi, 1.5 * np.pi, size=n_obs)
    across = generator.uniform(0, 2, size=n_obs)
    points = np.stack([np.sin(t), across, np.sign(t) * (np.cos(t) - 1)], axis=1)
    return manifold(
        points,
        coordinates=np.stack([t, across], axis=1),
        gaussian_curvature=0.0,
        mean_curvature=0.5,
        noise=noise,
        generator=generator,
    )
