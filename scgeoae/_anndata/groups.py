"""The groups of cells that a column of `obs` names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .._arguments import check_name

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


def group_rows(adata: AnnData, groupby: str) -> dict[str, NDArray[np.intp]]:
    """Return the rows of each group of a column of `obs` that has cells, in the order of its categories.

    Raises
    ------
    KeyError
        If there is no such column.
    ValueError
        If no cell has a group.
    """
    check_name(groupby, "groupby")
    if groupby not in adata.obs:
        msg = f"Did not find {groupby!r} in adata.obs, which has {', '.join(map(repr, adata.obs)) or 'nothing'}."
        raise KeyError(msg)
    column = adata.obs[groupby]
    if not isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype("category")
    codes = column.cat.codes.to_numpy()
    rows = {str(name): np.flatnonzero(codes == i) for i, name in enumerate(column.cat.categories)}
    rows = {name: found for name, found in rows.items() if len(found)}
    if not rows:
        msg = f"No cell has a group in adata.obs[{groupby!r}]."
        raise ValueError(msg)
    return rows
