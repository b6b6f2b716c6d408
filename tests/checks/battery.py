"""Call each function with each case, before and after a map was made."""

from __future__ import annotations

import copy
import warnings
from functools import cache
from typing import TYPE_CHECKING

from .calls import ROLES, VARIANTS, call, good, made, placed, raw
from .cases import AFTER, CASES, PLAIN
from .judge import Outcome, judged
from .values import differences

if TYPE_CHECKING:
    from anndata import AnnData

    from .cases import Case

ORDERS = {"before": CASES, "after": CASES | AFTER}
"""Whether the data of a case are there before a map is made, or replace the data that it was made of."""
READERS = ("pl.", "get.")
SLOW = ("init_pos='isomap'", "sampling='gaussian'")
"""Variants that take seconds. They meet the first three telling cases only."""
TELLING = {
    "before": ("CSR matrix", "backed", "3 cells", "NaN in one cell", "scale 1e12", "names of cells twice"),
    "after": ("subset", "view in another order", "without uns geoae", "uns is 3", "NaN in the map", "backed"),
}
"""Cases that every function meets in the default suite: one for each kind of thing that goes wrong."""


def is_maker(role: str) -> bool:
    """Return whether a call reads data and no map."""
    makers = ("tl.geoae(", "tl.distortion(", "tl.adopt(", "tl.evaluate(", "tl.transform(adata_new)")
    return role.startswith(makers) and "basis=" not in role


def order_of(role: str) -> str:
    """Return the order that tells most: makers meet a case before there is a map, readers when it befalls the map."""
    return "before" if is_maker(role) else "after"


def cases_of(role: str) -> list[tuple[str, str]]:
    """Return every (order, case) that a call meets.

    A call with the default arguments meets both orders, a variant the one that tells most.
    """
    if any(option in role for option in SLOW):
        return [(order_of(role), case) for case in TELLING[order_of(role)][:3]]
    orders = ORDERS if role in ROLES else [order_of(role)]
    return [(order, case) for order in orders for case in ORDERS[order]]


def cross_section() -> dict[str, list[tuple[str, str]]]:
    """Return the cases of each call in the default suite.

    Every call meets the telling cases in the order that tells most. Each other case meets one call of that order, in
    turn: the first case the first call, the second case the second.
    """
    chosen = {
        role: [(order, case) for order, case in cases_of(role) if order == order_of(role) and case in TELLING[order]]
        for role in [*ROLES, *VARIANTS]
    }
    for order, cases in ORDERS.items():
        roles = [role for role in ROLES if order_of(role) == order]
        for i, case in enumerate(case for case in cases if case not in TELLING[order]):
            chosen[roles[i % len(roles)]].append((order, case))
    return chosen


def outcome(role: str, case: str, order: str) -> Outcome:
    """Call a function with a case, and return what came of it."""
    return outcome_of(role, prepared(ORDERS[order][case], order, with_map=not is_maker(role)))


@cache
def plain_outcome(role: str, change: Case | None, order: str) -> Outcome:
    """Return what comes of the same values in the plain form: a dense array, text, a copy in memory."""
    if change is None:
        # a map that was made of the plain data is the same in both orders
        order, change = order if is_maker(role) else "after", unchanged
    return outcome_of(role, prepared(change, order, with_map=not is_maker(role)))


def apart(role: str, case: str, order: str, found: Outcome) -> dict[str, float]:
    """Return where an outcome differs from that of the plain form, and how much."""
    expected = plain_outcome(role, PLAIN.get(case), order)
    assert expected.error is None, f"the plain form fails: {expected.error}"
    written = found.written | expected.written
    return differences(found.values(written), expected.values(written))


def unchanged(adata: AnnData) -> AnnData:
    return adata


def outcome_of(role: str, adata: AnnData) -> Outcome:
    name, which, options = (*ROLES[role], {}) if role in ROLES else (VARIANTS[role][0], "adata", VARIANTS[role][1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata = duplicate(adata)
        if role == "pl.transform(adata_new)":
            adata = placed(adata)
    return judged(lambda: call(name, adata, which, **options), adata, may_write=not name.startswith(READERS))


@cache
def prepared(change: Case, order: str, *, with_map: bool) -> AnnData:
    """Return the data of a case. Do not change: take a duplicate."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if order == "after":
            return change(duplicate(good()))
        return made(change(raw())) if with_map else change(raw())


def duplicate(adata: AnnData) -> AnnData:
    """Return a copy; of a view, and of what is on disk, one of the same kind."""
    if adata.isbacked:
        import anndata

        return anndata.read_h5ad(adata.filename, backed="r")
    if adata.is_view:
        return copy.deepcopy(adata._adata_ref)[adata._oidx, adata._vidx]
    copied = adata.copy()
    copied.uns = copy.deepcopy(adata.uns)
    return copied
