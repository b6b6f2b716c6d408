"""Each function, with each case, before and after a map was made."""

from __future__ import annotations

import copy
import warnings
from functools import cache
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from .calls import MAKERS, ROLES, VARIANTS, call, good, made, placed, raw
from .cases import AFTER, CASES, FORMS
from .judge import judged

if TYPE_CHECKING:
    from anndata import AnnData

ORDERS = {"before": CASES, "after": CASES | AFTER}
READERS = ("pl.", "get.")


def in_default_suite(role: str, case: str, order: str) -> bool:
    """Where a case tells most; the other pairs are slow.

    What makes a map meets it before there is one, what reads a map when it befalls one that was made. The forms of maps
    and tensors are read by one function.
    """
    if role in VARIANTS:
        return False
    if case in FORMS:
        return role == "pl.indicatrices(adata)"
    if role in {f"{maker}(adata)" for maker in MAKERS}:
        return order == "before"
    return case in AFTER


def pairs(*floors: str) -> list[Any]:
    """Return (function and role, case, whether the case comes before or after the map was made)."""
    return [
        pytest.param(role, case, order, marks=[] if in_default_suite(role, case, order) else pytest.mark.slow)
        for order, cases in ORDERS.items()
        for case in cases
        for role in [*ROLES, *VARIANTS]
        if role.split(".")[0] in floors
    ]


def check(role: str, case: str, order: str) -> str:
    """Call a function with a case, and return what came of it."""
    name, which, options = (*ROLES[role], {}) if role in ROLES else (VARIANTS[role][0], "adata", VARIANTS[role][1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata = duplicate(prepared(case, order))
        if role == "pl.transform(adata_new)":
            adata = placed(adata)
    return judged(lambda: call(name, adata, which, **options), adata, may_write=not name.startswith(READERS))


@cache
def prepared(case: str, order: str) -> AnnData:
    """Return the data of a case. Do not change: take a duplicate."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if order == "before":
            return made(CASES[case](raw()))
        return ORDERS[order][case](duplicate(good()))


def duplicate(adata: AnnData) -> AnnData:
    """Return a copy; of a view, and of what is on disk, one of the same kind."""
    if adata.isbacked:
        import anndata

        return anndata.read_h5ad(adata.filename, backed="r")
    if not isinstance(adata.obs, pd.DataFrame):
        return adata  # a lazy one is written into by nobody
    if adata.is_view:
        return copy.deepcopy(adata._adata_ref)[adata._oidx, adata._vidx]
    copied = adata.copy()
    copied.uns = copy.deepcopy(adata.uns)
    return copied
