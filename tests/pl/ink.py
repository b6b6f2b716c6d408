"""How much of the cells the outlines of `sg.pl.indicatrices` hide, and how many cells stand for each, as drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.collections import EllipseCollection

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

N_POINTS = 400


class Ink(NamedTuple):
    """Shares between 0 and 1."""

    covered: float
    """Of the cells, those whose center lies under the stroke, or the fill, of an outline."""
    touched: float
    """Of the cells, those whose drawn point meets the stroke, or the fill, of an outline."""
    lonely: float
    """Of the outlines, those with fewer than 0.5% of the cells under or beside them."""
    n_outlines: int


def measure_ink(ax: Axes) -> Ink:
    """Measure what is drawn on `ax`, in points of the page.

    A cell is under or beside an outline if it lies in it, or nearer to its center than 1.2 times the semi-axis that
    nine in ten outlines do not exceed, which is half the distance between neighbors in a dense row of them.
    """
    ax.figure.canvas.draw()
    found = [c for c in ax.collections if isinstance(c, EllipseCollection)]
    if not found:
        return Ink(0.0, 0.0, 0.0, 0)
    (ellipses,) = found
    to_points = 72 / ax.figure.dpi
    cells = ax.collections[0]
    z = ax.transData.transform(np.asarray(cells.get_offsets())) * to_points
    radius = np.sqrt(np.broadcast_to(cells.get_sizes(), len(z))) / 2
    centers = ax.transData.transform(np.asarray(ellipses.get_offsets())) * to_points
    per_unit = np.linalg.norm(np.diff(ax.transData.transform([[0, 0], [1, 0]]), axis=0)) * to_points
    half = np.stack([ellipses.get_widths(), ellipses.get_heights()], axis=1) / 2 * per_unit
    angles = np.radians(ellipses.get_angles())
    stroke = float(np.max(ellipses.get_linewidths())) / 2
    fills = len(ellipses.get_facecolor()) > 0 and ellipses.get_facecolor()[0, 3] > 0
    near = 1.2 * np.quantile(half.max(1), 0.9)

    covered, touched = np.zeros(len(z), dtype=bool), np.zeros(len(z), dtype=bool)
    n_near = np.zeros(len(centers), dtype=int)
    for i, (center, semi_axes, angle) in enumerate(zip(centers, half, angles, strict=True)):
        offset = z - center
        distance = np.linalg.norm(offset, axis=1)
        candidates = np.flatnonzero(distance <= max(semi_axes.max(), near) + stroke + radius.max())
        turned = _turned(offset[candidates], -angle)
        inside = np.square(turned / semi_axes).sum(1) <= 1
        n_near[i] = np.count_nonzero(inside | (distance[candidates] <= near))
        gap = np.where(inside & fills, 0, _distance_to_ellipse(turned, semi_axes))
        covered[candidates] |= gap <= stroke
        touched[candidates] |= gap <= stroke + radius[candidates]
    return Ink(covered.mean(), touched.mean(), float(np.mean(n_near < 0.005 * len(z))), len(centers))


def _turned(points: NDArray, angle: float) -> NDArray:
    sine, cosine = np.sin(angle), np.cos(angle)
    return points @ np.array([[cosine, sine], [-sine, cosine]])


def _distance_to_ellipse(points: NDArray, semi_axes: NDArray) -> NDArray:
    from scipy.spatial import cKDTree

    t = np.linspace(0, 2 * np.pi, N_POINTS, endpoint=False)
    return cKDTree(np.stack([np.cos(t), np.sin(t)], axis=1) * semi_axes).query(points)[0]
