"""Napoleon for docstrings whose Returns sections are prose with definition lists, as Scanpy writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sphinx.ext.napoleon import NumpyDocstring

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def _returns(self: NumpyDocstring, section: str) -> list[str]:
    # Napoleon would take the first line for a type
    lines = self._format_block(":returns: ", self._dedent(self._consume_to_next_section()))
    return [*lines, ""] if lines and lines[-1] else lines


def _attribute(self: NumpyDocstring) -> tuple[str, list[str]]:
    # and what comes before a colon for the type of an attribute
    return "", self._dedent(self._consume_to_end())


def setup(app: Sphinx) -> dict[str, bool]:
    """Let Napoleon read them so."""
    NumpyDocstring._parse_returns_section = _returns  # noqa: SLF001
    NumpyDocstring._consume_inline_attribute = _attribute  # noqa: SLF001
    return {"parallel_read_safe": True}
