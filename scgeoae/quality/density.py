"""Cells per unit of area of a surface, from their positions on a map of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.spatial import Delaunay, KDTree, QhullError

from .._runtime import parallel_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

# In more dimensions there are too many simplices.
DEEPEST = 3
# Simplices whose circumscribed ball has a radius of more than this many local spacings cross empty space. On uniform
# points, (1 + πr²) exp(−πr²) of the triangles have more than r: one in 6,000 at 2, and none at 3.
WIDEST = 3.0
# Places are taken to be at most this many times as far from the center as half of them. Beyond, Qhull's squares of
# distances are rounded to less than the spacing of the others.
FARTHEST = 1e3
# The local spacing is computed from this many nearest places.
N_NEAR = 10
# Cells whose neighborhoods are in memory at a time.
BLOCK = 1024


class Areas(NamedTuple):
    """How the surface is divided among the cells."""

    area: NDArray[np.float64]
    """(n,) area of each cell, which sum to that of the surface."""
    is_border: NDArray[np.bool_]
    """(n,) whether the surface would be smaller without this cell."""


class Neighborhoods(NamedTuple):
    """The neighborhood of each cell, which is the cell with the k nearest others on the map."""

    density: NDArray[np.float64]
    """(n,) cells per unit of area."""
    counts: NDArray[np.int32]
    """(n, g) number of cells of each group."""
    size: int
    """Number of cells in each, k + 1."""


def cell_areas(z: NDArray[Any], scale: NDArray[np.float64]) -> Areas:
    r"""Divide the surface under a map among its cells.

    A Delaunay triangulation connects cells that are next to each other. Its triangle T has the area :math:`|T|` on the
    map and :math:`|T| \cdot \operatorname{mean}_{i \in T} \sqrt{\det G_i}` on the surface, of which each corner gets
    a third. Triangles that cross empty space are left out. Cells without any triangle, and all cells in more than three
    dimensions, get an nth of the ball that reaches to the nth nearest place.

    Parameters
    ----------
    z
        (n, d) positions of cells, not all at the same place.
    scale
        (n,) area on the surface per unit of area on the map, :math:`\sqrt{\det G_i}`.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality.density import cell_areas
    >>> cell_areas(np.array([[0.0], [1.0], [3.0]]), np.full(3, 2.0)).area
    array([1., 3., 2.])
    """
    # cells at the same place share its area
    places, first, of_cell, sizes = np.unique(z, axis=0, return_index=True, return_inverse=True, return_counts=True)
    places, scale, of_cell = places.astype(np.float64), scale[first], of_cell.ravel()
    n, d = places.shape
    spacing = _spacing(places)
    corners, beyond = _simplices(places)
    edges = places[corners[:, 1:]] - places[corners[:, :1]]
    is_kept = _circumradius(edges) <= WIDEST * np.median(spacing[corners], axis=1)
    area = np.abs(np.linalg.det(edges)) / math.factorial(d) * scale[corners].mean(1) * is_kept
    of_place = np.bincount(corners.ravel(), np.repeat(area / (d + 1), d + 1), minlength=n)
    is_border = np.zeros(n, dtype=bool)
    # `beyond` lists the simplex on the other side of the facet opposite to each corner
    is_end = is_kept[:, None] & ~np.append(is_kept, False)[beyond]
    for i in range(d + 1):
        is_border[np.delete(corners[is_end[:, i]], i, axis=1)] = True
    of_place = np.where(of_place > 0, of_place, spacing**d * scale)
    return Areas((of_place / sizes)[of_cell], (is_border & (sizes == 1))[of_cell])


def _spacing(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the d-th root of the volume per place around each place, (n,)."""
    n, d = places.shape
    k = min(N_NEAR, n - 1)
    distance = KDTree(places, balanced_tree=False).query(places, [k + 1])[0][:, 0]
    unit_ball = math.pi ** (d / 2) / math.gamma(d / 2 + 1)
    return distance * (unit_ball / k) ** (1 / d)


def _circumradius(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the radius of the ball through the corners of simplices, given by (m, d, d) edges from one corner."""
    squares = np.square(edges).sum(-1)
    is_flat = np.abs(np.linalg.det(edges)) <= 1e-9 * np.sqrt(squares).prod(1)
    radius = np.full(len(edges), np.inf)
    radius[~is_flat] = np.linalg.norm(np.linalg.solve(edges[~is_flat], squares[~is_flat, :, None] / 2)[..., 0], axis=1)
    return radius


def _simplices(places: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the corners of the Delaunay simplices, (m, d + 1), and the simplices opposite to them, −1 if none."""
    n, d = places.shape
    if d == 1:
        order = np.argsort(places[:, 0])
        after = np.arange(1, n)
        after[-1] = -1
        return np.stack([order[:-1], order[1:]], axis=1), np.stack([after, np.arange(-1, n - 2)], axis=1)
    none = np.empty((0, d + 1), dtype=np.intp)
    if d > DEEPEST or n < d + 2:
        return none, none
    places = places - np.median(places, axis=0)
    reach = FARTHEST * np.median(np.linalg.norm(places, axis=1))
    try:
        found = Delaunay(np.clip(places, -reach, reach))
    except QhullError:  # all places are on a line
        return none, none
    return found.simplices, found.neighbors


def neighborhoods(z: NDArray[Any], areas: Areas, k: int, group: NDArray[np.integer], n_groups: int) -> Neighborhoods:
    r"""Return the density at each cell, and the number of cells of each group among it and its k nearest cells.

    With N the cell and its k nearest cells on the map, a the areas of `cell_areas` and B the cells at the border,

    .. math:: \hat\rho = |N \setminus B| \big/ \sum_{i \in N} a_i

    Cells at the border bound the surface and are not counted: the surface that n points span misses, on average, as
    much of the whole as the share of the points that are on its border (Efron 1965).

    Parameters
    ----------
    z
        (n, d) positions.
    areas
        Area of each cell.
    k
        Number of neighbors.
    group
        (n,) group of each cell, from 0 to g − 1, or −1.
    n_groups
        Number of groups g.
    """
    tree = KDTree(z, balanced_tree=False)
    density, counts = np.empty(len(z)), np.empty((len(z), n_groups), dtype=np.int32)

    def count(start: int, stop: int) -> None:
        # in the order of the leaves of the tree, cells share what is in the cache
        cells = tree.indices[start:stop]
        near = tree.query(tree.data[cells], k + 1)[1]
        n_inner = np.maximum(np.count_nonzero(~areas.is_border[near], axis=1), 1)
        density[cells] = n_inner / areas.area[near].sum(1)
        # the first column is for cells without a group
        column = (n_groups + 1) * np.arange(len(cells))[:, None] + group[near] + 1
        found = np.bincount(column.ravel(), minlength=len(cells) * (n_groups + 1))
        counts[cells] = found.reshape(len(cells), -1)[:, 1:]

    parallel_blocks(count, len(z), block=BLOCK)
    return Neighborhoods(density, counts, k + 1)
