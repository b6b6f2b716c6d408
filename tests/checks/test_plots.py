"""Every plot, with every case."""

from __future__ import annotations

import pytest

from .battery import check, pairs


@pytest.mark.parametrize(("role", "case", "order"), pairs("pl"))
def test_pair(role, case, order):
    check(role, case, order)
