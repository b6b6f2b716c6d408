"""Arrays in one binary buffer, which a browser reads in place."""

from __future__ import annotations

from typing import Any

import numpy as np

DTYPES = {"float32", "float16", "uint8", "uint16", "uint32"}
# Typed arrays of a browser start at multiples of the size of their numbers.
ALIGNMENT = 4


class Buffer:
    """Arrays one behind the other, little endian in C order, and where each of them starts."""

    def __init__(self) -> None:
        self.entries: dict[str, dict[str, Any]] = {}
        """What a reader needs to know of each array: ``dtype``, ``shape`` and ``offset`` in bytes."""
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, name: str, values: Any, dtype: str | None = None) -> str:
        """Append an array, converted to `dtype` if given, and return its name."""
        array = np.asarray(values)
        kind = dtype or array.dtype.name
        assert kind in DTYPES, kind
        part = to_bytes(array.astype(kind, copy=False))
        self.entries[name] = {"dtype": kind, "shape": list(array.shape), "offset": self._size}
        padding = -len(part) % ALIGNMENT
        self._parts += [part, b"\0" * padding]
        self._size += len(part) + padding
        return name

    def to_bytes(self) -> bytes:
        """Return the buffer."""
        return b"".join(self._parts)


def to_bytes(array: np.ndarray) -> bytes:
    """Return the numbers of an array, little endian in C order."""
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
