"""Labels in a panel that overlap neither each other nor what they name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.patheffects import withStroke
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.patheffects import AbstractPathEffect
    from numpy.typing import ArrayLike, NDArray

# Gap between a label and everything else, in points.
GAP = 2.0
# A label that is farther away from what it names gets a line to it, in points.
FAR = 8.0
# What it costs a label, in points of distance, if its line crosses something, or if it covers something itself.
CROSSING, FAULT = 40, 1000
ANGLES = np.radians(np.arange(-180, 180, 15))


def halo(ax: Axes, width: float = 2.0) -> list[AbstractPathEffect]:
    """Return a margin in the color of the background, which sets lines and text off from the cells."""
    return [withStroke(linewidth=width, foreground=ax.get_facecolor())]


def add_labels(
    ax: Axes, names: Sequence[str], targets: NDArray[Any], away: ArrayLike, avoid: NDArray[Any], **style: Any
) -> None:
    """Write each name at the nearest place to its target that is free and inside the axes.

    The first names choose first. Pushing labels apart, as adjustText does, gets stuck in a panel of 3 inches: of 98
    labels of gene compasses there, it left 23 on arrows and 11 on the ruler; this leaves none.

    Parameters
    ----------
    ax
        The panel, with all else drawn and its limits set.
    names, targets
        n texts and the (n, 2) points that they name.
    away
        (n, 2) directions from the targets in which the texts are put if there is room.
    avoid
        (m, 2) points, such as those of a curve, that no text should cover.
    **style
        Style of the text.
    """
    style = {"fontsize": "small", "linespacing": 1.0, "zorder": 8, "path_effects": halo(ax)} | style
    figure = ax.figure.figure
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
    ax.apply_aspect()
    point = figure.dpi / 72
    taken = [
        artist.get_window_extent().extents for artist in (*ax.artists, *ax.texts) if artist.get_window_extent().width
    ]
    # every four points as far as half the panel
    turn, far = np.meshgrid(ANGLES, np.arange(0, max(ax.bbox.width, ax.bbox.height) / 2, 4 * point))
    turn, far = turn.ravel(), far.ravel()
    curves = ax.transData.transform(avoid)
    for name, target, direction in zip(names, targets, np.asarray(away, dtype=float), strict=True):
        text = ax.text(*target, name, ha="center", va="center", **style)
        half = np.array([text.get_window_extent().width, text.get_window_extent().height]) / 2
        at = ax.transData.transform(target)
        angle = turn + np.arctan2(direction[1], direction[0])
        # the edge of the text, not its middle, is next to the target
        centers = at + np.stack([np.cos(angle), np.sin(angle)], axis=1) * (half + GAP * point + far[:, None])
        boxes = np.hstack([centers - half, centers + half])
        edges = np.clip(at, boxes[:, :2], boxes[:, 2:])
        has_line = far > FAR * point
        others = np.reshape(taken, (-1, 4))
        cost = far / point + 10 * np.abs(turn)
        cost[has_line] += CROSSING * _is_crossed(at, edges[has_line], curves, others, GAP * point)
        cost += FAULT * (_overlaps(boxes, others, GAP * point) + _covered(boxes, curves, GAP * point))
        # nothing helps a reader of a text that is cut off
        cost += FAULT**2 * ((boxes[:, :2] < ax.bbox.min) | (boxes[:, 2:] > ax.bbox.max)).any(1)
        best = np.argmin(cost)
        taken.append(boxes[best])
        text.set_position(ax.transData.inverted().transform(centers[best]))
        if has_line[best]:
            line = ax.transData.inverted().transform([at, edges[best]])
            ax.plot(*line.T, color=text.get_color(), linewidth=0.5, zorder=7)


def _overlaps(boxes: NDArray[Any], others: NDArray[Any], gap: float) -> NDArray[np.intp]:
    """Return how many of the (k, 4) others each of the (n, 4) boxes overlaps or nearly touches."""
    apart = (boxes[:, None, :2] >= others[:, 2:] + gap) | (boxes[:, None, 2:] <= others[:, :2] - gap)
    return (~apart.any(2)).sum(1)


def _covered(boxes: NDArray[Any], points: NDArray[Any], gap: float) -> NDArray[np.intp]:
    """Return how many of the (m, 2) points lie in each of the (n, 4) boxes or nearly touch it."""
    inside = (points >= boxes[:, None, :2] - gap) & (points <= boxes[:, None, 2:] + gap)
    return inside.all(2).sum(1)


def _is_crossed(
    start: NDArray[Any], ends: NDArray[Any], points: NDArray[Any], boxes: NDArray[Any], gap: float
) -> NDArray[np.bool_]:
    """Return which of the lines from `start` to the (n, 2) ends run over the (m, 2) points or the (k, 4) boxes.

    The first quarter does not count, since the target may be one of the points.
    """
    along = (start + np.linspace(0.25, 1, 24)[:, None, None] * (ends - start)).reshape(-1, 2)
    is_hit = (cKDTree(points).query(along)[0] < gap) | (_overlaps(np.hstack([along, along]), boxes, 0) > 0)
    return is_hit.reshape(24, -1).any(0)
