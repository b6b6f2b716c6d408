"""Whether dense regions are dense on the embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def kernel_density(distances: NDArray[np.float64], diameter: float, sigma: float) -> NDArray[np.float64]:
    r"""Return the density at each point, not normalised.

    .. math:: f_\sigma(i) = \sum_j \exp\left(-\frac{(d_{ij}/\max d)^2}{\sigma}\right)

    The sum includes the point itself.

    Parameters
    ----------
    distances
        (m, n) from m points to all.
    diameter
        max d, the largest distance.
    sigma
        Squared width of the kernel in units of the diameter.

    Returns
    -------
    (m,)

    References
    ----------
    Moor, Horn, Rieck & Borgwardt 2020, *Topological Autoencoders*, ICML.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality import kernel_density
    >>> kernel_density(np.array([[0.0, 1.0], [1.0, 0.0]]), 1.0, 1.0).round(3)
    array([1.368, 1.368])
    """
    exponents = np.square(distances)
    exponents *= -1 / (sigma * diameter**2)
    return np.exp(exponents, out=exponents).sum(1)


def density_kl(density_x: NDArray[np.float64], density_z: NDArray[np.float64]) -> float:
    r"""Return the Kullback–Leibler divergence KL(representation ‖ embedding) of two densities.

    .. math:: \mathrm{KL}_\sigma = \sum_i p_i \log\frac{p_i}{q_i}, \quad
              p = f^X_\sigma / \textstyle\sum f^X_\sigma, \; q = f^Z_\sigma / \sum f^Z_\sigma

    Parameters
    ----------
    density_x, density_z
        (m,) positive, of the same cells in the representation and on the embedding
        (`kernel_density`); they are normalised here.

    Returns
    -------
    In nats; 0 is perfect.

    References
    ----------
    Moor, Horn, Rieck & Borgwardt 2020, *Topological Autoencoders*, ICML.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality import density_kl
    >>> density_kl(np.array([1.0, 3.0]), np.array([2.0, 6.0]))
    0.0
    """
    p, q = density_x / density_x.sum(), density_z / density_z.sum()
    return float(np.sum(p * np.log(p / q)))
