from __future__ import annotations

import inspect

import pytest

from .for_each import for_each


def test_every_case_runs_and_the_failure_names_those_that_failed():
    seen = []

    @for_each("base", [2, 3])
    @for_each("power, sign", [(1, 1), (2, -1)])
    def check(base, power, sign, fixture):
        seen.append((base, power, sign, fixture))
        assert sign > 0

    assert list(inspect.signature(check).parameters) == ["fixture"]
    with pytest.raises(AssertionError) as error:
        check(fixture="shared")
    assert seen == [(2, 1, 1, "shared"), (2, 2, -1, "shared"), (3, 1, 1, "shared"), (3, 2, -1, "shared")]
    notes = "\n".join(error.value.__notes__)
    assert "{'base': 2}" in notes
    assert "{'base': 3}" in notes
    assert "{'power': 2, 'sign': -1}" in notes
