"""Columns of `obs`, wherever it is kept."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


def obs_column(adata: AnnData, name: str) -> pd.Series:
    """Return a column of `obs`, read into memory if it is lazy.

    Raises
    ------
    KeyError
        If there is none of this name.
    ValueError
        If there are several, of which none can be meant.
    """
    if name not in adata.obs:
        known = ", ".join(map(repr, adata.obs)) or "nothing"
        msg = f"Did not find {name!r} in adata.obs, which has {known}."
        raise KeyError(msg)
    obs = adata.obs if isinstance(adata.obs, pd.DataFrame) else adata.obs.to_memory()
    if isinstance(obs[name], pd.DataFrame):
        check_columns(adata, "obs")
    return obs[name]


def obs_numbers(adata: AnnData, name: str) -> NDArray[np.float64]:
    """Return the numbers in a column of `obs`, NaN where it holds none."""
    column = obs_column(adata, name)
    if not pd.api.types.is_numeric_dtype(column):
        return np.full(len(column), np.nan)
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def check_columns(adata: AnnData, attribute: str) -> None:
    """Say if several columns of `obs` or `var` have one name.

    Raises
    ------
    ValueError
        If so.
    """
    columns = getattr(adata, attribute).columns
    if not columns.is_unique:
        name, frame = columns[columns.duplicated()][0], f"adata.{attribute}"
        msg = (
            f"{frame} has {(columns == name).sum()} columns {name!r}; keep one of each name, as by "
            f"{frame} = {frame}.loc[:, ~{frame}.columns.duplicated()]."
        )
        raise ValueError(msg)


def obs_labels(adata: AnnData, name: str) -> pd.Categorical:
    """Return the labels in a column of `obs`.

    Raises
    ------
    TypeError
        If it holds what can be no label, such as lists.
    """
    column = obs_column(adata, name)
    try:
        return pd.Categorical(column)
    except TypeError:
        kind = next(type(value).__name__ for value in column if not isinstance(value, Hashable))
        msg = f"Expected adata.obs[{name!r}] to hold labels, found a {kind} among them."
        raise TypeError(msg) from None
