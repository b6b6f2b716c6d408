from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch

from .._anndata.map import read_map
from .._anndata.routes import along_cells, connected_graph, group_places, straight
from .._runtime import default_torch_modes
from ..geometry import shorten
from ..geometry.geodesic import chords

if TYPE_CHECKING:
    from anndata import AnnData

N_POINTS = 64


class GeodesicDistances(NamedTuple):
    """Distances between g groups, (g, g) each, in units of the representation."""

    geodesic: pd.DataFrame
    """Along the shortest curves (geodesics) on the surface that the decoder spans."""
    straight: pd.DataFrame
    """Along the straight lines on the map, measured on the surface."""
    ambient: pd.DataFrame
    """Straight through the representation between the decoded positions; never longer than the geodesics."""


@default_torch_modes
def geodesic_distances(adata: AnnData, groupby: str, *, key: str = "geoae") -> GeodesicDistances:
    r"""Measure how far groups of cells are from each other, along and across the surface of a map.

    Each group is represented by the cell nearest to the median of its cells on the map. `adata` is not changed.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae` or `scgeoae.tl.distortion` was run.
    groupby
        Column of `obs` with the groups.
    key
        The `key_added` of that run, or ``"umap"`` for a UMAP.

    Returns
    -------
    A named tuple of three data frames (g, g), in units of the representation, with the groups in the order of their
    categories:

    - ``geodesic`` : along the shortest curves of the pullback metric, the metric of the decoder's surface
    - ``straight`` : along straight lines on the map; as long as the geodesic if the straight line is the shortest path
    - ``ambient`` : straight through the representation; as long as the geodesic if the surface between them is flat

    Raises
    ------
    KeyError
        If there is no map under `key`, or no such column.
    ValueError
        If the tensors are a graph-Laplacian estimate, which has no decoder, or there are fewer than two groups.

    See Also
    --------
    scgeoae.tl.geodesic : One curve, with the genes along it.

    References
    ----------
    Arvanitidis, Hansen & Hauberg 2018, arXiv 1710.11379.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> found = sg.tl.geodesic_distances(adata, "bulk_labels")
    >>> bool((found.ambient <= found.geodesic + 1e-6).all(axis=None))
    True
    """
    m = read_map(adata, key)
    z, model = m.positions, m.model.double()
    places = group_places(m, groupby)
    if len(places) < 2:
        msg = f"adata.obs[{groupby!r}] has one group, and distances are between two."
        raise ValueError(msg)
    pairs = list(combinations(range(len(places)), 2))
    positions = torch.from_numpy(np.array([place.position for place in places], dtype=np.float64))
    i, j = torch.tensor(pairs).T
    lines = straight(positions[i], positions[j], N_POINTS)
    cells = [(places[a].cell, places[b].cell) for a, b in pairs]
    routes = torch.from_numpy(np.stack(along_cells(connected_graph(m, model), z, cells, N_POINTS)))
    found = chords(model, shorten(model, torch.cat([lines, routes]))).sum(1).view(2, -1).amin(0)
    measured = {
        "geodesic": found,
        "straight": chords(model, lines).sum(1),
        "ambient": chords(model, lines[:, [0, -1]]).sum(1),
    }
    names = [place.name for place in places]
    frames = {}
    for which, lengths in measured.items():
        table = np.zeros((len(places), len(places)))
        # convert to arrays, because NumPy treats a tensor with one element as a scalar index
        table[i.numpy(), j.numpy()] = table[j.numpy(), i.numpy()] = lengths.numpy()
        frames[which] = pd.DataFrame(table, index=names, columns=names)
    return GeodesicDistances(**frames)
