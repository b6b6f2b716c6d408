"""Check that an AnnData still has the data that a map was made from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from .._matrix import blocks, digest_of_rows
from .units import statistics_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from ..nn import Autoencoder
    from ..nn.genes import Genes
    from .params import Params
    from .representation import Representation

# Up to this number of cells, training uses all of them in order, so their digest can be computed again.
MAX_DIGESTED = 100_000
# Tolerance for the error of a cell: a share of the stored error, plus a share of the mean square of the data.
MAX_DEVIATION, MAX_NOISE = 1e-3, 1e-5
# Largest distance between the encoding and the position of a cell, as a share of the size of the map. The second is for
# the median over the cells, if the encoder does not determine the positions.
MAX_STRAY, MAX_MEDIAN_STRAY = 0.01, 0.1


def is_unchanged(found: Representation, params: Params) -> bool:
    """Return whether a representation has the digest of the one that was trained on."""
    return found.matrix.shape[0] <= MAX_DIGESTED and digest_of_rows(found.matrix) == params.get("data")


def check_cells(
    found: Representation,
    model: Autoencoder,
    positions: Tensor,
    *,
    error: NDArray[np.float64] | None,
    is_approximate: bool,
    cells: Sequence[str],
    name: str,
) -> None:
    """Raise if the model does not reconstruct each cell with its stored error.

    Parameters
    ----------
    positions
        (n, d) on the map.
    error
        (n,) stored errors. If they are gone (None), the positions are compared with those of the encoder.
    is_approximate
        Whether the encoder places cells only near their positions.
    cells, name
        Names of the cells and of the map, for the error message.
    """
    now, stray, square = (np.empty(len(positions)) for _ in range(3))
    # values may be anything by now, also too large for float32
    with torch.no_grad(), np.errstate(over="ignore", invalid="ignore"):
        for start, block in blocks(found.matrix):
            x, at = torch.from_numpy(block.astype(np.float32)), positions[start : start + len(block)]
            rows = slice(start, start + len(block))
            now[rows] = (model.decode(at) - x).square().sum(1)
            square[rows] = (x - model.center).square().sum(1)
            if error is None:
                stray[rows] = torch.linalg.vector_norm(model.encode(x) - at, dim=1)
    if error is not None:
        deviation, is_finite = np.abs(now - error), np.isfinite(square)
        tolerance = MAX_DEVIATION * error + MAX_NOISE * square[is_finite].sum() / max(np.count_nonzero(is_finite), 1)
        is_other = ~(np.isfinite(deviation) & (deviation <= tolerance))
    else:
        size = np.ptp(positions.numpy(), 0).max() or np.inf
        is_far = np.median(stray) > MAX_MEDIAN_STRAY * size if is_approximate else stray > MAX_STRAY * size
        is_other = ~np.isfinite(stray) | is_far
    if n_other := np.count_nonzero(is_other):
        msg = (
            f"{found.name} is no longer what {name} was made of: {n_other} of {len(positions)} cells, such as "
            f"{cells[int(is_other.argmax())]!r}, have other values in it or have moved on the map. Restore it, or make "
            "the map again."
        )
        raise ValueError(msg)


def check_counts(found: Representation, genes: Genes, name: str, *, whole: bool) -> None:
    """Raise if counts exceed the known range of those of the map or, for the `whole` map, differ in the mean."""
    if genes.statistics is None:
        return
    then, now = genes.statistics, statistics_of(found.matrix)
    tolerance = MAX_DEVIATION * then.std + MAX_NOISE
    is_other = ~(now.high <= then.high + tolerance)
    if whole:
        is_other |= ~(np.abs(now.mean - then.mean) <= tolerance)
    if is_other.any():
        msg = (
            f"{found.name} is no longer what {name} was made of: {np.count_nonzero(is_other)} genes, such as "
            f"{str(genes.names[int(is_other.argmax())])!r}, have other counts. Restore them, or make the map again."
        )
        raise ValueError(msg)
