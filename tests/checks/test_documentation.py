"""The page of the documentation lists what is tested."""

from __future__ import annotations

from pathlib import Path

import pytest

from .cases import AFTER, CASES

PAGE = Path(__file__).parents[2] / "docs" / "robustness.md"


@pytest.mark.skipif(not PAGE.is_file(), reason="a source distribution has no docs")
def test_every_case_is_listed():
    text = PAGE.read_text()
    assert [case for case in CASES | AFTER if case not in text] == []
