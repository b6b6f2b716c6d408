"""Read what an interactive view is given, as its page does."""

from __future__ import annotations

from typing import Any

import numpy as np


def arrays_of(manifest: dict[str, Any], buffer: bytes) -> dict[str, np.ndarray]:
    """Return all arrays in a buffer by name."""
    found = {}
    for name, entry in manifest["arrays"].items():
        assert entry["offset"] % 4 == 0
        count = int(np.prod(entry["shape"]))
        kind = np.dtype(entry["dtype"]).newbyteorder("<")
        found[name] = np.frombuffer(buffer, kind, count, entry["offset"]).reshape(entry["shape"])
    return found


def shown(view: Any) -> dict[str, Any]:
    """Return what a widget shows, in a form that can be compared."""
    manifest = {name: value for name, value in view._manifest.items() if name != "arrays"}
    return manifest | {"arrays": arrays_of(view._manifest, view._buffer)}
