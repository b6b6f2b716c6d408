"""What the package promises whatever it is given: errors of its own, which say what is wrong."""

from __future__ import annotations

import linecache
import traceback
from pathlib import Path

import scgeoae as sg

ROOT = Path(sg.__file__).parent
KINDS = (KeyError, ValueError, TypeError, RuntimeError, FileNotFoundError)


def check_error(error: Exception) -> None:
    """Fail unless an error was raised by the package itself, with a message that names a slot or an argument."""
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    path = frame.f_code.co_filename
    assert type(error) in KINDS, f"a {type(error).__name__}: {error}"
    assert ROOT in Path(path).parents, f"raised in {path}:{line}, {type(error).__name__}: {error}"
    said = linecache.getline(path, line).strip()
    assert said.startswith("raise "), f"not raised but let through at {path}:{line}, {said!r}: {error}"
    (message,) = error.args
    assert isinstance(message, str), f"no message: {message!r}"
    assert len(message.split()) >= 5, f"no sentence: {message!r}"
    assert any(mark in message for mark in ("adata", "`", "'", "=", "cells")), f"names nothing: {message!r}"
    assert len(message) < 2000, f"a message of {len(message)} characters: {message[:200]!r}"
    assert message.replace("\n", " ").isprintable(), f"cannot be printed: {message[:200]!r}"
