from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scanpy import logging as logg

from .._anndata.map import read_map
from .._anndata.write import Changes, check_writable, write
from .._runtime import default_torch_modes
from ..geometry import extrinsic_curvature, gaussian_curvature, mean_curvature

if TYPE_CHECKING:
    from anndata import AnnData


@default_torch_modes
def curvature(adata: AnnData, *, key: str = "geoae", copy: bool = False) -> AnnData | None:
    r"""Measure how the surface bends that the decoder spans in the representation.

    With II the second fundamental form, the part of the decoder's second derivatives that is
    normal to the surface:

    - Gaussian curvature :math:`(\langle \mathrm{II}_{11}, \mathrm{II}_{22} \rangle -
      \|\mathrm{II}_{12}\|^2)/\det G` is intrinsic. Where it is not 0, no map can be isometric:
      a positive value, as on a dome, or a negative one, as on a saddle, has to stretch.
    - Mean curvature :math:`\|G^{ab}\,\mathrm{II}_{ab}\|/m` is the bending that a flat map hides.
    - Extrinsic curvature :math:`\sum_a \|\partial_{e_a} T\|_F^2` is how fast the tangent planes
      turn.

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
    `None`, or the copy with ``copy=True``. It sets, as float32, with u the unit of the
    representation:

    - ``adata.obs["{key}_gaussian_curvature"]`` : in 1/u², only for maps of two dimensions
    - ``adata.obs["{key}_mean_curvature"]`` : in 1/u
    - ``adata.obs["{key}_extrinsic_curvature"]`` : in 1/u²

    Raises
    ------
    KeyError
        If there is no map under `key`.
    ValueError
        If the stored model was damaged, or the tensors are a graph-Laplacian estimate, which has none.

    See Also
    --------
    scgeoae.pl.curvature_heatmap : Draw it.

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
    # second derivatives divided by metrics lose half of float32's digits
    model, z = m.model.double(), torch.from_numpy(m.positions).double()
    check_writable(adata, copy=copy)
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
