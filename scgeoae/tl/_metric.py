from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch

from .._anndata.made_of import read_representation
from .._anndata.results import map_key, read_embedding, read_model
from .._anndata.slots import checked_side
from .._arguments import checked_integer
from .._matrix import blocks
from .._runtime import default_torch_modes
from ..geometry import distortion
from ..training.ambient import choose_ambient
from ._positions import checked_positions

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData
    from numpy.typing import ArrayLike, NDArray

    from .._anndata.slots import Side

# of the values on a grid, as in the tables of the papers
KEEP = 0.9


class MetricField(NamedTuple):
    """Metric tensors at positions on a map, and how far they are from those of a perfect one."""

    coordinates: NDArray[np.float32]
    """(m, d)"""
    tensors: NDArray[np.float32]
    """(m, d, d)"""
    scores: dict[str, float]
    """``CN``, ``VPres``, ``ISO``"""


@default_torch_modes
def metric(
    adata: AnnData,
    *,
    key: str = "geoae",
    at: Literal["cells", "grid"] | ArrayLike = "cells",
    side: Side = "decoder",
    ambient: str | ArrayLike | Callable[[torch.Tensor], torch.Tensor] | None = None,
    n_grid: int = 64,
) -> MetricField:
    r"""Evaluate the metric of a stored model anywhere on its map.

    Changes nothing; the tensors at the cells are stored by `scgeoae.tl.geoae` already
    (`scgeoae.get.metric_tensors`). This evaluates them at other positions, by another ambient
    metric, and as the tables of the papers do.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae` or `scgeoae.tl.distortion` was run, or some of its cells.
    key
        The `key_added` of that run, or ``"umap"`` for a UMAP.
    at
        ``"cells"``; ``"grid"``: the nodes of a regular grid over the box around the cells, as
        far as there is a cell in the tile around them; or (m, d) positions on the map.
    side
        ``"decoder"``: the pullback metric G = AᵀHA. ``"encoder"``: the metric P = (BH⁻¹Bᵀ)⁻¹ that
        the encoder pushes forward, from the cells themselves, and at other positions from the
        decoded points.
    ambient
        Measure lengths of the representation by this metric H instead of that of the run, as in
        `scgeoae.tl.geoae`; ``"euclidean"`` for the identity.
    n_grid
        Nodes of the grid in each direction.

    Returns
    -------
    A named tuple of

    - ``coordinates`` : (m, d) float32
    - ``tensors`` : (m, d, d) float32, in squared units of the representation per squared unit of the map
    - ``scores`` : dictionary of ``CN``, ``VPres``, ``ISO`` (`scgeoae.geometry.distortion`)
        On a grid of the values between their 5% and 95% quantiles, as in the tables of Nazari,
        Damrich & Hamprecht 2023; else of all.

    Raises
    ------
    KeyError
        If there is no map under `key`, or its representation is needed and is not there.
    ValueError
        If an argument is out of its range, a grid is asked for on a map that is not
        two-dimensional, the model was damaged, or it was measured by a function and that is
        not given.

    See Also
    --------
    scgeoae.get.metric_tensors : The stored tensors.

    References
    ----------
    Nazari, Damrich & Hamprecht 2023, arXiv 2306.17638.

    Examples
    --------
    >>> import scanpy as sc, scgeoae as sg
    >>> adata = sc.datasets.pbmc68k_reduced()
    >>> sg.tl.geoae(adata)
    >>> field = sg.tl.metric(adata, at="grid")
    >>> field.scores["ISO"] < 0.1
    True
    """
    checked_side(side)
    key = map_key(adata, key)
    z, model = read_embedding(adata, key), read_model(adata, key)
    at_cells = isinstance(at, str) and at == "cells"
    if at_cells:
        coordinates = z
    elif isinstance(at, str) and at == "grid":
        coordinates = _grid(z, n_grid)
    else:
        coordinates = checked_positions(at, model.n_components, "at", or_else="'cells', 'grid' or ")
    from_cells = side == "encoder" and at_cells
    if ambient is not None or from_cells:
        # the covariance is that of all cells
        is_of_all = isinstance(ambient, str) and ambient == "mahalanobis"
        raw = read_representation(adata, key, whole=is_of_all).matrix
    if ambient is not None:
        model.ambient = choose_ambient(None if isinstance(ambient, str) and ambient == "euclidean" else ambient, raw)

    points = torch.from_numpy(np.ascontiguousarray(coordinates, dtype=np.float32))
    if from_cells:
        cells = (torch.from_numpy(block.astype(np.float32)) for _, block in blocks(raw))
        parts = [model.encoder_metric(part) for block in cells for part in block.split(4096)]
    else:
        parts = [model.metric_of(side, part) for part in points.split(4096)]
    tensors = torch.cat(parts)
    if bad := int((~tensors.isfinite()).flatten(1).any(1).sum()):
        msg = (
            f"{bad} of {len(tensors)} tensors of the {side} are beyond float32; give positions `at` that are nearer to "
            "the cells, or an `ambient` metric in which steps between cells are near to 1."
        )
        raise ValueError(msg)
    eigenvalues = torch.linalg.eigvalsh(tensors)
    if bad := int((eigenvalues[:, 0] < -1e-4 * eigenvalues[:, -1].abs()).sum()):
        msg = (
            f"{bad} of {len(tensors)} tensors of the {side} are not positive: the `ambient` metric is not positive "
            "definite there; give another."
        )
        raise ValueError(msg)
    measures = distortion(tensors, keep=KEEP if isinstance(at, str) and at == "grid" else 1.0)
    scores = {"CN": measures.cn, "VPres": measures.vpres, "ISO": measures.iso}
    return MetricField(points.numpy(), tensors.numpy(), scores)


def _grid(z: NDArray, n_grid: int) -> NDArray:
    if z.shape[1] != 2:
        msg = f"A grid is laid over maps of 2 dimensions, and this one has {z.shape[1]}; give positions with `at`."
        raise ValueError(msg)
    n_grid = checked_integer(n_grid, "n_grid", 2)
    low, high = z.min(0), z.max(0)
    step = np.maximum(high - low, np.finfo(np.float32).tiny) / (n_grid - 1)
    return low + step * np.unique(np.rint((z - low) / step), axis=0)
