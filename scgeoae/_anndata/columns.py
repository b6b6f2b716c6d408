"""Columns of `obs`, wherever it is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from anndata import AnnData


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
        msg = f"Expected adata.obs[{name!r}] to hold labels, found a {type(column.iloc[0]).__name__} among them."
        raise TypeError(msg) from None
