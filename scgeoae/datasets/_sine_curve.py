from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._manifold import checked_generator, manifold

if TYPE_CHECKING:
    from anndata import AnnData


def sine_curve(*, n_obs: int = 1000, noise: float = 0.0, random_state: int | None = 0) -> AnnData:
    r"""Sample the curve (x, sin x) over one period, uniform in length: a manifold of one dimension.

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

    ``obsm["X_true"]`` : (n, 1) float32
        Arc length from the left end.
    ``obs["mean_curvature"]`` : float32
        Curvature, \|sin x\|/(1 + cos² x)^{3/2}.
    ``obsp["geodesic_distances"]`` : (n, n) float32, dense
        Arc length between the points.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    References
    ----------
    Lee, Kwon & Park, NeurIPS 2021 (NRAE), denoise such a curve.

    Examples
    --------
    >>> import scgeoae as sg
    >>> sg.datasets.sine_curve(n_obs=50, noise=0.1).shape
    (50, 2)
    """
    generator = checked_generator(n_obs, noise, random_state)
    fine = np.linspace(-np.pi, np.pi, 20_001)
    speed = np.sqrt(1 + np.cos(fine) ** 2)
    length = np.concatenate([[0], np.cumsum((speed[1:] + speed[:-1]) / 2 * np.diff(fine))])
    along = generator.uniform(0, length[-1], size=n_obs)
    x = np.interp(along, length, fine)
    return manifold(
        np.stack([x, np.sin(x)], axis=1),
        coordinates=along[:, None],
        mean_curvature=np.abs(np.sin(x)) / (1 + np.cos(x) ** 2) ** 1.5,
        noise=noise,
        generator=generator,
    )
