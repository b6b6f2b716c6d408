"""Every function that computes or reads, with every case."""

from __future__ import annotations

import pytest

from .battery import check, pairs


@pytest.mark.parametrize(("role", "case", "order"), pairs("tl", "get"))
def test_pair(role, case, order):
    check(role, case, order)
