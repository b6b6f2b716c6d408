from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scanpy import logging as logg

from .._anndata.map import read_map
from .._anndata.write import Changes, write
from .._runtime import default_torch_modes
from ..geometry import extrinsic_curvature, gaussian_curvature, mean_curvature

if TYPE_CHECKING:
    from anndata import AnnData


@default_torch_modes
def curvature(adata: AnnData, *, key: str = "geoae", copy: bool = False) -> AnnData | None:
    r"""Measure how the surface under the map bends at each cell.

    The decoder turns the map into a curved surface in the representation. II is its second fundamental form (the part
    of the decoder's second derivatives perpendicular to the surface), G the metric tensor, m the dimension of the map.

    - Gaussian curvature, :math:`(\langle \mathrm{II}_{11}, \mathrm{II}_{22} \rangle - \|\mathrm{II}_{12}\|^2)/\det G`,
      is intrinsic. Where it is positive (a dome) or negative (a saddle), every map has to stretch.
    - Mean curvature, :math:`\|G^{ab}\,\mathrm{II}_{ab}\|/m`, also shows bending that a flat map hides, as of a rolled
      sheet.
    - Extrinsic curvature, :math:`\sum_a \|\partial_{e_a} T\|_F^2`, is how fast the tangent planes turn, with T the
      projection onto them.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae` or `scgeoae.tl.distortion` was run.
    key
        The `key_added` of that run, or ``"umap"`` for a UMAP.
    copy
        Return a copy instead of writing into `adata`.

    Returns
    -------
    `None`, or the copy with ``copy=True``. It sets, as float32 and with u the unit of the representation:

    - ``adata.obs["{key}_gaussian_curvature"]`` : in 1/u², only for maps of two dimensions
    - ``adata.obs["{key}_mean_curvature"]`` : in 1/u
    - ``adata.obs["{key}_extrinsic_curvature"]`` : in 1/u²

    Raises
    ------
    KeyError
        If there is no map under `key`.
    ValueError
        If the stored model was damaged, or there is none because the tensors are a graph-Laplacian estimate.

    See Also
    --------
    scgeoae.pl.curvature_heatmap : Draw the curvature.

    References
    ----------
    Lee & Park 2023, arXiv 2309.10237, for the extrinsic curvature.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> sg.tl.curvature(adata)
    >>> bool((adata.obs["geoae_mean_curvature"] >= 0).all())
    True
    """
    m = read_map(adata, key)
    # float64: dividing second derivatives by metrics loses half of the digits of float32
    model, z = m.model.double(), torch.from_numpy(m.positions).double()
    start = logg.info(f"computing curvature of the map in adata.obsm[{m.slot!r}]")
    measures = {m.slots.mean_curvature: mean_curvature, m.slots.extrinsic_curvature: extrinsic_curvature}
    if z.shape[1] == 2:
        measures = {m.slots.gaussian_curvature: gaussian_curvature} | measures
    columns = {name: np.empty(len(z), dtype=np.float32) for name in measures}
    for rows in torch.arange(len(z)).split(4096):
        jet = model.jet(z[rows], order=2)
        for name, measure in measures.items():
            columns[name][rows] = measure(jet)
    changes = Changes(
        {("obs", name): column for name, column in columns.items()}, [f"obs[{name!r}]" for name in columns]
    )
    return write(adata, changes, start=start, copy=copy)
