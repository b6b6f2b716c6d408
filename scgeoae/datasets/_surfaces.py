"""Surfaces and a curve of known geometry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from anndata import AnnData
from scipy import sparse
from scipy.sparse.csgraph import dijkstra
from scipy.spatial.distance import pdist, squareform

from .._arguments import checked_integer, checked_number

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Steps to all lattice points within 4 that are visible from the origin. Against a lattice three times as fine with
# steps within 9, paths are from 0.1% too short (chords) to 2.3% too long (few directions), median 0.03% too long.
_STEPS = [(i, j) for i in range(5) for j in range(-4, 5) if np.gcd(i, j) == 1 and (i > 0 or j > 0)]


def swiss_roll(*, n_obs: int = 1000, noise: float = 0.0, random_state: int | None = 0) -> AnnData:
    r"""Sample a Swiss roll: (t cos t, y, t sin t) with t from 3π/2 to 9π/2 and y from 0 to 21.

    Uniform in area. It can be unrolled without stretching.

    Parameters
    ----------
    n_obs, noise, random_state
        Number of points, standard deviation of Gaussian noise on each coordinate of X, and seed. The values below
        describe the points without noise.

    Returns
    -------
    AnnData with the points in `X` and

    ``obsm["X_true"]`` : (n, 2) float32
        Isometric coordinates: arc length along the spiral, and across.
    ``obs["gaussian_curvature"]`` : float32
        0 everywhere.
    ``obs["mean_curvature"]`` : float32
        (t² + 2)/(2 (t² + 1)^{3/2}).
    ``obsp["geodesic_distances"]`` : (n, n) float32, dense
        Length of the shortest path within the surface, exact.

    References
    ----------
    Tenenbaum, de Silva & Langford 2000; one of the surfaces of Gropp, Atzmon & Lipman 2020.

    Examples
    --------
    >>> import scgeoae as sg
    >>> sg.datasets.swiss_roll(n_obs=100).n_vars
    3
    """
    generator = _generator(n_obs, noise, random_state)
    fine = np.linspace(1.5 * np.pi, 4.5 * np.pi, 20_001)
    length = (fine * np.sqrt(1 + fine**2) + np.arcsinh(fine)) / 2
    along = generator.uniform(length[0], length[-1], size=n_obs)
    across = generator.uniform(0, 21, size=n_obs)
    t = np.interp(along, length, fine)
    return _as_anndata(
        np.stack([t * np.cos(t), across, t * np.sin(t)], axis=1),
        noise,
        generator,
        coordinates=np.stack([along - length[0], across], axis=1),
        gaussian_curvature=0.0,
        mean_curvature=(t**2 + 2) / (2 * (t**2 + 1) ** 1.5),
    )


def s_shape(*, n_obs: int = 1000, noise: float = 0.0, random_state: int | None = 0) -> AnnData:
    r"""Sample a sheet bent to an S: two three-quarter cylinders of radius 1, 2 wide.

    Uniform in area. It can be flattened without stretching.

    Parameters
    ----------
    n_obs, noise, random_state
        Number of points, standard deviation of Gaussian noise on each coordinate of X, and seed. The values below
        describe the points without noise.

    Returns
    -------
    AnnData with the points in `X` and

    ``obsm["X_true"]`` : (n, 2) float32
        Isometric coordinates: arc length along the S, and across.
    ``obs["gaussian_curvature"]`` : float32
        0 everywhere.
    ``obs["mean_curvature"]`` : float32
        1/2 everywhere.
    ``obsp["geodesic_distances"]`` : (n, n) float32, dense
        Length of the shortest path within the surface, exact.

    References
    ----------
    One of the surfaces of Gropp, Atzmon & Lipman 2020, *Isometric Autoencoders*.

    Examples
    --------
    >>> import scgeoae as sg
    >>> sg.datasets.s_shape(n_obs=100).obsm["X_true"].shape
    (100, 2)
    """
    generator = _generator(n_obs, noise, random_state)
    t = generator.uniform(-1.5 * np.pi, 1.5 * np.pi, size=n_obs)
    across = generator.uniform(0, 2, size=n_obs)
    return _as_anndata(
        np.stack([np.sin(t), across, np.sign(t) * (np.cos(t) - 1)], axis=1),
        noise,
        generator,
        coordinates=np.stack([t, across], axis=1),
        gaussian_curvature=0.0,
        mean_curvature=0.5,
    )


def sine_curve(*, n_obs: int = 1000, noise: float = 0.0, random_state: int | None = 0) -> AnnData:
    r"""Sample the curve (x, sin x) over one period, uniform in length: a manifold of one dimension.

    Parameters
    ----------
    n_obs, noise, random_state
        Number of points, standard deviation of Gaussian noise on each coordinate of X, and seed. The values below
        describe the points without noise.

    Returns
    -------
    AnnData with the points in `X` and

    ``obsm["X_true"]`` : (n, 1) float32
        Arc length from the left end.
    ``obs["mean_curvature"]`` : float32
        Curvature, \|sin x\|/(1 + cos² x)^{3/2}.
    ``obsp["geodesic_distances"]`` : (n, n) float32, dense
        Arc length between the points.

    References
    ----------
    Lee, Kwon & Park, NeurIPS 2021 (NRAE), denoise such a curve.

    Examples
    --------
    >>> import scgeoae as sg
    >>> sg.datasets.sine_curve(n_obs=50, noise=0.1).shape
    (50, 2)
    """
    generator = _generator(n_obs, noise, random_state)
    fine = np.linspace(-np.pi, np.pi, 20_001)
    speed = np.sqrt(1 + np.cos(fine) ** 2)
    length = np.concatenate([[0], np.cumsum((speed[1:] + speed[:-1]) / 2 * np.diff(fine))])
    along = generator.uniform(0, length[-1], size=n_obs)
    x = np.interp(along, length, fine)
    return _as_anndata(
        np.stack([x, np.sin(x)], axis=1),
        noise,
        generator,
        coordinates=along[:, None],
        mean_curvature=np.abs(np.sin(x)) / (1 + np.cos(x) ** 2) ** 1.5,
    )


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
        Radius of the sphere.
    angle
        From the pole to the rim, in radians, at most π.
    n_obs, noise, random_state
        Number of points, standard deviation of Gaussian noise on each coordinate of X, and seed. The values below
        describe the points without noise.

    Returns
    -------
    AnnData with the points in `X` and

    ``obsm["X_true"]`` : (n, 2) float32
        Azimuthal equidistant coordinates: distance from the pole in the direction of the meridian.
    ``obs["gaussian_curvature"]`` : float32
        1/radius² everywhere.
    ``obs["mean_curvature"]`` : float32
        1/radius everywhere.
    ``obsp["geodesic_distances"]`` : (n, n) float32, dense
        Great-circle distance. Up to ``angle = π/2`` the shortest path stays in the cap.

    Examples
    --------
    >>> import scgeoae as sg
    >>> float(sg.datasets.sphere_patch(radius=2).obs["gaussian_curvature"].iloc[0])
    0.25
    """
    generator = _generator(n_obs, noise, random_state)
    if not checked_number(radius, "radius") > 0 or not 0 < checked_number(angle, "angle") <= np.pi:
        msg = f"Expected `radius` > 0 and 0 < `angle` <= π, found {radius!r} and {angle!r}."
        raise ValueError(msg)
    height = generator.uniform(np.cos(angle), 1, size=n_obs)
    azimuth = generator.uniform(-np.pi, np.pi, size=n_obs)
    east = np.stack([np.cos(azimuth), np.sin(azimuth)], axis=1)
    unit = np.concatenate([np.sqrt(1 - height**2)[:, None] * east, height[:, None]], axis=1)
    # the chord keeps the digits that the arc cosine of a product near 1 would lose
    chord = squareform(pdist(unit))
    return _as_anndata(
        radius * unit,
        noise,
        generator,
        coordinates=radius * np.arccos(height)[:, None] * east,
        gaussian_curvature=1 / radius**2,
        mean_curvature=1 / radius,
        geodesic_distances=2 * radius * np.arcsin(np.minimum(chord / 2, 1)),
    )


def open_sphere(
    *, n_obs: int = 1000, opening: float = np.pi / 4, noise: float = 0.0, random_state: int | None = 0
) -> AnnData:
    r"""Sample the unit sphere without a cap, uniform in area: an open bag.

    Parameters
    ----------
    opening
        Angle from the missing pole to the rim, in radians, less than π.
    n_obs, noise, random_state
        Number of points, standard deviation of Gaussian noise on each coordinate of X, and seed. The values below
        describe the points without noise.

    Returns
    -------
    AnnData with the points in `X` and

    ``obsm["X_true"]`` : (n, 2) float32
        Azimuthal equidistant coordinates around the pole opposite the opening.
    ``obs["gaussian_curvature"]`` : float32
        1 everywhere.
    ``obs["mean_curvature"]`` : float32
        1 everywhere.
    ``obsp["geodesic_distances"]`` : (n, n) float32, dense
        Great-circle distance, also between points on two sides of the opening.

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

    The points are ((R + r cos u) cos v, (R + r cos u) sin v, r sin u) with u from −`angle` to `angle` and v from −1
    to 1. The Gaussian curvature cos u/(r (R + r cos u)) changes its sign.

    Parameters
    ----------
    major, minor
        The two radii R > r > 0.
    angle
        In radians, at most π. Beyond π/2 the patch reaches the saddle-shaped inner side.
    n_obs, noise, random_state
        Number of points, standard deviation of Gaussian noise on each coordinate of X, and seed. The values below
        describe the points without noise.

    Returns
    -------
    AnnData with the points in `X` and

    ``obsm["X_true"]`` : (n, 2) float32
        The angles u and v.
    ``obs["gaussian_curvature"]`` : float32
        cos u/(r (R + r cos u)).
    ``obs["mean_curvature"]`` : float32
        (R + 2 r cos u)/(2 r (R + r cos u)), its absolute value.
    ``obsp["geodesic_distances"]`` : (n, n) float32, dense
        Length of the shortest path within the patch, along a lattice; from 0.1% too short to 2.5% too long.

    Examples
    --------
    >>> import scgeoae as sg
    >>> adata = sg.datasets.torus_patch(n_obs=50)
    >>> bool(adata.obs["gaussian_curvature"].min() < 0 < adata.obs["gaussian_curvature"].max())
    True
    """
    generator = _generator(n_obs, noise, random_state)
    for name, value in {"major": major, "minor": minor, "angle": angle}.items():
        checked_number(value, name)
    if not 0 < minor < major or not 0 < angle <= np.pi:
        msg = f"Expected `major` > `minor` > 0 and 0 < `angle` <= π, found {major!r}, {minor!r} and {angle!r}."
        raise ValueError(msg)

    def surface(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
        around = major + minor * np.cos(u)
        return np.stack([around * np.cos(v), around * np.sin(v), minor * np.sin(u)], axis=-1)

    # the points are nodes of the lattice, so paths start and end there
    n_u, n_v = 81, 61
    axes = np.linspace(-angle, angle, n_u), np.linspace(-1, 1, n_v)
    lattice = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    area = (major + minor * np.cos(lattice[..., 0])).ravel()
    if n_obs > area.size:
        msg = f"Expected `n_obs` to be at most {area.size}, the size of the lattice, found {n_obs}."
        raise ValueError(msg)
    chosen = generator.choice(area.size, size=n_obs, replace=False, p=area / area.sum())
    nodes = np.arange(area.size).reshape(n_u, n_v)
    rows = np.concatenate([nodes[: n_u - i, max(-j, 0) : n_v - max(j, 0)].ravel() for i, j in _STEPS])
    columns = np.concatenate([nodes[i:, max(j, 0) : n_v + min(j, 0)].ravel() for i, j in _STEPS])
    u, v = lattice.reshape(-1, 2).T
    points = surface(u, v)
    edges = np.linalg.norm(points[rows] - points[columns], axis=1)
    graph = sparse.csr_matrix((edges, (rows, columns)), shape=(area.size, area.size))
    u, v = u[chosen], v[chosen]
    around = major + minor * np.cos(u)
    return _as_anndata(
        surface(u, v),
        noise,
        generator,
        coordinates=np.stack([u, v], axis=1),
        gaussian_curvature=np.cos(u) / (minor * around),
        mean_curvature=np.abs(major + 2 * minor * np.cos(u)) / (2 * minor * around),
        geodesic_distances=dijkstra(graph, directed=False, indices=chosen)[:, chosen],
    )


def _generator(n_obs: int, noise: float, random_state: int | None) -> np.random.Generator:
    """Check the arguments that all functions here take, and return the source of randomness."""
    checked_integer(n_obs, "n_obs", 1)
    checked_number(noise, "noise")
    if random_state is not None:
        checked_integer(random_state, "random_state", 0, or_="None")
    return np.random.default_rng(random_state)


def _as_anndata(
    points: NDArray[np.float64],
    noise: float,
    generator: np.random.Generator,
    *,
    coordinates: NDArray[np.float64],
    mean_curvature: NDArray[np.float64] | float,
    gaussian_curvature: NDArray[np.float64] | float | None = None,
    geodesic_distances: NDArray[np.float64] | None = None,
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
