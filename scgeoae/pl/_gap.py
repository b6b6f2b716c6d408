from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgba

from .._anndata.columns import read_groups
from .._arguments import check_adata
from ._canvas import box_of, draw_cells, finish, read_flat_map
from ._labels import Label, add_labels, halo
from ._panels import grid_of_axes
from ._view import Box, data_box

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Protocol

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    class Between(Protocol):
        """A result of `scgeoae.tl.gap`."""

        source: str
        target: str
        groups: tuple[list[str], list[str]]
        groupby: str
        key: str
        unit: str
        verdict: str
        p_value: float
        depth: float
        length: float
        stretch: tuple[float, float]
        bridge: str
        curves: dict[str, NDArray[Any]]
        profile: pd.DataFrame


# From this number on, points are drawn as an image.
MANY = 5_000
OTHERS = "lightgray"
LINES = {"straight": ":", "cells": "-"}
WAYS = {"straight": "the straight bridge", "cells": "the bridge through the cells"}


def gap(
    adata: AnnData,
    found: Between,
    *,
    colors: Sequence[Any] = ("C0", "C1"),
    ruler: bool = True,
    outliers: bool = False,
    show: bool | None = None,
    save: bool | str | Path | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> list[Axes] | Figure | None:
    """Draw what is between two groups: the bridges on the map, and the cells along the one that is filled more.

    To the left are the cells on the map, with both bridges: the straight one dotted, the one through the cells solid.
    The thick one is filled more, and to the right are the cells along it, counted in the representation, not on the
    map. Their axis is one of square roots, so that a small group is seen beside a large one. The band is where 95% of
    the counts of a density without a valley would lie. The emptiest stretch is shaded.

    Parameters
    ----------
    adata
        Annotated data to which the question was put.
    found
        Result of `scgeoae.tl.gap`.
    colors
        Colors of the two groups.
    ruler, outliers, show, save, return_fig, **kwargs
        As in `scgeoae.pl.indicatrices`.

    Returns
    -------
    The axes of the map and of the profile if ``show=False``, or the figure if ``return_fig=True``.

    Raises
    ------
    KeyError
        If `adata` lacks the map or the groups of `found`.
    TypeError
        If `found` is not a result of `scgeoae.tl.gap`.
    ValueError
        If the map is not two-dimensional.

    See Also
    --------
    scgeoae.tl.gap : The test.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> found = sg.tl.gap(adata, "CD14+ Monocyte", "Dendritic", groupby="bulk_labels")
    >>> cells, profile = sg.pl.gap(adata, found, show=False)
    """
    check_adata(adata)
    if not hasattr(found, "profile") or not hasattr(found, "curves"):
        msg = f"Expected `found` to be a result of sg.tl.gap, found {found!r}."
        raise TypeError(msg)
    m = read_flat_map(adata, found.key, "sg.pl.gap")
    groups = read_groups(adata, found.groupby)
    sides = [np.concatenate([groups.rows[groups.name(name)] for name in side]) for side in found.groups]
    left, right = grid_of_axes(2, 2)
    kwargs = {"na_color": OTHERS} | kwargs
    # both groups are in view, even one of few cells far from the rest
    boxes = [box_of(m, outliers=outliers)]
    boxes += [data_box(m.positions[cells], outliers=outliers) for cells in sides]
    boxes += [data_box(curve, outliers=True) for curve in found.curves.values()]
    box = Box(np.min([box.low for box in boxes], axis=0), np.max([box.high for box in boxes], axis=0))
    (left,) = draw_cells(m, box, ax=left, is_given=False, ruler=ruler, **kwargs)
    drawn: Any = left.collections[0]
    is_image = len(m.positions) > MANY
    for cells, color in zip(sides, colors, strict=True):
        x, y = m.positions[cells].T
        left.scatter(x, y, s=drawn.get_sizes(), marker=".", color=[color], linewidths=0, rasterized=is_image)
    _draw_curves(left, found)
    _draw_profile(right, found, colors)
    name = f"gap_{m.key}"
    return cast(
        "list[Axes] | Figure | None",
        finish([left, right], name, ax=None, style=kwargs, show=show, save=save, return_fig=return_fig),
    )


def _draw_curves(ax: Axes, found: Between) -> None:
    ink = plt.rcParams["text.color"]
    for name, curve in found.curves.items():
        width = 2.0 if name == found.bridge else 1.0
        effects = halo(ax, width + 1.8)
        ax.plot(*curve.T, color=ink, linestyle=LINES[name], linewidth=width, path_effects=effects, zorder=5)
    # the straight one ends at the centers of the groups
    start, end = found.curves["straight"][[0, -1]]
    x, y = np.array([start, end]).T
    ax.scatter(x, y, s=18, color=[ink], edgecolors=[ax.get_facecolor()], linewidths=0.8, zorder=6)
    ends = [Label(found.source, start, start - end, end[None]), Label(found.target, end, end - start, start[None])]
    add_labels(ax, ends, np.concatenate(list(found.curves.values())))


def _draw_profile(ax: Axes, found: Between, colors: Sequence[Any]) -> None:
    table = found.profile
    width = table.index[1] - table.index[0]
    edges = np.append(table.index - width / 2, table.index[-1] + width / 2)
    ink = plt.rcParams["text.color"]
    names = {"source": (found.source, colors[0]), "target": (found.target, colors[1]), "other": ("other cells", OTHERS)}
    counts = table[list(names)]
    total = counts.sum(axis=1).to_numpy()
    # the smaller ones in front
    for column in counts.sum().sort_values(ascending=False, kind="stable").index:
        name, color = names[column]
        if column != "other" or counts[column].any():
            style = {"facecolor": to_rgba(color, 0.45), "edgecolor": color, "linewidth": 1.2}
            ax.stairs(counts[column], edges, fill=True, label=name, **style)
    ax.stairs(total, edges, color=ink, linewidth=0.8, label="all cells")
    inner = table.dropna()
    between = np.append(0, inner.index + width / 2)
    low, high = (np.append(inner[side], inner[side].iloc[-1]) for side in ("low", "high"))
    style = {"facecolor": "none", "edgecolor": ink, "linestyle": "--", "linewidth": 0.8}
    ax.fill_between(between, low, high, step="post", label="a continuum: 95%", **style)
    ax.axvspan(*found.stretch, color=ink, alpha=0.08, linewidth=0, zorder=0)
    for end in (0, found.length):
        ax.axvline(end, color=ink, linestyle=":", linewidth=0.8)
    ax.set_xlim(edges[0], edges[-1])
    ax.set_xlabel(f"distance along {WAYS[found.bridge]}\n({found.unit})")
    _root_axis(ax, max(total.max(), high.max()))
    ax.set_ylabel(f"cells per {found.unit.replace('units', 'unit', 1)}")
    depth = f"down to {found.depth:.0%}, " if found.depth < 1 else ""
    ax.set_title(f"{found.verdict}: {depth}p = {found.p_value:.2g}", fontsize="medium")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(visible=False)
    ax.legend(frameon=False, fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5), handlelength=1)


def _root_axis(ax: Axes, top: float) -> None:
    """Give the counts an axis of square roots, on which chance changes all of them by the same height."""
    ax.set_ylim(0, 1.05 * top)
    ax.set_yscale("function", functions=(lambda y: np.sqrt(np.maximum(y, 0)), np.square))
    # evenly spaced on it, but for the rounding
    ticks = [float(f"{top * share**2:.1g}") for share in np.linspace(0, 1, 5)]
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
