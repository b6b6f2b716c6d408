"""Triangulated grids on the toy surfaces, and how flat they can be made."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy.spatial import Delaunay

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor


class Grid(NamedTuple):
    """A triangulation of a surface, in the units of its data set."""

    vertices: NDArray
    """(n, 3)"""
    triangles: NDArray
    """(m, 3) row numbers of the vertices."""
    flat: NDArray
    """(n, 2) coordinates of the vertices: isometric, or azimuthal equidistant on the sphere."""

    @property
    def edges(self) -> NDArray:
        """(k, 2) row numbers of the two ends of each edge."""
        pairs = np.sort(self.triangles[:, [[0, 1], [1, 2], [0, 2]]].reshape(-1, 2), axis=1)
        return np.unique(pairs, axis=0)


def s_shape(n: int = 61) -> Grid:
    """Triangulate the surface of `scgeoae.datasets.s_shape`, n vertices along it."""
    flat, triangles = _strip([-1.5 * np.pi, 0], [1.5 * np.pi, 2], n)
    t, across = flat.T
    return Grid(np.stack([np.sin(t), across, np.sign(t) * (np.cos(t) - 1)], axis=1), triangles, flat)


def swiss_roll(n: int = 91) -> Grid:
    """Triangulate the surface of `scgeoae.datasets.swiss_roll`, n vertices along it."""
    fine = np.linspace(1.5 * np.pi, 4.5 * np.pi, 20_001)
    length = (fine * np.sqrt(1 + fine**2) + np.arcsinh(fine)) / 2
    flat, triangles = _strip([length[0], 0], [length[-1], 21], n)
    t = np.interp(flat[:, 0], length, fine)
    return Grid(np.stack([t * np.cos(t), flat[:, 1], t * np.sin(t)], axis=1), triangles, flat)


def open_sphere(opening: float, rings: int = 20) -> Grid:
    """Triangulate the surface of `scgeoae.datasets.open_sphere` by rings of about equilateral triangles."""
    angle = np.pi - opening
    polar, azimuth = [np.zeros(1)], [np.zeros(1)]
    for ring in range(1, rings + 1):
        k = max(6, round(2 * np.pi * np.sin(angle * ring / rings) / (angle / rings)))
        polar.append(np.full(k, angle * ring / rings))
        azimuth.append(2 * np.pi * (np.arange(k) + ring % 2 / 2) / k)
    polar, azimuth = np.concatenate(polar), np.concatenate(azimuth)
    east = np.stack([np.cos(azimuth), np.sin(azimuth)], axis=1)
    vertices = np.column_stack([np.sin(polar)[:, None] * east, np.cos(polar)])
    # the stereographic projection keeps circles, so what is Delaunay in the plane is it on the sphere
    triangles = Delaunay(np.tan(polar / 2)[:, None] * east).simplices
    return Grid(vertices, triangles, polar[:, None] * east)


def _strip(low: list[float], high: list[float], n: int) -> tuple[NDArray, NDArray]:
    across = round((n - 1) * (high[1] - low[1]) / (high[0] - low[0])) + 1
    axes = np.linspace(low[0], high[0], n), np.linspace(low[1], high[1], across)
    flat = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)
    index = np.arange(n * across).reshape(n, across)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[1:, :-1], index[:-1, 1:], index[1:, 1:]))
    return flat, np.concatenate([np.stack([a, b, c], axis=1), np.stack([b, d, c], axis=1)])


def relative_std(decoded: NDArray | Tensor, codes: NDArray | Tensor, edges: NDArray) -> float:
    """Return the standard deviation of the edge-length ratio, rescaled to mean 1."""
    return float(_spread(torch.as_tensor(decoded), torch.as_tensor(codes), torch.as_tensor(edges)))


def _spread(decoded: Tensor, codes: Tensor, edges: Tensor) -> Tensor:
    a, b = edges.T
    ratio = (decoded[a] - decoded[b]).norm(dim=1) / (codes[a] - codes[b]).norm(dim=1).clamp(min=1e-9)
    return ratio.std(correction=0) / ratio.mean()


def least_relative_std(grid: Grid) -> tuple[float, float]:
    """Return `relative_std` of the exact surface over `grid.flat`, and the least that any planar layout reaches.

    A local minimum over free positions of all vertices, from the best of the layouts that stretch
    `grid.flat` along its radii. Triangles must keep their orientation: a layout that folds can
    have any edge lengths, and is no map.
    """
    vertices, flat, edges, triangles = (
        torch.as_tensor(part) for part in (grid.vertices, grid.flat, grid.edges, grid.triangles)
    )
    radius = flat.norm(dim=1, keepdim=True)
    powers = torch.cat([(radius / radius.max()) ** k for k in range(1, 7)], dim=1)

    def stretched(c: Tensor) -> Tensor:
        return flat * (powers @ c).exp()[:, None]

    def area(z: Tensor) -> Tensor:
        a, b, c = z[triangles].unbind(1)
        return torch.linalg.det(torch.stack([b - a, c - a], dim=1))

    side = area(flat).sign()

    def folded(z: Tensor) -> Tensor:
        share = area(z) * side
        return (1 - 20 * share / share.mean()).clamp(min=0).square().sum()

    c = torch.zeros(6, dtype=flat.dtype, requires_grad=True)
    _minimize(lambda c: _spread(vertices, stretched(c), edges), c)
    z = stretched(c).detach().requires_grad_()
    _minimize(lambda z: _spread(vertices, z, edges) + 0.01 * folded(z), z)
    return relative_std(vertices, flat, edges), relative_std(vertices, z.detach(), edges)


def _minimize(function: Callable[[Tensor], Tensor], start: Tensor) -> None:
    optimizer = torch.optim.LBFGS(
        [start], max_iter=800, history_size=30, line_search_fn="strong_wolfe", tolerance_grad=1e-11, tolerance_change=0
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = function(start)
        value.backward()
        return value

    optimizer.step(closure)
