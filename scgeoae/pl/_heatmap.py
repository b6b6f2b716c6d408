"""A quantity of the model, drawn at the cells and between them, and the range of its colors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.cm import ScalarMappable
from scipy.spatial import cKDTree

from .._arguments import checked_integer
from ._canvas import box_of, draw_cells
from ._layout import attach_color_bar

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from numpy.typing import NDArray
    from torch import Tensor

    from .._anndata.map import Map
    from ._view import Box

    # the forms that Scanpy accepts
    Bound = float | str | Callable[[NDArray[Any]], float]


def color_bound(bound: Bound, values: NDArray[Any]) -> float:
    """Return a limit of the colors, given as a number, a percentile such as ``"p99"``, or a function of the values."""
    if isinstance(bound, str) and (percentile := re.fullmatch(r"p(\d+(\.\d*)?)", bound)):
        return float(np.percentile(values, float(percentile[1])))
    return float(bound(values) if callable(bound) else bound)


def heatmap(
    m: Map,
    *,
    column: str,
    evaluate: Callable[[Tensor], Tensor] | None,
    scale: Normalize,
    cmap: Any,
    label: str | None,
    resolution: int,
    ruler: bool,
    outliers: bool,
    ax: Axes | None,
    extend: str = "both",
    **kwargs: Any,
) -> Axes:
    """Draw the column `column` of `obs` at the cells, and around them the values of `evaluate` at (n, 2) positions.

    Without a `label`, there is no color bar.
    """
    resolution = checked_integer(resolution, "resolution", 2)
    box = box_of(m, outliers=outliers)
    # alone, the cells have Scanpy's size. On a background of nearly the same color, a thin outline sets them off, and
    # at a third of that size they leave it visible
    style: dict[str, Any] = {"size": None} if evaluate is None else {"edgecolor": "0.25", "linewidths": 0.15}
    kwargs = {"title": ""} | style | kwargs
    (panel,) = draw_cells(m, box, ax=ax, ruler=ruler, color=column, norm=scale, cmap=cmap, colorbar_loc=None, **kwargs)
    view = panel.get_xlim(), panel.get_ylim()
    if evaluate is not None:
        x, y, support = _support(panel, m.positions, box, resolution)
        positions = np.stack(np.meshgrid(x, y), axis=-1)[support].astype(np.float32)
        values = np.full(support.shape, np.nan)
        values[support] = np.concatenate([evaluate(part).numpy() for part in torch.from_numpy(positions).split(4096)])
        panel.pcolormesh(x, y, values, norm=scale, cmap=cmap, shading="nearest", alpha=0.55, rasterized=True, zorder=0)
        # the last pixels reach beyond the edge of the view
        panel.set(xlim=view[0], ylim=view[1])
    if label is not None:
        bar = panel.figure.colorbar(ScalarMappable(scale, cmap), ax=panel, label=label, extend=extend, fraction=0.05)
        attach_color_bar(panel, bar)
    return panel


def _support(
    panel: Axes, z: NDArray[Any], box: Box, resolution: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
    """Return grid lines x and y over the visible area, and which of their crossings are near a cell."""
    step = box.longest / resolution
    x, y = (np.arange(low, high + step, step) for low, high in (panel.get_xlim(), panel.get_ylim()))
    crossings = np.stack(np.meshgrid(x, y), axis=-1)
    distance, _ = cKDTree(z).query(crossings, distance_upper_bound=box.longest / 48)
    return x, y, np.isfinite(distance)
