from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch

from .._anndata.map import read_map
from .._anndata.results import named_scores
from .._anndata.slots import SIDES
from .._arguments import check_option, checked_integer, checked_positions
from .._matrix import blocks
from .._runtime import default_torch_modes
from ..geometry import distortion
from ..training.ambient import choose_ambient

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData
    from numpy.typing import ArrayLike, NDArray

    from .._anndata.slots import Side

# Share of the values on a grid that is scored, as in the tables of the papers.
KEEP = 0.9


class MetricField(NamedTuple):
    """Metric tensors at positions on a map, and scores of their distortion."""

    coordinates: NDArray[np.float32]
    """(m, d) positions on the map"""
    tensors: NDArray[np.float32]
    """(m, d, d) metric tensors"""
    scores: dict[str, float]
    """``CN``, ``VPres`` and ``ISO``; 0 is perfect"""


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
    r"""Evaluate the metric of a stored map at any position.

    A metric tensor says how long a small step on the map is in the data. The tensors at the cells are already stored;
    this function evaluates them elsewhere, or with another metric of the representation. `adata` is not changed.

    Parameters
    ----------
    adata
        Annotated data on which `scgeoae.tl.geoae` or `scgeoae.tl.distortion` was run, or a subset of its cells.
    key
        The `key_added` of that run, or ``"umap"`` for a UMAP.
    at
        ``"cells"``; ``"grid"``, the nodes of a regular grid that have a cell in the tile around them; or (m, d)
        positions on the map.
    side
        ``"decoder"``: the pullback metric G = AᵀHA, with A the Jacobian of the decoder and H the ambient metric.
        ``"encoder"``: the metric P = (BH⁻¹Bᵀ)⁻¹ that the encoder, with Jacobian B, pushes forward: from the cells
        themselves with ``at="cells"``, else from the decoded points.
    ambient
        Measure lengths in the representation with this metric H instead of the one that the run used. Takes the values
        of `ambient` in `scgeoae.tl.geoae`, and ``"euclidean"`` for the identity.
    n_grid
        Number of nodes of the grid in each direction.

    Returns
    -------
    A named tuple of

    - ``coordinates`` : (m, d) float32
    - ``tensors`` : (m, d, d) float32, in squared units of the representation per squared unit of the map
    - ``scores`` : dictionary of ``CN``, ``VPres``, ``ISO`` (`scgeoae.geometry.distortion`); 0 is perfect. On a grid,
      they use the values between the 5% and 95% quantiles, as in the tables of Nazari, Damrich & Hamprecht 2023.

    Raises
    ------
    KeyError
        If there is no map under `key`, or its representation is needed and does not exist.
    ValueError
        If an argument is out of range, a grid is requested for a map that is not two-dimensional, the model was
        damaged, or the run measured lengths with a function that is not given here.

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
    check_option(side, "side", SIDES)
    m = read_map(adata, key)
    z, model = m.positions, m.model
    at_cells = isinstance(at, str) and at == "cells"
    if at_cells:
        coordinates = z
    elif isinstance(at, str) and at == "grid":
        coordinates = _grid(z, n_grid)
    else:
        coordinates = checked_positions(at, model.n_components, "at", or_else="'cells', 'grid' or ")
    from_cells = side == "encoder" and at_cells
    if ambient is not None or from_cells:
        if isinstance(ambient, str) and ambient == "mahalanobis":
            # the covariance needs all cells of the map
            m.check_whole()
        raw = m.representation.matrix
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
    return MetricField(points.numpy(), tensors.numpy(), named_scores(measures))


def _grid(z: NDArray[Any], n_grid: int) -> NDArray[Any]:
    if z.shape[1] != 2:
        msg = f"A grid is laid over maps of 2 dimensions, and this one has {z.shape[1]}; give positions with `at`."
        raise ValueError(msg)
    n_grid = checked_integer(n_grid, "n_grid", 2)
    low, high = z.min(0), z.max(0)
    step = np.maximum(high - low, np.finfo(np.float32).tiny) / (n_grid - 1)
    return low + step * np.unique(np.rint((z - low) / step), axis=0)
