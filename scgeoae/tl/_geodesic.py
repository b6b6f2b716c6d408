from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from .._anndata.map import read_map
from .._anndata.routes import connected_graph, find_place, shortest_curve
from .._arguments import checked_integer, checked_names
from .._runtime import default_torch_modes
from ._decode import decode_positions

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from anndata import AnnData
    from numpy.typing import ArrayLike, NDArray


class Geodesic(NamedTuple):
    """Shortest curve of m points on the surface of a map."""

    source: str
    target: str
    coordinates: NDArray[np.float32]
    """(m, d) points on the map."""
    distance: NDArray[np.float32]
    """(m,) length of the curve up to each point, in units of the representation."""
    length: float
    """Length of the whole curve, in units of the representation."""
    straight_length: float
    """Length of the straight line on the map between the ends, in the same units."""
    deviation: float
    """Largest distance of the curve from the straight line, in units of the map."""
    expression: pd.DataFrame
    """(m, g) decoded genes along the curve, indexed by `distance`."""


@default_torch_modes
def geodesic(
    adata: AnnData,
    source: str | int | ArrayLike,
    target: str | int | ArrayLike,
    *,
    groupby: str | None = None,
    key: str = "geoae",
    genes: str | Sequence[str] | None = None,
    n_points: int = 64,
) -> Geodesic:
    r"""Find the shortest curve between two places on a map, and the genes along it.

    The curve, called a *geodesic*, runs on the surface that the decoder spans in the representation. On a map without
    distortion it is a straight line, so its deviation from one says how far you can trust distances read off the map.
    The search starts from the shortest route along the metric graph and from the straight line, and the shorter result
    is returned. `adata` is not changed.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae` or `scgeoae.tl.distortion` was run.
    source, target
        The ends: the name of a cell or its row number; a group of `groupby` (represented by the cell nearest to the
        median of the group); or a position on the map, (d,).
    groupby
        Column of `obs` in which groups are looked up, before names of cells. A number is then a group, never a row.
    key
        The `key_added` of that run, or ``"umap"`` for a UMAP.
    genes
        Genes to decode along the curve, as in `scgeoae.tl.decode`. Default: all genes that the map knows, or none if
        `adata` has no genes.
    n_points
        Number m of points of the curve, at equal distances in the representation.

    Returns
    -------
    A named tuple of

    - ``source``, ``target`` : names of the ends
    - ``coordinates``, ``distance`` : (m, d) and (m,) float32, points on the map and length of the curve up to each
    - ``length``, ``straight_length`` : lengths of the curve and of the straight line, in units of the representation
    - ``deviation`` : largest distance of the curve from the straight line, in units of the map
    - ``expression`` : (m, g) data frame of genes along the curve

    Raises
    ------
    KeyError
        If there is no map under `key`, or no such cell, group, column or gene.
    ValueError
        If an end is none of the above, or the tensors are a graph-Laplacian estimate, which has no decoder.

    See Also
    --------
    scgeoae.tl.geodesic_distances : Lengths between all groups.
    scgeoae.pl.geodesics, scgeoae.pl.geodesic_genes : Draw curves and the genes along them.

    References
    ----------
    Arvanitidis, Hansen & Hauberg 2018, arXiv 1710.11379, for geodesics of a decoder.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> path = sg.tl.geodesic(adata, "CD14+ Monocyte", "CD19+ B", groupby="bulk_labels", genes=[])
    >>> path.length <= path.straight_length
    True
    """
    n_points = checked_integer(n_points, "n_points", 3)
    names = None if genes is None else checked_names(genes, "genes")
    m = read_map(adata, key)
    z, model = m.positions, deepcopy(m.model).double()
    start, end = (find_place(m, *where) for where in ((source, groupby, "source"), (target, groupby, "target")))
    curve = shortest_curve(model, connected_graph(m, model), z, start, end, n_points)
    coordinates = curve.points.numpy().astype(np.float32)
    decoded = decode_positions(m, coordinates, names)
    index = pd.Index(curve.distance, name="distance")
    return Geodesic(
        start.name,
        end.name,
        coordinates,
        curve.distance,
        float(curve.distance[-1]),
        curve.straight_length,
        _deviation(curve.points),
        pd.DataFrame(decoded.X, index=index, columns=decoded.var_names),
    )


def _deviation(curve: torch.Tensor) -> float:
    """Return the largest distance of the points of a curve, (m, d), from the line between its ends."""
    along = curve[-1] - curve[0]
    share = ((curve - curve[0]) @ along / along.square().sum().clamp(min=1e-300)).clamp(0, 1)
    return float((curve - curve[0] - share[:, None] * along).norm(dim=1).max())
