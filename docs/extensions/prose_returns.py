"""Returns sections that are prose with definition lists, as Scanpy writes them.

Napoleon would take their first line for a type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sphinx.ext.napoleon import NumpyDocstring

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def _returns(self: NumpyDocstring, section: str) -> list[str]:
    lines = self._format_block(":returns: ", self._dedent(self._consume_to_next_section()))
    return [*lines, ""] if lines and lines[-1] else lines


def setup(app: Sphinx) -> dict[str, bool]:
    """Let Napoleon read them so."""
    NumpyDocstring._parse_returns_section = _returns  # noqa: SLF001
    return {"parallel_read_safe": True}
