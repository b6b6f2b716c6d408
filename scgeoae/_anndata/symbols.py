"""Genes by the names in a column of `var`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._arguments import check_adata, check_name, checked_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData


def find_genes(adata: AnnData, genes: str | Sequence[str], gene_symbols: str | None) -> list[str]:
    """Return the names in `var_names` of genes that are named as in the column `gene_symbols`, as Scanpy does.

    Of several with one symbol the first.

    Raises
    ------
    KeyError
        If there is no such column or gene.
    """
    check_adata(adata)
    genes = checked_names(genes, "genes")
    if gene_symbols is None:
        return genes
    names = _column(adata, gene_symbols)
    first = names[~names.duplicated()]
    by_symbol = dict(zip(first, first.index, strict=True))
    if missing := [gene for gene in genes if gene not in by_symbol]:
        msg = f"Did not find {', '.join(map(repr, missing[:5]))} in adata.var[{gene_symbols!r}]."
        raise KeyError(msg)
    return [by_symbol[gene] for gene in genes]


def shown_names(adata: AnnData, genes: Sequence[str], gene_symbols: str | None) -> list[str]:
    """Return how genes of `var_names` are called in the column `gene_symbols`."""
    if gene_symbols is None:
        return list(genes)
    symbols = _column(adata, gene_symbols)
    # genes that the map knows may be gone
    return [symbols[gene] if gene in symbols.index else gene for gene in genes]


def _column(adata: AnnData, gene_symbols: str) -> pd.Series:
    check_name(gene_symbols, "gene_symbols")
    if gene_symbols not in adata.var:
        known = ", ".join(map(repr, adata.var)) or "nothing"
        msg = f"Did not find {gene_symbols!r} in adata.var, which has {known}."
        raise KeyError(msg)
    return adata.var[gene_symbols].astype(str)
