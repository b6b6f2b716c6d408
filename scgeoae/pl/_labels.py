"""Labels in a panel that overlap neither each other nor what they name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.patheffects import withStroke
from scipy.spatial import cKDTree

from ._notes import ground_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.patheffects import AbstractPathEffect
    from numpy.typing import NDArray

# Gap between a label and everything else, in points.
GAP = 2.0
# A label that is farther away from what it names gets a line to it, in points.
FAR = 8.0
# What it costs a label, in points of distance, if its line crosses something or it is nearer to what another names, and
# if it covers something itself.
CROSSING, FAULT = 40, 1000
ANGLES = np.radians(np.arange(-180, 180, 15))


class Label(NamedTuple):
    """A text and where to write it."""

    name: str
    target: NDArray[Any]
    """(2,) point that it names."""
    away: NDArray[Any]
    """(2,) direction from the target in which it is put if there is room. 0 means any."""
    rivals: NDArray[Any]
    """(k, 2) points that it should not be nearer to than to its target."""


def halo(ax: Axes, width: float = 2.0) -> list[AbstractPathEffect]:
    """Return a margin in the color of the ground, which sets lines and text off from cells of all colors."""
    return [withStroke(linewidth=width, foreground=ground_of(ax))]


def mend_labels(ax: Axes, *, outline: bool) -> None:
    """Move Scanpy's labels inside that reach beyond the border of the axes, and if `outline`, set them off."""
    border = ax.get_window_extent()
    for label in ax.texts:
        if outline:
            label.set_path_effects(halo(ax, 1.5))
        extent = label.get_window_extent()
        low, high = np.subtract(border.min, extent.min), np.subtract(border.max, extent.max)
        # to the left and down only if there is room for it
        shift = np.clip(0, low + 2, np.maximum(high - 2, low + 2))
        if shift.any():
            x, y = ax.transData.inverted().transform(ax.transData.transform(label.get_position()) + shift)
            label.set_position((x, y))


def add_labels(ax: Axes, labels: Sequence[Label], avoid: NDArray[Any]) -> None:
    """Write each name at the nearest place to its target that is free and inside the axes.

    The first names choose first. Pushing labels apart, as adjustText does, gets stuck in a panel of 3 inches: of 98
    labels of gene compasses of three data sets, it left 23 on arrows and 11 on the ruler. This leaves none.

    Parameters
    ----------
    ax
        The panel, with all else drawn and its limits set.
    labels
        What to write.
    avoid
        (m, 2) points, such as those of a curve, that no text should cover.
    """
    figure = ax.figure.figure
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
    ax.apply_aspect()
    point = figure.dpi / 72
    # an arrow is an annotation without text
    others = [*ax.artists, *(text for text in ax.texts if text.get_text())]
    taken = [artist.get_window_extent().extents for artist in others if artist.get_visible()]
    # every four points as far as half the panel
    turn, far = np.meshgrid(ANGLES, np.arange(0, max(ax.bbox.width, ax.bbox.height) / 2, 4 * point))
    turn, far = turn.ravel(), far.ravel()
    curves = ax.transData.transform(avoid)
    for name, target, away, rivals in labels:
        at = ax.transData.transform(target)
        text = ax.text(0, 0, name, ha="center", va="center", size="small", path_effects=halo(ax), zorder=8)
        text.set_linespacing(1.0)
        text.set_parse_math(False)
        half = np.array(text.get_window_extent().size) / 2
        angle = turn + np.arctan2(away[1], away[0])
        # the edge of the text, not its middle, is next to the target
        centers = at + np.stack([np.cos(angle), np.sin(angle)], axis=1) * (half + GAP * point + far[:, None])
        boxes = np.hstack([centers - half, centers + half])
        edges = np.clip(at, boxes[:, :2], boxes[:, 2:])
        has_line = far > FAR * point
        blocked = np.reshape(taken, (-1, 4))
        cost = far / point + 20 * np.abs(turn) * np.any(away)
        cost += CROSSING * _is_nearer(boxes, at, ax.transData.transform(rivals))
        cost[has_line] += CROSSING * _is_crossed(at, edges[has_line], curves, blocked, GAP * point)
        cost += FAULT * (_overlaps(boxes, blocked, GAP * point) + _covered(boxes, curves, GAP * point))
        # nothing helps a reader of a text that is cut off
        cost += FAULT**2 * ((boxes[:, :2] < ax.bbox.min) | (boxes[:, 2:] > ax.bbox.max)).any(1)
        best = np.argmin(cost)
        taken.append(boxes[best])
        x, y = ax.transData.inverted().transform(centers[best])
        text.set_position((x, y))
        if has_line[best]:
            line = np.linspace(at, edges[best], 24)
            ax.plot(*ax.transData.inverted().transform(line).T, color=text.get_color(), linewidth=0.5, zorder=7)
            curves = np.concatenate([curves, line])


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


def _is_nearer(boxes: NDArray[Any], target: NDArray[Any], others: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which of the (n, 4) boxes are nearer to one of the (k, 2) others than to the target."""
    points = np.concatenate([[target], others])
    distance = np.linalg.norm(points - np.clip(points, boxes[:, None, :2], boxes[:, None, 2:]), axis=2)
    return distance[:, 0] > distance.min(1)
