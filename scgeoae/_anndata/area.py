"""Areas relative to those of all cells of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ..geometry import relative_log_area
from .results import read_column, read_metric
from .slots import Slots

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData
    from torch import Tensor

    from .slots import Side


def relative_area(adata: AnnData, key: str, side: Side = "decoder") -> Callable[[Tensor], Tensor]:
    """Return what gives the relative log area of (n, d, d) metric tensors, as the columns of `obs` do."""
    reference = torch.from_numpy(read_metric(adata, key, side))
    # the mean that the column refers to is that of all cells of the run, of which these may be some
    column = read_column(adata, Slots(key, side).log_area, key)
    shift = float(np.median(column - relative_log_area(reference).numpy()))
    return lambda metric: relative_log_area(metric, reference=reference) + shift
