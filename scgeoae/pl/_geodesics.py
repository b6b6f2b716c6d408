from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from scipy.spatial import cKDTree

from .._arguments import as_list
from ._canvas import box_of, draw_cells, finish, read_flat_map
from ._labels import Label, add_labels, halo

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Protocol

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from .._anndata.map import Unit

    class Path2D(Protocol):
        """A result of `scgeoae.tl.geodesic`."""

        source: str
        target: str
        coordinates: NDArray[Any]
        length: float
        straight_length: float


def geodesics(
    adata: AnnData,
    paths: Path2D | Sequence[Path2D],
    *,
    basis: str = "geoae",
    color: str | Sequence[str] | None = None,
    line_color: Any = None,
    straight: bool = True,
    ruler: bool = True,
    outliers: bool = False,
    ax: Axes | None = None,
    show: bool | None = None,
    save: bool | str | Path | None = None,
    return_fig: bool | None = None,
    **kwargs: Any,
) -> Axes | list[Axes] | Figure | None:
    """Draw geodesics, the shortest paths along the decoder's surface, on the map.

    Each curve is labeled with its length in units of the representation, with that of the straight line on the map
    between its ends in parentheses. The ends have their names.

    Parameters
    ----------
    adata
        Annotated data with the map.
    paths
        Result of `scgeoae.tl.geodesic`, or a list of them.
    basis
        The `key` of the map on which the paths were computed. The map must have two dimensions.
    color
        Column of `obs` or gene to color the cells by. A list draws one panel for each.
    line_color
        Color of the curves. Default: the color of text.
    straight
        Also draw the straight line between the ends of each curve, dotted, and write its length.
    ruler, outliers, ax, show, save, return_fig, **kwargs
        As in `scgeoae.pl.indicatrices`. Cells are drawn pale, which `alpha` changes.

    Returns
    -------
    The axes (a list with several colors) if ``show=False``, or the figure if ``return_fig=True``.

    Raises
    ------
    KeyError
        If there is no map under `basis`.
    ValueError
        If the map is not two-dimensional, or there are no paths.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> path = sg.tl.geodesic(adata, "CD14+ Monocyte", "CD19+ B", groupby="bulk_labels", genes=[])
    >>> ax = sg.pl.geodesics(adata, path, color="bulk_labels", show=False)
    """
    m = read_flat_map(adata, basis, "sg.pl.geodesics", kwargs)
    several: list[Any] = [paths] if hasattr(paths, "coordinates") else as_list(paths)
    if not several or not all(hasattr(path, "coordinates") for path in several):
        msg = "Expected `paths` to be a result of sg.tl.geodesic, or a list of results."
        raise ValueError(msg)
    box = box_of(m, outliers=outliers)
    words = f"lengths along the surface,\nin {m.unit.name}"
    kwargs = {"alpha": 0.4} | kwargs
    drawn = draw_cells(m, box, ax=ax, is_given=ax is not None, ruler=ruler, words=words, color=color, **kwargs)
    ink = plt.rcParams["text.color"] if line_color is None else line_color
    lines = [path.coordinates for path in several]
    if straight:
        lines += [np.linspace(*path.coordinates[[0, -1]]) for path in several]
    labels = [*_ends(several), *_lengths(several, m.unit, straight=straight)]
    for panel in drawn:
        for path in several:
            x, y = path.coordinates[[0, -1]].T
            panel.plot(*path.coordinates.T, color=ink, linewidth=1.4, path_effects=halo(panel, 3.2), zorder=5)
            panel.scatter(x, y, s=18, color=[ink], edgecolors=[panel.get_facecolor()], linewidths=0.8, zorder=6)
            if straight:
                panel.plot(x, y, color=ink, linewidth=0.8, linestyle=":", zorder=4)
        add_labels(panel, labels, np.concatenate(lines))
    return finish(drawn, f"geodesics_{m.key}", ax=ax, style=kwargs, show=show, save=save, return_fig=return_fig)


def _ends(paths: Sequence[Path2D]) -> list[Label]:
    """Return the names of the ends, to be written beyond the curves; ends that are shared are named once."""
    found: dict[tuple[str, bytes], tuple[NDArray[Any], NDArray[Any]]] = {}
    for path in paths:
        start, end = path.coordinates[[0, -1]]
        found.setdefault((path.source, start.tobytes()), (start, start - end))
        found.setdefault((path.target, end.tobytes()), (end, end - start))
    points = np.array([point for point, _ in found.values()])
    return [Label(name, *places, points) for (name, _), places in found.items()]


def _lengths(paths: Sequence[Path2D], unit: Unit, *, straight: bool) -> list[Label]:
    """Return the lengths, each where its curve is farthest from all others, or else at the middle of the curve."""
    labels = []
    for i, path in enumerate(paths):
        share = np.linspace(0, 1, len(path.coordinates))
        inner = np.flatnonzero((share >= 0.2) & (share <= 0.8))
        others = np.concatenate([np.empty((0, 2)), *(other.coordinates for k, other in enumerate(paths) if k != i)])
        apart = cKDTree(others).query(path.coordinates[inner])[0]
        at = inner[np.lexsort([np.abs(share[inner] - 0.5), -apart])[0]]
        name = f"{path.length:.3g} {unit.name.split(' of ')[0]}"
        if straight:
            name += f"\n(straight: {path.straight_length:.3g})"
        labels.append(Label(name, path.coordinates[at], np.zeros(2), others))
    return labels
