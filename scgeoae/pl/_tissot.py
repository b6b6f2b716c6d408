"""Where indicatrices are drawn, how large, and what the legend says of them."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from matplotlib.collections import EllipseCollection
from matplotlib.font_manager import FontProperties
from matplotlib.offsetbox import AnchoredOffsetbox, AuxTransformBox, HPacker, TextArea
from matplotlib.patches import Ellipse
from scipy.spatial import cKDTree

from ..geometry.metric import eigenvalues
from ._notes import under

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from ._view import Box

MAX_OUTLINES = 25
"""As many as a reader can take in."""
MIN_SHARE = 0.01
"""Share of the cells that an outline stands for, at least."""
MAX_TILES = 9
"""With more tiles along the longer side of the map, outlines would be too small to compare."""
SAME_SIZE = 1.1
"""Circles whose sizes differ by less look the same."""
GAP = 6
"""Points between the parts of the legend."""


class Places(NamedTuple):
    """Positions at which indicatrices are drawn."""

    centers: NDArray[Any]
    """(n, 2)"""
    cells: NDArray[np.intp] | None
    """(n,) rows of the cells at the centers, or None if they are not at cells."""
    width: float
    """Room for each, as a length on the map."""


def places_on_grid(box: Box, n_tiles: int) -> Places:
    """Return the centers of all square tiles of the box, `n_tiles` along its longer side."""
    width = box.longest / n_tiles
    low, high = box
    counts = np.maximum(np.ceil((high - low) / width - 1e-9), 1).astype(int)
    start = (low + high) / 2 - (counts - 1) / 2 * width
    x, y = (start[a] + width * np.arange(counts[a]) for a in range(2))
    return Places(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2).astype(np.float32), None, width)


class Crowds:
    """Where cells are dense on a map, for places of any width.

    Counts by small tiles are exact enough to choose, and as fast for a million cells.
    """

    def __init__(self, z: NDArray[Any], box: Box) -> None:
        self.z, self.box = z, box
        candidates, counts = occupied_tiles(z, box, box.longest / 48)
        inside = box.holds(z[candidates])
        self.candidates, self.counts = candidates[inside], counts[inside]
        self.tree, self.tree_of_all = cKDTree(z[self.candidates]), cKDTree(z)

    def places(self, n_tiles: int) -> Places:
        """Return cells in dense places that are at least a tile apart, each with `MIN_SHARE` of all cells around it.

        The first is the cell with most others within half a tile, and each further one likewise among those far enough
        from the cells already taken.
        """
        z, width = self.z, self.box.longest / n_tiles
        near = self.tree.query_ball_point(z[self.candidates], width / 2)
        crowd = np.array([self.counts[rows].sum() for rows in near])
        taken: list[int] = []
        while crowd.max(initial=0) > 0:
            taken.append(int(crowd.argmax()))
            crowd[self.tree.query_ball_point(z[self.candidates[taken[-1]]], width)] = 0
        cells = self.candidates[taken]
        n_near = self.tree_of_all.query_ball_point(z[cells], width / 2, return_length=True)
        cells = cells[n_near >= MIN_SHARE * len(z)]
        return Places(z[cells], cells, width)


def places_of_all_cells(z: NDArray[Any], box: Box) -> Places:
    """Return all cells, which share the occupied area evenly."""
    fine = box.longest / 16
    n_occupied = len(occupied_tiles(z, box, fine)[0])
    return Places(z, np.arange(len(z)), fine * np.sqrt(n_occupied / len(z)))


def occupied_tiles(z: NDArray[Any], box: Box, width: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return, for each square tile that holds cells, the row of the cell nearest to its center, and their number.

    The tiling starts at the lower left corner of the box and continues beyond it.
    """
    position = (z - box.low) / width
    tile = np.floor(position).astype(np.int64)
    offset = position - tile - 0.5
    order = np.lexsort([(offset**2).sum(1), tile[:, 1], tile[:, 0]])
    sorted_tiles = tile[order]
    first = np.flatnonzero(np.r_[True, (sorted_tiles[1:] != sorted_tiles[:-1]).any(1)])
    return order[first], np.diff(np.r_[first, len(z)])


def without_overlap(centers: NDArray[Any], axes: NDArray[Any], *, first_come: bool = False) -> NDArray[np.intp]:
    """Return which ellipses to keep so that none overlap, preferring larger ones, or the earlier if `first_come`.

    Two ellipses count as separate if their projections on the line through their centers do not touch, which is
    sufficient but not necessary.

    Parameters
    ----------
    centers
        (n, 2)
    axes
        (n, 2, 2) semi-axes as columns, longest first.
    """
    shape = axes @ axes.swapaxes(1, 2)
    kept: list[int] = []
    order = np.arange(len(axes)) if first_come else np.argsort(-np.linalg.norm(axes[:, :, 0], axis=1), kind="stable")
    for i in order:
        gap = centers[kept] - centers[i]
        distance = np.linalg.norm(gap, axis=1)
        u = gap / np.maximum(distance, np.finfo(float).tiny)[:, None]
        reach = np.sqrt(np.einsum("na,ab,nb->n", u, shape[i], u)) + np.sqrt(
            np.einsum("na,nab,nb->n", u, shape[kept], u)
        )
        if (distance >= reach).all():
            kept.append(i)
    return np.sort(np.array(kept, dtype=np.intp))


class Sizes(NamedTuple):
    """Lengths of the semi-axes of the indicatrices of all cells, for a circle of radius 1 in the data."""

    median: float
    """Median over the cells of the geometric mean of both semi-axes."""
    factor: float
    """At 9 in 10 cells, both semi-axes are at most this many times longer or shorter than the median."""

    @property
    def are_one(self) -> bool:
        """Whether all indicatrices look like circles of one size."""
        return self.factor <= SAME_SIZE

    def in_words(self, *, are_drawn: bool) -> str:
        """Say what the outlines are, and how far their sizes differ from the median."""
        percent = max(100 * (self.factor - 1), 1)
        within = f"{percent:.0f}%" if self.factor < 1.25 else f"a factor of {self.factor:.2g}"
        what = (
            "Outlines: the same small circle of the data, as the map draws it. This one has the median size"
            if are_drawn
            else "The map draws a small circle of the data as this circle everywhere"
        )
        return f"{what} (9 in 10 cells: within {within})."


def sizes_of(metric: NDArray[Any]) -> Sizes:
    """Return how the sizes of the indicatrices of (n, 2, 2) metric tensors vary."""
    sigma = eigenvalues(torch.from_numpy(metric).double()).numpy()
    # a collapsed direction has a long axis instead of an infinite one, as in `indicatrix_axes`
    largest = np.maximum(sigma[:, 1:], np.finfo(float).tiny)
    log_length = -np.log(np.maximum(sigma, 1e-12 * largest)) / 2
    median = np.median(log_length.mean(1))
    return Sizes(float(np.exp(median)), float(np.exp(np.quantile(np.abs(log_length - median).max(1), 0.9))))


def add_outlines(ax: Axes, centers: NDArray[Any], axes: NDArray[Any], **style: Any) -> None:
    """Draw ellipses with (n, 2) centers and (n, 2, 2) semi-axes as columns, longest first."""
    lengths = 2 * np.linalg.norm(axes, axis=1)
    ellipses = EllipseCollection(
        widths=lengths[:, 0],
        heights=lengths[:, 1],
        angles=np.degrees(np.arctan2(axes[:, 1, 0], axes[:, 0, 0])),
        units="xy",
        offsets=centers,
        offset_transform=ax.transData,
        **style,
    )
    ax.add_collection(ellipses)


def add_legend(ax: Axes, words: str, diameter: float, *, linewidth: float, edgecolor: Any) -> None:
    """Write `words` below the axes, next to a circle of `diameter`, a length on the map."""
    circle = Ellipse((0, 0), diameter, diameter, facecolor="none", edgecolor=edgecolor, linewidth=linewidth)
    add_caption(ax, words, circle, diameter, gid="indicatrices")


def add_caption(ax: Axes, words: str, picture: Artist, width: float, *, gid: str) -> None:
    """Write `words` below the axes, next to a picture in the units of the map, whose width there is given."""
    font = FontProperties(size="x-small")
    drawn = AuxTransformBox(ax.transData)
    drawn.add_artist(picture)
    # letters are a little more than half as wide as high
    room = ax.get_window_extent().width * 72 / ax.figure.dpi - in_points(ax, width) - GAP
    lines = textwrap.wrap(words, max(int(room / (0.56 * font.get_size_in_points())), 20))
    text = TextArea("\n".join(lines), textprops={"fontproperties": font})
    box = AnchoredOffsetbox(
        "upper left",
        child=HPacker(children=[drawn, text], align="center", pad=0, sep=GAP),
        bbox_to_anchor=(0, 0),
        bbox_transform=under(ax),
        pad=0,
        borderpad=0,
        frameon=False,
    )
    box.set_gid(gid)
    ax.add_artist(box)
    # or a saved figure is cut off at the edge of the axes
    box.set_clip_on(False)


def in_points(ax: Axes, length: float) -> float:
    """Return how long a length on the map is drawn, in points."""
    left, right = ax.transData.transform(np.array([[0, 0], [length, 0]]))[:, 0]
    return float(right - left) * 72 / ax.figure.dpi
