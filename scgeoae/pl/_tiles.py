"""Where indicatrices are drawn, and how large."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._view import Box


def occupied_tiles(z: NDArray, box: Box, width: float) -> NDArray[np.intp]:
    """Return for each square tile that holds cells the cell nearest its centre.

    The tiles start at the lower left corner of the box and go on outside of it.
    """
    position = (z - box.low) / width
    tile = np.floor(position).astype(np.int64)
    offset = position - tile - 0.5
    order = np.lexsort([(offset**2).sum(1), tile[:, 1], tile[:, 0]])
    sorted_tiles = tile[order]
    first = np.r_[True, (sorted_tiles[1:] != sorted_tiles[:-1]).any(1)]
    return order[first]


def tile_centers(box: Box, width: float) -> NDArray[np.float32]:
    """Return the centres of all tiles of the box, (n, 2)."""
    low, high = box
    counts = np.maximum(np.ceil((high - low) / width), 1).astype(int)
    start = (low + high) / 2 - (counts - 1) / 2 * width
    x, y = (start[a] + width * np.arange(counts[a]) for a in range(2))
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2).astype(np.float32)


def without_overlap(centers: NDArray, axes: NDArray) -> NDArray[np.intp]:
    """Return which ellipses to keep so that no two overlap, the larger of two first.

    Two ellipses are taken as apart when the line through both centres leaves a gap between
    their shadows on it, which is sufficient.

    Parameters
    ----------
    centers
        (n, 2)
    axes
        (n, 2, 2) semi-axes as columns, longest first.
    """
    shape = axes @ axes.swapaxes(1, 2)
    kept: list[int] = []
    for i in np.argsort(-np.linalg.norm(axes[:, :, 0], axis=1), kind="stable"):
        gap = centers[kept] - centers[i]
        distance = np.linalg.norm(gap, axis=1)
        u = gap / np.maximum(distance, np.finfo(float).tiny)[:, None]
        reach = np.sqrt(np.einsum("na,ab,nb->n", u, shape[i], u)) + np.sqrt(
            np.einsum("na,nab,nb->n", u, shape[kept], u)
        )
        if (distance >= reach).all():
            kept.append(i)
    return np.sort(np.array(kept, dtype=np.intp))
