"""The seed that a `random_state` stands for."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING

from sklearn.utils import check_random_state

if TYPE_CHECKING:
    import numpy as np


def seed_of(random_state: int | np.random.RandomState | None) -> int:
    """Return an integer seed, drawn from a generator or from None."""
    if isinstance(random_state, Integral) and 0 <= random_state < 2**32:
        return int(random_state)
    try:
        return int(check_random_state(random_state).randint(2**31 - 1))
    except ValueError:
        msg = (
            "Expected `random_state` to be an integer from 0 to 2³² − 1, a numpy.random.RandomState or None, "
            f"found {random_state!r}."
        )
        raise ValueError(msg) from None
