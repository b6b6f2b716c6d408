"""What holds of a result that is not the same as that of the plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from .judge import Outcome
    from .values import Values


def sound(values: Values) -> None:
    """Check that nothing is infinite, and that metric tensors are symmetric and not negative."""
    for path, value in values.items():
        if value.dtype.kind == "f":
            assert not np.isinf(value).any(), f"{path} is infinite"
        if value.ndim == 3 and value.shape[1] == value.shape[2] and "metric" in path:
            scale = np.abs(value).max(axis=(1, 2), keepdims=True)
            assert (np.abs(value - value.swapaxes(1, 2)) <= 1e-5 * scale).all(), f"{path} is not symmetric"
            lowest = np.linalg.eigvalsh(value / np.where(scale > 0, scale, 1)).min()
            assert lowest > -1e-5, f"{path} has a negative eigenvalue"


def scaled(factor: float) -> Callable[[Outcome, Outcome], None]:
    """Check that each number is that of the plain data times a power of the factor by which the data were multiplied.

    Distances, positions and decoded genes have the power 1, tensors of a map that was given and squared errors the
    power 2, scores and angles 0, curvatures -2. Weights of the networks are left out.
    """

    def check(found: Outcome, plain: Outcome) -> None:
        expected = plain.values(found.written | plain.written)
        for path, value in found.values(found.written | plain.written).items():
            if value.dtype.kind != "f" or path not in expected or any(name in path for name in LEFT_OUT):
                continue
            assert value.shape == expected[path].shape, f"{path} has another shape"
            size = np.abs(expected[path]).max(initial=0)
            fits = np.zeros(value.shape, dtype=bool)
            for power in (-2, -1, 0, 1, 2):
                apart = np.abs(value / factor**power - expected[path])
                fits |= np.isnan(value) | (apart <= 0.02 * size + 1e-4)
            assert fits.all(), f"{path}: {(~fits).sum()} of {fits.size} numbers are not scaled"

    return check


LEFT_OUT = ("'model'", "'history'", "'params'", "/colors", "/paths", "legend", "encoder.", "decoder.", "/noise")
PROPERTIES: dict[str, Callable[[Outcome, Outcome], None]] = {
    "scaled by 1e12": scaled(1e12),
    "scaled by 1e-12": scaled(1e-12),
    "scaled by 1e30": scaled(1e30),
    "scaled by 1e-30": scaled(1e-30),
}
