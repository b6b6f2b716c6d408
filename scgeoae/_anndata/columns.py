"""Columns of `obs` and `var`: numbers, labels, groups of cells, and gene symbols."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .._arguments import check_found, check_name, checked_names
from .._matrix import loaded

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

# Groups that an error message lists.
N_LISTED = 40


def is_lazy(adata: AnnData) -> bool:
    """Whether an AnnData was read lazily, so that `obs` and `var` are no data frames in memory."""
    return not isinstance(adata.obs, pd.DataFrame)


def entry_in_memory(value: Any) -> Any:
    """Return an entry of `uns` with all that was read lazily in memory: data frames and arrays, in dictionaries too."""
    value = loaded(value)
    return {name: entry_in_memory(entry) for name, entry in value.items()} if isinstance(value, Mapping) else value


def obs_column(adata: AnnData, name: str) -> pd.Series:
    """Return a column of `obs`, which is read alone if it is lazy, or raise if there is none or more than one."""
    check_found(name, adata.obs, "adata.obs")
    obs = adata.obs[[name]].to_memory() if is_lazy(adata) else adata.obs
    if isinstance(obs[name], pd.DataFrame):
        msg = (
            f"adata.obs has {(obs.columns == name).sum()} columns {name!r}; keep one of each name, as by "
            "adata.obs = adata.obs.loc[:, ~adata.obs.columns.duplicated()]."
        )
        raise ValueError(msg)  # noqa: TRY004
    return obs[name]


def obs_numbers(adata: AnnData, name: str) -> NDArray[np.float64]:
    """Return a column of `obs` as numbers, all NaN if it is not numeric."""
    column = obs_column(adata, name)
    if not pd.api.types.is_numeric_dtype(column):
        return np.full(len(column), np.nan)
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def obs_labels(adata: AnnData, name: str) -> pd.Categorical:
    """Return a column of `obs` as labels, or raise if it holds values that cannot be labels, such as lists."""
    column = obs_column(adata, name)
    try:
        return pd.Categorical(column)
    except TypeError:
        kind = next(type(value).__name__ for value in column if not isinstance(value, Hashable))
        msg = f"Expected adata.obs[{name!r}] to hold labels, found a {kind} among them."
        raise TypeError(msg) from None


@dataclass(frozen=True)
class Groups:
    """The nonempty groups of a column of `obs`, in the order of its categories."""

    column: str
    rows: dict[str, NDArray[np.intp]]
    """Rows of the cells in each group, by its name. The name is the label as text."""
    names: dict[Any, str]
    """Name of each group, by its label in the column, which may be a number."""

    def find(self, label: Any) -> str | None:
        """Return the name of a group, given by its label as in the column or as text, or None."""
        if not np.isscalar(label):
            return None
        return self.names.get(label, str(label) if str(label) in self.rows else None)

    def name(self, label: Any) -> str:
        """Return the name of a group, given by its label, or raise an error that lists the groups."""
        found = self.find(label)
        if found is None:
            msg = f"Did not find {label!r} in adata.obs[{self.column!r}], whose groups are {self.listed}."
            raise KeyError(msg)
        return found

    @property
    def listed(self) -> str:
        """The names for an error message, the first of them if there are many, as in a column of measurements."""
        names = list(map(repr, self.rows))
        more = [f"and {len(names) - N_LISTED} more"] if len(names) > N_LISTED else []
        return ", ".join(names[:N_LISTED] + more)


def read_groups(adata: AnnData, groupby: str) -> Groups:
    """Return the groups of cells in a column of `obs`, or raise if there are none or two have the same name as text."""
    check_name(groupby, "groupby", required=True)
    labels = obs_labels(adata, groupby)
    names = {label: str(label) for label in labels.categories}
    if len(set(names.values())) < len(labels.categories):
        msg = f"adata.obs[{groupby!r}] has labels that differ by their type alone, such as 1 and '1'; make them text."
        raise ValueError(msg)
    found = {name: np.flatnonzero(labels.codes == i) for i, name in enumerate(names.values())}
    rows = {name: cells for name, cells in found.items() if len(cells)}
    if not rows:
        msg = f"No cell has a group in adata.obs[{groupby!r}]."
        raise ValueError(msg)
    return Groups(groupby, rows, {label: name for label, name in names.items() if name in rows})


def find_genes(adata: AnnData, genes: str | Sequence[str], gene_symbols: str | None) -> list[str]:
    """Return the `var_names` of genes that are given by the names in the column `gene_symbols` of `var`, as in Scanpy.

    If several genes share a symbol, the first one is used.
    """
    genes = checked_names(genes, "genes")
    if gene_symbols is None:
        return genes
    names = _symbols(adata, gene_symbols)
    first = names[~names.duplicated()]
    by_symbol = dict(zip(first, first.index, strict=True))
    if missing := [gene for gene in genes if gene not in by_symbol]:
        msg = f"Did not find {', '.join(map(repr, missing[:5]))} in adata.var[{gene_symbols!r}]."
        raise KeyError(msg)
    return [by_symbol[gene] for gene in genes]


def shown_names(adata: AnnData, genes: Iterable[str], gene_symbols: str | None) -> list[str]:
    """Return the names to show for genes of `var_names`: those in the column `gene_symbols`, if given."""
    if gene_symbols is None:
        return list(genes)
    symbols = _symbols(adata, gene_symbols)
    # `var` may no longer have a gene that the map knows
    return [symbols[gene] if gene in symbols.index else gene for gene in genes]


def _symbols(adata: AnnData, gene_symbols: str) -> pd.Series:
    check_name(gene_symbols, "gene_symbols")
    check_found(gene_symbols, adata.var, "adata.var")
    return adata.var[gene_symbols].astype(str)
