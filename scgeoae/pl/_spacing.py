"""Room between the panels of a figure for legends, color bars, and axis labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.gridspec import GridSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

# Gap between what belongs to one column of panels and the next, in inches; text is up to 3% wider when it is saved.
GAP = 0.25


def space_columns(panels: Sequence[Axes]) -> None:
    """Widen a figure that consists of a grid of panels until no legend or color bar reaches into the next column.

    The panels keep their sizes. Scanpy leaves the same gap for all legends, however long their labels are.
    """
    figure = panels[0].figure.figure
    first = panels[0].get_subplotspec()
    if first is None or figure.get_layout_engine() is not None:
        return
    grid = first.get_topmost_subplotspec().get_gridspec()
    if not isinstance(grid, GridSpec):
        return
    lefts, rights = np.full(grid.ncols, np.inf), np.full(grid.ncols, -np.inf)
    for ax in figure.axes:
        spec = ax.get_subplotspec()
        box = ax.get_tightbbox()
        if spec is None or box is None or spec.get_topmost_subplotspec().get_gridspec() is not grid:
            return
        columns = spec.get_topmost_subplotspec().colspan
        lefts[columns.start] = min(lefts[columns.start], box.x0 / figure.dpi)
        rights[columns.stop - 1] = max(rights[columns.stop - 1], box.x1 / figure.dpi)
    lacking = max(np.max(rights[:-1] + GAP - lefts[1:], initial=0), 0)
    if not lacking:
        return
    old = figure.get_figwidth()
    new = old + lacking * (grid.ncols - 1)
    edges = grid.get_subplot_params(figure)
    # in inches: the width of a column and the gap between two of them
    column = (edges.right - edges.left) * old / (grid.ncols + edges.wspace * (grid.ncols - 1))
    gap = edges.wspace * column + lacking
    figure.set_figwidth(new)
    grid.update(left=edges.left * old / new, right=1 - (1 - edges.right) * old / new, wspace=gap / column)
