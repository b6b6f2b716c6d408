from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, cast

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from .._anndata.evaluation import read_evaluation
from .._arguments import check_name, checked_names
from ..quality import MEASURES
from ._canvas import finish

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

ARROWS = {"higher": "↑", "lower": "↓"}
# pale enough for black numbers
COLORS = LinearSegmentedColormap.from_list("worst to best", ["#f6e0c8", "#f4f1e6", "#66c2a5"])


def evaluation(
    adata: AnnData,
    *,
    key: str = "evaluation",
    measures: Sequence[str] | None = None,
    sort: str | None = "rank",
    ax: Axes | None = None,
    show: bool | None = None,
    save: bool | str | Path | None = None,
    return_fig: bool | None = None,
) -> Axes | Figure | None:
    """Draw a table that compares embeddings: one row for each embedding, one column for each measure.

    The arrow in each column label says whether higher or lower is better, and the best value is bold (several, if they
    look the same). The color places each value between the worst and the best of its column. Even a small difference
    can span the full range of colors, so read the numbers too. A measure that only one embedding has, such as those of
    a decoder, stays white, as does a table of a single embedding. A dash stands for a missing value.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.evaluate` was run.
    key
        The `key_added` of that run.
    measures
        Names of measures, in the order in which to draw them. By default, all that are stored.
    sort
        Order of the rows. ``"rank"`` sorts by the mean rank over the measures that all embeddings have, best on top.
        The name of a measure that all embeddings have sorts by that measure. ``None`` keeps the stored order.
    ax
        Axes to draw on.
    show, save, return_fig
        As in `scgeoae.pl.indicatrices`.

    Returns
    -------
    The axes if ``show=False``, or the figure if ``return_fig=True``.

    Raises
    ------
    KeyError
        If there is no table under `key`, or it does not have such a measure.
    ValueError
        If `key` does not hold such a table, or `sort` is not one of the options.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> table = sg.tl.evaluate(adata)
    >>> ax = sg.pl.evaluation(adata, show=False)
    """
    table = read_evaluation(adata, key)
    names = _measures(table, measures, key)
    better = dict(zip(table["measure"], table["better"], strict=True))
    values = table.pivot(index="basis", columns="measure", values="value")
    values = values.loc[list(dict.fromkeys(table["basis"])), names]
    # signs such that larger is better
    oriented = values * [1 if better[name] == "higher" else -1 for name in names]
    rows = _order(oriented, sort, key)
    values, oriented = values.iloc[rows], oriented.iloc[rows].to_numpy()

    n_rows, n_columns = values.shape
    if ax is None:
        _, ax = plt.subplots(figsize=_size(list(values.index), names), layout="constrained")
    relative = _relative(oriented)
    mesh = ax.imshow(relative, cmap=COLORS, vmin=0, vmax=1, aspect="auto")
    for column, name in enumerate(names):
        _write_column(ax, column, values[name].to_numpy(), oriented[:, column])
    ax.set_xticks(
        range(n_columns),
        [f"{name} {ARROWS[better[name]]}" for name in names],
        rotation=45,
        ha="right",
        rotation_mode="anchor",
        fontsize="small",
    )
    ax.set_yticks(range(n_rows), list(values.index), fontsize="small")
    ax.tick_params(length=0, pad=2)
    ax.spines[:].set_visible(False)
    # which sc.set_figure_params turns on
    ax.grid(visible=False)
    _draw_groups(ax, names)
    ax.set_xlabel(_what_was_compared(table), fontsize="small")
    if np.isfinite(relative).any():
        bar = ax.figure.colorbar(mesh, ax=ax, ticks=[0, 1], fraction=0.03, pad=0.01, shrink=0.7, aspect=8)
        bar.ax.set_yticklabels(["worst", "best"], fontsize="small")
        bar.ax.set_ylabel("within a column", fontsize="x-small")
        bar.ax.tick_params(length=0)
    return cast(
        "Axes | Figure | None", finish([ax], f"evaluation_{key}", ax=ax, show=show, save=save, return_fig=return_fig)
    )


def _size(rows: list[str], names: list[str]) -> tuple[float, float]:
    """Return the width and height of the figure, in inches, from what is written in it and the size of the font."""
    groups = [(len(about), len(group)) for about, group in _groups(names)]
    # in units of the size of the font, of which a character of a small font is about half as wide
    column = max(3.1, *(0.5 * (length + 2) / n for length, n in groups))
    width = 5 + 0.5 * max(map(len, rows)) + column * len(names)
    # the names of measures are slanted
    height = 4.5 + 0.37 * (max(map(len, names)) + 2) + 2 * len(rows)
    em = plt.rcParams["font.size"] / 72
    return width * em, height * em


def _groups(names: list[str]) -> list[tuple[str, list[str]]]:
    """Return runs of measures with what they are about."""
    return [
        (about, list(group))
        for about, group in groupby(names, key=lambda name: MEASURES[name].about if name in MEASURES else "")
    ]


def _measures(table: pd.DataFrame, measures: Sequence[str] | None, key: str) -> list[str]:
    known = list(dict.fromkeys(table["measure"]))
    names = known if measures is None else checked_names(measures, "measures")
    unknown = [name for name in names if name not in known]
    if unknown:
        hint = "; labels need `groupby`" if MEASURES.get(unknown[0], ("", ""))[1] == "labels" else ""
        msg = f"Did not find {unknown[0]!r} in adata.uns[{key!r}], which has {', '.join(map(repr, known))}{hint}."
        raise KeyError(msg)
    if not names:
        msg = "Expected `measures` to be None or names of measures, found an empty list."
        raise ValueError(msg)
    return names


def _order(oriented: pd.DataFrame, sort: str | None, key: str) -> NDArray[np.intp]:
    """Return the order of the rows. In `oriented`, larger values are better."""
    check_name(sort, "sort")
    if sort is None:
        return np.arange(len(oriented))
    complete = oriented.dropna(axis=1)
    if sort == "rank":
        score = -complete.rank(ascending=False).mean(axis=1).fillna(0)
    elif sort in complete:
        score = complete[sort]
    else:
        options = ", ".join(map(repr, ["rank", *complete]))
        msg = f"Expected `sort` to be None or one of {options} for adata.uns[{key!r}], found {sort!r}."
        raise ValueError(msg)
    return np.argsort(-score.to_numpy(), kind="stable")


def _relative(oriented: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the place of each value between the worst (0) and the best (1) of its column, NaN where it is alone."""
    relative = np.full(oriented.shape, np.nan)
    for column, values in enumerate(oriented.T):
        there = np.isfinite(values)
        if there.sum() < 2:
            continue
        worst, best = values[there].min(), values[there].max()
        relative[there, column] = (values[there] - worst) / (best - worst) if best > worst else 1
    return relative


def _write_column(ax: Axes, column: int, values: NDArray[np.float64], oriented: NDArray[np.float64]) -> None:
    there = np.flatnonzero(np.isfinite(values))
    style = _format(values[there])
    # 1e-7, as people write it, is narrower than 1e-07
    texts = {row: format(values[row], style).replace("e-0", "e-") for row in there.tolist()}
    best = texts[there[np.argmax(oriented[there])]] if len(there) > 1 else None
    for row in np.flatnonzero(~np.isfinite(values)).tolist():
        ax.text(column, row, "–", ha="center", va="center", alpha=0.3)
    # a column that is not compared has no color
    ink = "black" if len(there) > 1 else plt.rcParams["text.color"]
    for row, text in texts.items():
        weight = "bold" if text == best else "normal"
        ax.text(column, row, text, ha="center", va="center", color=ink, fontsize="x-small", fontweight=weight)


def _format(values: NDArray[np.float64]) -> str:
    """Return one number format for a whole column, so that its values are easy to compare."""
    sizes = np.abs(values[values != 0])
    if not sizes.size:
        return ".0f"
    if sizes.max() < 1e-3:
        return ".1e"
    if sizes.max() >= 10:
        return f".{max(4 - len(str(int(sizes.max()))), 0)}f"
    # two significant digits for the smallest value
    return f".{np.clip(1 - int(np.floor(np.log10(sizes.min()))), 3, 4)}f"


def _draw_groups(ax: Axes, names: list[str]) -> None:
    """Write above the columns what they measure, with a gap between the groups."""
    start = 0
    for about, group in _groups(names):
        stop = start + len(group)
        if start:
            ax.axvline(start - 0.5, color=ax.get_facecolor(), linewidth=5)
        ax.text((start + stop - 1) / 2, -0.6, about, ha="center", va="bottom", alpha=0.75, fontsize="small")
        start = stop


def _what_was_compared(table: pd.DataFrame) -> str:
    of_decoder = [name for name, measure in MEASURES.items() if measure.about == "decoder"]
    is_measured = ~table["measure"].isin(of_decoder) & table["value"].notna()
    measured, n = table.loc[is_measured, "n_sample"], table["n_cells"].max()
    against = f"compared with {', '.join(dict.fromkeys(table['use_rep']))}"
    if measured.max() < n:
        return f"{against};\nneighbors among all {n:,} cells, from {measured.max():,} of them"
    if measured.min() < n:
        return f"{against}, on all {n:,} cells;\ndistances between {measured.min():,} of them"
    return f"{against}, on all {n:,} cells"
