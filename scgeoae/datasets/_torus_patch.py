from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import dijkstra

from .._arguments import checked_number
from ._manifold import checked_generator, manifold

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

# Steps to all lattice points within 4 that are visible from the origin. Against a lattice three
# times as fine with steps within 9, paths are from 0.1% too short (chords) to 2.3% too long
# (few directions), median 0.03% too long.
_STEPS = [(i, j) for i in range(5) for j in range(-4, 5) if np.gcd(i, j) == 1 and (i > 0 or j > 0)]


def torus_patch(
    *,
    n_obs: int = 500,
    major: float = 2.0,
    minor: float = 1.0,
    angle: float = 2.0,
    noise: float = 0.0,
    random_state: int | None = 0,
) -> AnnData:
    r"""Sample a patch of a torus that reaches from its outer to its inner side, uniform in area.

    The points are ((R + r cos u) cos v, (R + r cos u) sin v, r sin u) with u from −`angle` to
    `angle` and v from −1 to 1; its Gaussian curvature cos u/(r (R + r cos u)) changes its sign.

    Parameters
    ----------
    major, minor
        The two radii R > r > 0.
    angle
        In radians, at most π. Beyond π/2 the patch reaches the saddle-shaped inner side.
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
        The angles u and v.
    ``obs["gaussian_curvature"]`` : float32
        cos u/(r (R + r cos u)).
    ``obs["mean_curvature"]`` : float32
        (R + 2 r cos u)/(2 r (R + r cos u)), its absolute value.
    ``obsp["geodesic_distances"]`` : (n, n) float32, dense
        Length of the shortest path within the patch, along a lattice; from 0.1% too short
        to 2.5% too long.

    Raises
    ------
    ValueError
        If an argument is out of its range.

    Examples
    --------
    >>> import scgeoae as sg
    >>> adata = sg.datasets.torus_patch(n_obs=50)
    >>> bool(adata.obs["gaussian_curvature"].min() < 0 < adata.obs["gaussian_curvature"].max())
    True
    """
    generator = checked_generator(n_obs, noise, random_state)
    for name, value in {"major": major, "minor": minor, "angle": angle}.items():
        checked_number(value, name)
    if not 0 < minor < major or not 0 < angle <= np.pi:
        msg = f"Expected `major` > `minor` > 0 and 0 < `angle` <= π, found {major!r}, {minor!r} and {angle!r}."
        raise ValueError(msg)

    def surface(u: NDArray, v: NDArray) -> NDArray:
        around = major + minor * np.cos(u)
        return np.stack([around * np.cos(v), around * np.sin(v), minor * np.sin(u)], axis=-1)

    # the points are nodes of the lattice, so that paths need no first and last bit of their own
    lattice = np.stack(np.meshgrid(np.linspace(-angle, angle, 81), np.linspace(-1, 1, 61), indexing="ij"), axis=-1)
    area = (major + minor * np.cos(lattice[..., 0])).ravel()
    if n_obs > area.size:
        msg = f"Expected `n_obs` to be at most {area.size}, the size of the lattice, found {n_obs}."
        raise ValueError(msg)
    chosen = generator.choice(area.size, size=n_obs, replace=False, p=area / area.sum())
    nodes = np.arange(area.size).reshape(lattice.shape[:2])
    rows, columns = [], []
    for i, j in _STEPS:
        rows.append(nodes[: nodes.shape[0] - i, max(-j, 0) : nodes.shape[1] - max(j, 0)].ravel())
        columns.append(nodes[i:, max(j, 0) : nodes.shape[1] + min(j, 0)].ravel())
    rows, columns = np.concatenate(rows), np.concatenate(columns)
    u, v = lattice.reshape(-1, 2).T
    points = surface(u, v)
    graph = sparse.csr_matrix((np.linalg.norm(points[rows] - points[columns], axis=1), (rows, columns)))
    graph.resize(area.size, area.size)
    geodesic = dijkstra(graph, directed=False, indices=chosen)[:, chosen]
    u, v = u[chosen], v[chosen]
    around = major + minor * np.cos(u)
    return manifold(
        surface(u, v),
        coordinates=np.stack([u, v], axis=1),
        gaussian_curvature=np.cos(u) / (minor * around),
        mean_curvature=np.abs(major + 2 * minor * np.cos(u)) / (2 * minor * around),
        geodesic_distances=geodesic,
        noise=noise,
        generator=generator,
    )
