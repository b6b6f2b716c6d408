from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._manifold import checked_generator, manifold

if TYPE_CHECKING:
    from anndata import AnnData


def swiss_roll(*, n_obs: int = 1000, noise: float = 0.0, random_state: int | None = 0) -> AnnData:
    r"""Sample a Swiss roll: (t cos t, y, t sin t) with t from 3π/2 to 9π/2 and y from 0 to 21.

    Uniform in area. It can be unrolled without stretching.

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
        Isometric coordinates: arc length along the spiral, and across.
    ``obs["gaussian_curvature"]`` : float32
        0 everywhere.
    ``obs["mean_curvature"]`` : float32
        (t² + 2)/(2 (t² + 1)^{3/2}).
    ``obsp["geodesic_distances"]`` : (n, n) float32, dense
        Length of the shortest path within the surface, exact.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    Tenenbaum, de Silva & Langford 2000; one of the surfaces of Gropp, Atzmon & Lipman 2020.

    Examples
    --------
    >>> import scgeoae as sg
    >>> sg.datasets.swiss_roll(n_obs=100).n_vars
    3
    """
    generator = checked_generator(n_obs, noise, random_state)
    fine = np.linspace(1.5 * np.pi, 4.5 * np.pi, 20_001)
    length = (fine * np.sqrt(1 + fine**2) + np.arcsinh(fine)) / 2
    along = generator.uniform(length[0], length[-1], size=n_obs)
    across = generator.uniform(0, 21, size=n_obs)
    t = np.interp(along, length, fine)
    return manifold(
        np.stack([t * np.cos(t), across, t * np.sin(t)], axis=1),
        coordinates=np.stack([along - length[0], across], axis=1),
        gaussian_curvature=0.0,
        mean_curvature=(t**2 + 2) / (2 * (t**2 + 1) ** 1.5),
        noise=noise,
        generator=generator,
    )
