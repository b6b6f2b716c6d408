from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LogNorm, Normalize

from .._arguments import as_list, checked_number
from ._canvas import finish, read_flat_map
from ._heatmap import color_bound, heatmap
from ._panels import grid_of_axes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .._anndata.map import Map
    from ._heatmap import Bound

# Cells whose condition does not differ.
GRAY = "0.85"


def density(
    adata: AnnData,
    *,
    basis: str = "geoae",
    conditions: str | int | Sequence[str | int] | None = None,
    max_fdr: float = 0.1,
    cmap: Any = "viridis",
    vmin: Bound = "p1",
    vmax: Bound = "p99",
    cmap_ratio: Any = "coolwarm",
    max_ratio: float = 8,
    ruler: bool = True,
    outliers: bool = False,
    ax: Axes | None = None,
    show: bool | None = None,
    save: bool | str | Path | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Axes | list[Axes] | Figure | None:
    """Draw how many cells there are per unit of area of the data, and where conditions differ.

    Without conditions, there is one panel. With conditions, there is one for the density of each, all on one scale, and
    one for its ratio to the reference or to all other conditions (a single one for two conditions). Cells in gray have
    a false-discovery rate above `max_fdr`. Densities have the units of the representation, not of the map, so with the
    same `vmin` and `vmax`, a color means the same on a UMAP and on a map of `scgeoae.tl.geoae`.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.density` was run.
    basis
        The `key` of that run. The map must have two dimensions.
    conditions
        Conditions to draw. Default: all.
    max_fdr
        Color the ratio at cells up to this false-discovery rate.
    cmap, vmin, vmax
        Colormap of densities, and the limits of their common logarithmic scale: numbers, percentiles such as ``"p1"``,
        or functions of the densities at the cells.
    cmap_ratio, max_ratio
        Diverging colormap of ratios, and the ratio at which its colors end.
    ruler, outliers, ax, show, save, return_fig, **kwargs
        As in `scgeoae.pl.indicatrices`; `ax` only without conditions.

    Returns
    -------
    The axes (a list with conditions: first all densities, then all ratios) if ``show=False``, or the figure if
    ``return_fig=True``.

    Raises
    ------
    KeyError
        If there is no map under `basis`, its density was not computed, or it has no such condition.
    ValueError
        If the map is not two-dimensional, or an argument is out of range.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> sg.tl.density(adata, groupby="phase", reference="G1")
    >>> axes = sg.pl.density(adata, conditions=["G1", "S"], show=False)
    >>> len(axes)
    3
    """
    m = read_flat_map(adata, basis, "sg.pl.density", kwargs)
    max_fdr, max_ratio = checked_number(max_fdr, "max_fdr"), checked_number(max_ratio, "max_ratio")
    if max_ratio <= 1:
        msg = f"Expected `max_ratio` to be above 1, found {max_ratio}."
        raise ValueError(msg)
    call = f"sg.tl.density(adata{'' if m.key == 'geoae' else f', key={m.key!r}'})"
    stored, reference = _stored(m)
    names = stored if conditions is None else _chosen(conditions, stored, call)
    slots = m.slots
    columns = [f"{slots.density}_{name}" for name in names] or [slots.density]
    compared = [name for name in names if name != reference]
    others = dict.fromkeys(compared, "all others" if reference is None else reference)
    if reference is None and len(stored) == 2:
        others = {name: stored[1 - stored.index(name)] for name in compared}
        # the ratio of the first to the second says the same
        compared = compared[-1:]
    axes: list[Any] = [ax]
    if names:
        if ax is not None:
            msg = f"`ax` holds one panel, and {len(names)} conditions have {len(names) + len(compared)}."
            raise ValueError(msg)
        # one ratio is in the same row; several are below the densities
        n_panels = len(names) + len(compared) if len(compared) < 2 else 2 * len(names)
        axes = grid_of_axes(n_panels, n_panels if len(compared) < 2 else len(names))
    values = np.concatenate([m.column(name, call) for name in columns])
    values = values[values > 0]
    low, high = (color_bound(bound, values) for bound in (vmin, vmax))
    # one density, or the same everywhere, needs a scale too
    high = max(high, low * (1 + 1e-6))
    area = m.unit.name.replace("units", "unit", 1).replace("deviations", "deviation", 1)
    style: dict[str, Any] = {
        "evaluate": None,
        "resolution": 2,
        "ruler": ruler,
        "outliers": outliers,
        "is_given": ax is not None,
        "sort_order": False,
    }
    drawn = []
    for column, panel, title in zip(columns, axes, names or [""], strict=False):
        drawn.append(
            heatmap(
                m,
                column=column,
                scale=LogNorm(low, high, clip=True),
                cmap=cmap,
                label=f"cells per squared {area}",
                ax=panel,
                **style | {"title": title} | kwargs,
            )
        )
    limit = float(np.log2(max_ratio))
    shown = mpl.colormaps.get_cmap(cmap_ratio).with_extremes(bad=GRAY)
    free = axes[len(columns) :]
    if len(free) > len(compared):
        # there is none below the reference
        free.pop(names.index(str(reference))).remove()
    for name, panel in zip(compared, free, strict=True):
        found = heatmap(
            m,
            column=f"{slots.log_ratio}_{name}",
            scale=Normalize(-limit, limit),
            cmap=shown,
            label=f"log2 ratio of densities\n(gray: FDR > {max_fdr:g})",
            ax=panel,
            **style | {"title": f"{name} / {others[name]}"} | kwargs,
        )
        _gray(found, m.column(f"{slots.fdr}_{name}", call) > max_fdr)
        drawn.append(found)
    return finish(drawn, f"density_{m.key}", ax=ax, style=kwargs, show=show, save=save, return_fig=return_fig)


def _stored(m: Map) -> tuple[list[str], str | None]:
    """Return the names of the conditions, empty if there are none, and of the reference."""
    entry = m.adata.uns.get(m.slots.density)
    entry = entry if isinstance(entry, Mapping) else {}
    reference = entry.get("params", {}).get("reference")
    return [str(name) for name in entry.get("conditions", ())], None if reference is None else str(reference)


def _chosen(conditions: Any, stored: list[str], call: str) -> list[str]:
    """Return the names of the conditions to draw."""
    names = [str(name) for name in as_list(conditions)]
    if missing := [name for name in names if name not in stored]:
        known = ", ".join(map(repr, stored)) or "none"
        msg = f"Did not find {missing[0]!r} among the conditions of {call}, which are {known}."
        raise KeyError(msg)
    return names


def _gray(panel: Axes, is_gray: Any) -> None:
    """Make cells gray and draw them below the others."""
    drawn: list[Any] = list(panel.collections)
    cells = next(found for found in drawn if len(found.get_offsets()) == len(is_gray))
    order = np.argsort(~is_gray, kind="stable")
    cells.set_offsets(cells.get_offsets()[order])
    cells.set_array(np.ma.masked_array(cells.get_array(), is_gray)[order])
