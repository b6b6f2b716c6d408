"""The view as one file, which opens from disk without a server, a network or Python."""

from __future__ import annotations

import base64
import gzip
import html
import json
from functools import cache
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, NoReturn

from ..._files import atomic_write

if TYPE_CHECKING:
    from .scene import Payload, Scene

HERE = Path(__file__).parent
BUNDLE = HERE / "static" / "interactive.js"
INSTALL = "pip install anywidget"


class Page:
    """An interactive view that can be written to a file, where anywidget is not installed to show it in a notebook."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def to_html(self, path: str | Path) -> None:
        """Write the view to one file. See `scgeoae.pl.interactive`."""
        write_page(path, self._scene)

    @property
    def selection(self) -> NoReturn:
        """Raise, because nothing can be selected here."""
        msg = f"Cells are selected in a notebook, which takes the package anywidget: run {INSTALL}."
        raise ImportError(msg)

    def __repr__(self) -> str:
        return f"<{self._scene.title}; to_html(path) writes a page, and {INSTALL} shows it in a notebook>"


def write_page(path: str | Path, scene: Scene) -> None:
    """Write a page with all that it needs."""
    with atomic_write(path) as scratch:
        scratch.write_text(page(scene.payload(kernel=False)), encoding="utf-8")


def page(payload: Payload) -> str:
    """Return the page as text."""
    # without a name and a time, the same view gives the same file
    compressed = gzip.compress(payload.buffer, compresslevel=6, mtime=0)
    return _template().substitute(
        title=html.escape(payload.manifest["title"]),
        manifest=_escaped_json(payload.manifest),
        buffer=base64.b64encode(compressed).decode("ascii"),
        bundle=_escaped_script(BUNDLE.read_text(encoding="utf-8")),
    )


@cache
def _template() -> Template:
    return Template((HERE / "page.html").read_text(encoding="utf-8"))


def _escaped_json(value: Any) -> str:
    """Return JSON in ASCII without any character that HTML reads as its own."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _escaped_script(text: str) -> str:
    """Return JavaScript in which nothing ends a script element. In its strings, an escaped / or ! means the same."""
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--")
