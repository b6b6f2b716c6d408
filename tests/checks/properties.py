"""What holds of a result that is not the same as that of the plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from .judge import Outcome
    from .values import Values


def sound(values: Values) -> None:
    """Check that metric tensors are symmetric and not negative, and that nothing returned is infinite."""
    for path, value in values.items():
        if value.dtype.kind == "f":
            assert not np.isinf(value).any(), f"{path} is infinite"
        if value.ndim == 3 and value.shape[1] == value.shape[2] and "metric" in path:
            scale = np.abs(value).max(axis=(1, 2), keepdims=True)
            assert np.allclose(value, value.swapaxes(1, 2), atol=1e-5 * scale), f"{path} is not symmetric"
            lowest = np.linalg.eigvalsh(value / np.where(scale > 0, scale, 1)).min()
            assert lowest > -1e-5, f"{path} has a negative eigenvalue"


PROPERTIES: dict[str, Callable[[str, str, str, Outcome], None]] = {}
