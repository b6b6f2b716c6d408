"""The groups of cells that a column of `obs` names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._arguments import check_name
from .columns import obs_labels

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


def group_rows(adata: AnnData, groupby: str) -> dict[str, NDArray[np.intp]]:
    """Return the rows of each group of a column of `obs` that has cells, in the order of its categories.

    Raises
    ------
    KeyError
        If there is no such column.
    TypeError
        If it holds no labels.
    ValueError
        If no cell has a group, or two groups have one name.
    """
    check_name(groupby, "groupby", required=True)
    labels = obs_labels(adata, groupby)
    rows = {str(name): np.flatnonzero(labels.codes == i) for i, name in enumerate(labels.categories)}
    if len(rows) < len(labels.categories):
        msg = f"adata.obs[{groupby!r}] has labels that differ by their type alone, such as 1 and '1'; make them text."
        raise ValueError(msg)
    rows = {name: found for name, found in rows.items() if len(found)}
    if not rows:
        msg = f"No cell has a group in adata.obs[{groupby!r}]."
        raise ValueError(msg)
    return rows
