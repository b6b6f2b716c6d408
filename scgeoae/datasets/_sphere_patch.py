from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import pdist, squareform

from .._arguments import checked_number
from ._manifold import checked_generator, manifold

if TYPE_CHECKING:
    from anndata import AnnData


def sphere_patch(
    *,
    n_obs: int = 1000,
    radius: float = 1.0,
    angle: float = np.pi / 3,
    noise: float = 0.0,
    random_state: int | None = 0,
) -> AnnData:
    r"""Sample a cap of a sphere, uniform in area. No map of it is isometric.

    Parameters
    ----------
    radius
        Of the sphere.
    angle
        From the pole to the rim, in radians, at most π.
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
        Azimuthal equidistant coordinates: distance from the pole in the direction of the meridian.
    ``obs["gaussian_curvature"]`` : float32
        1/radius² everywhere.
    ``obs["mean_curvature"]`` : float32
        1/radius everywhere.
    ``obsp["geodesic_distances"]`` : (n, n) float32, dense
        Great-circle distance. Up to ``angle = π/2`` the shortest path stays in the cap.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> import scgeoae as sg
    >>> float(sg.datasets.sphere_patch(radius=2).obs["gaussian_curvature"].iloc[0])
    0.25
    """
    generator = checked_generator(n_obs, noise, random_state)
    if not checked_number(radius, "radius") > 0 or not 0 < checked_number(angle, "angle") <= np.pi:
        msg = f"Expected `radius` > 0 and 0 < `angle` <= π, found {radius!r} and {angle!r}."
        raise ValueError(msg)
    height = generator.uniform(np.cos(angle), 1, size=n_obs)
    azimuth = generator.uniform(-np.pi, np.pi, size=n_obs)
    east = np.stack([np.cos(azimuth), np.sin(azimuth)], axis=1)
    unit = np.concatenate([np.sqrt(1 - height**2)[:, None] * east, height[:, None]], axis=1)
    # the chord keeps the digits that the arc cosine of a product near 1 would lose
    chord = squareform(pdist(unit))
    return manifold(
        radius * unit,
        coordinates=radius * np.arccos(height)[:, None] * east,
        gaussian_curvature=1 / radius**2,
        mean_curvature=1 / radius,
        geodesic_distances=2 * radius * np.arcsin(np.minimum(chord / 2, 1)),
        noise=noise,
        generator=generator,
    )
