"""Every function with every case: what comes of it is what `outcomes.txt` says."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pytest

from scgeoae.training import initialize

from .battery import ORDERS, apart, cases_of, cross_section, order_of, outcome, plain_outcome
from .calls import ROLES, VARIANTS
from .properties import PROPERTIES, sound
from .table import FILE, Table, agrees

ALL = [*ROLES, *VARIANTS]
TABLE = Table(FILE.read_text(), ALL, {order: list(cases) for order, cases in ORDERS.items()})
SAME = 1e-4
"""Relative difference up to which values are the same."""
CHOSEN = cross_section()
MET = [(role, order, case) for role in ALL for order, case in cases_of(role)]


@pytest.fixture(autouse=True)
def _short_warm_up(monkeypatch):
    """Bring networks to a layout in a few steps, as all other training in the battery."""
    monkeypatch.setattr(initialize, "N_WARM_UP_STEPS", 30)


def check(role: str, order: str, case: str) -> None:
    """Compare what comes of a call with its row of the table."""
    row = TABLE.decides[role, order, case]
    found = outcome(role, case, order)
    expected = row.expected
    if found.error is not None or (expected not in ("same", "works") and not expected.startswith("works: ")):
        assert found.error is not None, f"expected {expected!r}, but it works"
        assert agrees(expected, found.error), f"expected {expected!r}, found {found.error!r}"
        return
    sound(found.values())
    if expected == "same":
        differs = {path: value for path, value in apart(role, case, order, found).items() if value > SAME}
        assert not differs, f"not the same as of the plain form: {differs}"
    elif expected != "works":
        PROPERTIES[expected.removeprefix("works: ")](found, plain_outcome(role, None, order))


def check_all(role: str, pairs: list[tuple[str, str]]) -> None:
    failures = []
    for order, case in pairs:
        row = TABLE.decides[role, order, case]
        try:
            check(role, order, case)
        except AssertionError as error:
            if row.wrong_today is None:
                failures.append(f"{role} | {order} | {case} ({row}): {error}")
        else:
            if row.wrong_today is not None:
                failures.append(f"{role} | {order} | {case}: this works now; remove `today:` from {row}")
        plt.close("all")
    assert not failures, "\n\n".join(["", *failures])


@pytest.mark.parametrize("role", ALL)
def test_cross_section(role):
    check_all(role, CHOSEN[role])


@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("role", ALL)
def test_every_case(role, order):
    check_all(role, [pair for pair in cases_of(role) if pair[0] == order])


def test_every_function_has_rows():
    listed = {member for members in TABLE.groups.values() for member in members}
    new = [role for role in ROLES if not any(role.startswith(f"{member.partition('(')[0]}(") for member in listed)]
    assert not new, (
        f"new functions: {new}. Add each to a group at the top of {FILE}, call test_every_case with it, look at "
        "what comes of each case, and write down what should."
    )


def test_every_pair_has_a_row():
    missing = [f"{role} | {order} | {case}" for role, order, case in MET if (role, order, case) not in TABLE.decides]
    assert not missing, f"{len(missing)} have no row in {FILE}: {missing[:20]}"


def test_every_row_decides_something():
    used = {TABLE.decides[met] for met in MET if met in TABLE.decides}
    assert not [f"{row}: {row.cases}" for row in TABLE.rows if row not in used]


def test_the_cross_section_meets_every_case():
    met = {pair for pairs in CHOSEN.values() for pair in pairs}
    assert met == {(order, case) for order, cases in ORDERS.items() for case in cases}
    for role, pairs in CHOSEN.items():
        assert len(pairs) == len(set(pairs)) >= 3, role
        assert {order for order, _ in pairs} == {order_of(role)}
