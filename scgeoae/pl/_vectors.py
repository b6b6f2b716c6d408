from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyArrow

from .._anndata.representation import recorded_params
from .._anndata.slots import VectorSlots
from .._arguments import check_name, check_option, checked_integer, checked_number
from .._matrix import dense
from .._runtime import default_torch_modes
from ..geometry.projection import lengths
from ._canvas import box_of, draw_cells, finish, read_flat_map
from ._ruler import round_length
from ._tissot import add_caption

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from .._anndata.map import Map
    from ._view import Box

# At most so many tiles along the longer side of the map, and at least so many cells in a tile with an arrow.
MAX_TILES, FEWEST = 16, 5
# Opacity of an arrow that is perpendicular to the surface: just visible.
PALEST = 0.12
# The stored lengths are float32, and metric tensors are, too.
TOLERANCE = 1e-2


@default_torch_modes
def vectors(
    adata: AnnData,
    vectors: str = "velocity",
    *,
    basis: str = "geoae",
    color: str | Sequence[str] | None = None,
    where: Literal["tiles", "cells"] = "tiles",
    n_tiles: int | None = None,
    scale: float = 1.0,
    arrow_color: Any = None,
    fade: bool = True,
    legend: bool = True,
    ruler: bool = True,
    outliers: bool = False,
    ax: Axes | None = None,
    show: bool | None = None,
    save: bool | str | Path | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Axes | list[Axes] | Figure | None:
    """Draw vectors of the cells, such as RNA velocities, as arrows on the map.

    An arrow is the mean of the vectors of the cells in a tile and starts at the mean of their positions. So where
    neighboring cells disagree, arrows are short. The legend gives their length in units of the representation. Arrows
    are pale where vectors point away from the surface, that is, where the map shows little of them: their opacity is
    the share of the length that lies in the surface.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.project_vectors` was run.
    vectors
        Name of the vectors: the `key_added` of that run, by default the name of the layer.
    basis
        The `key` of that run. The map must have two dimensions.
    color
        Column of `obs` or gene to color the cells by. A list draws one panel for each.
    where
        ``"tiles"``: one arrow for the cells of each square tile. ``"cells"``: one for every cell.
    n_tiles
        Number of tiles along the longer side of the box around the cells. Every tile with cells has an arrow then. By
        default, as many, up to 16, as leave five cells to half of the tiles; tiles with fewer than five have no arrow.
    scale
        Factor for the length of all arrows. At 1, nine in ten are at most a tile and a half long.
    arrow_color
        Color of the arrows. Default: the color of text.
    fade
        Draw arrows that leave the surface pale.
    legend
        Explain the arrows below the axes.
    ruler, outliers, ax, show, save, return_fig, **kwargs
        As in `scgeoae.pl.indicatrices`. Cells are drawn pale, which `alpha` changes.

    Returns
    -------
    The axes (a list with several colors) if ``show=False``, or the figure if ``return_fig=True``.

    Raises
    ------
    KeyError
        If there is no map under `basis`, or its vectors were not projected.
    ValueError
        If the map is not two-dimensional, an argument is out of range, or the stored vectors were replaced.

    See Also
    --------
    scgeoae.tl.project_vectors : Get the vectors.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> b_cells = adata.obsm["X_pca"][adata.obs["bulk_labels"] == "CD19+ B"].mean(0)
    >>> adata.obsm["to_b"] = b_cells - adata.obsm["X_pca"]
    >>> sg.tl.project_vectors(adata, "to_b")
    >>> ax = sg.pl.vectors(adata, "to_b", color="bulk_labels", show=False)
    """
    m = read_flat_map(adata, basis, "sg.pl.vectors", kwargs)
    check_option(where, "where", ("tiles", "cells"))
    n_tiles = None if n_tiles is None else checked_integer(n_tiles, "n_tiles", 1, or_="None")
    scale = checked_number(scale, "scale")
    steps, off_surface = _stored(m, vectors)
    box = box_of(m, outliers=outliers)
    arrows = _arrows(m.positions, steps, off_surface, box, n_tiles) if where == "tiles" else None
    if arrows is None:
        arrows = Arrows(m.positions, steps, off_surface, box.longest / MAX_TILES)
    drawn_as = np.linalg.norm(arrows.steps, axis=1)
    longest = np.quantile(drawn_as[drawn_as > 0], 0.9) if drawn_as.any() else 0.0
    factor = scale * 1.5 * arrows.width / (longest or 1.0)
    opacity = np.maximum(np.sqrt(1 - arrows.off_surface), PALEST) if fade else np.ones(len(drawn_as))
    ink = plt.rcParams["text.color"] if arrow_color is None else arrow_color
    colors = np.column_stack([np.tile(to_rgb(ink), (len(opacity), 1)), opacity])
    width = arrows.width / 10
    style: dict[str, Any] = {"angles": "xy", "scale_units": "xy", "scale": 1, "units": "xy", "width": width}
    kwargs = {"alpha": 0.4} | kwargs
    drawn = draw_cells(m, box, ax=ax, is_given=ax is not None, ruler=ruler, color=color, **kwargs)
    for panel in drawn:
        panel.quiver(*arrows.centers.T, *(factor * arrows.steps).T, color=colors, zorder=5, **style)
        if legend and longest * factor > 0:
            # a figure grows for its caption, and this arrow with the figure: it must fit
            fits = min(longest, np.ptp(panel.get_xlim()) / (2 * factor))
            in_data = round_length(fits * m.unit.per_length)
            length = factor * in_data / m.unit.per_length
            words = f"Arrow: {'≈ ' if m.unit.is_mean else ''}{m.unit.words(in_data)}."
            if fade:
                words += f" Pale arrows leave the surface (median: {np.median(arrows.off_surface):.0%})."
            # its head is 4.5 times as long as the shaft is wide
            shaft = min(width, length / 6)
            sample = FancyArrow(0, 0, length, 0, width=shaft, length_includes_head=True, color=ink, linewidth=0)
            add_caption(panel, words, sample, length, gid="vectors")
    return finish(drawn, f"vectors_{m.key}", ax=ax, style=kwargs, show=show, save=save, return_fig=return_fig)


class Arrows(NamedTuple):
    """Arrows on the map."""

    centers: NDArray[Any]
    """(n, 2) where they start."""
    steps: NDArray[Any]
    """(n, 2)"""
    off_surface: NDArray[Any]
    """(n,) mean share of the squared length that leaves the surface."""
    width: float
    """Room for each, as a length on the map."""


def _stored(m: Map, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the steps on the map and the shares off the surface, or raise if something else is there."""
    check_name(name, "vectors", required=True)
    slots, adata = VectorSlots(name, m.key), m.adata
    call = f"sg.tl.project_vectors(adata, {name!r}" + (")" if m.key == "geoae" else f", key={m.key!r})")
    if recorded_params(adata, slots.vectors).get("method") != "projection" or slots.vectors not in adata.obsm:
        msg = f"Did not find vectors {name!r} on the map {m.key!r}; run {call} first."
        raise KeyError(msg)
    steps = dense(adata.obsm[slots.vectors])
    length, off_surface = m.column(slots.length, call), m.column(slots.off_surface, call)
    found = np.full(len(length), np.nan)
    if steps.shape == m.positions.shape:
        found = lengths(torch.from_numpy(steps).double(), torch.from_numpy(m.metric()).double()).numpy()
    if not np.allclose(found, length, rtol=TOLERANCE, atol=TOLERANCE * length.max(initial=0)):
        msg = (
            f"The vectors in adata.obsm[{slots.vectors!r}] do not have the lengths in adata.obs[{slots.length!r}]: one "
            "of these, or the map, was replaced after the projection, as scv.tl.velocity_embedding(adata, "
            f"basis={m.key!r}) does with the vectors; run {call} again."
        )
        raise ValueError(msg)
    return steps, off_surface


def _arrows(z: NDArray[Any], steps: NDArray[Any], off_surface: NDArray[Any], box: Box, n_tiles: int | None) -> Arrows:
    """Return the mean vector of the cells in each tile."""
    for n in range(MAX_TILES if n_tiles is None else n_tiles, 0, -1):
        width = box.longest / n
        tile = np.floor((z - box.low) / width).astype(np.int64)
        _, label, counts = np.unique(tile, axis=0, return_inverse=True, return_counts=True)
        if n_tiles is not None or n == 1 or np.median(counts) >= FEWEST:
            break
    kept = np.ones(len(counts), dtype=bool) if n_tiles is not None else counts >= min(FEWEST, counts.max())

    def mean(values: NDArray[Any]) -> NDArray[Any]:
        return np.bincount(label.ravel(), weights=values, minlength=len(counts))[kept] / counts[kept]

    centers, means = (np.stack([mean(column) for column in table.T], axis=1) for table in (z, steps))
    return Arrows(centers, means, mean(off_surface), width)
