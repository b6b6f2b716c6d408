"""The seed that a `random_state` stands for."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING

from sklearn.utils import check_random_state

if TYPE_CHECKING:
    import numpy as np


def seed_of(random_state: int | np.random.RandomState | None) -> int:
    """Return an integer seed, drawn from a generator or from None."""
    if isinstance(random_state, Integral):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))
