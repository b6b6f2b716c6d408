from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._arguments import checked_number
from ._sphere_patch import sphere_patch

if TYPE_CHECKING:
    from anndata import AnnData


def open_sphere(
    *, n_obs: int = 1000, opening: float = np.pi / 4, noise: float = 0.0, random_state: int | None = 0
) -> AnnData:
    r"""Sample the unit sphere without a cap, uniform in area: an open bag.

    Parameters
    ----------
    opening
        Angle from the missing pole to the rim, in radians, less than π.
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
        Azimuthal equidistant coordinates around the pole opposite of the opening.
    ``obs["gaussian_curvature"]`` : float32
        1 everywhere.
    ``obs["mean_curvature"]`` : float32
        1 everywhere.
    ``obsp["geodesic_distances"]`` : (n, n) float32, dense
        Great-circle distance, also between points on two sides of the opening.

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
    >>> bool(sg.datasets.open_sphere().X[:, 2].min() > -0.71)
    True
    """
    if not checked_number(opening, "opening") < np.pi:
        msg = f"Expected 0 <= `opening` < π, found {opening!r}."
        raise ValueError(msg)
    return sphere_patch(n_obs=n_obs, angle=np.pi - opening, noise=noise, random_state=random_state)
