"""A map and its derivatives at some points."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class Jet(NamedTuple):
    """Values and derivatives of a map from d to D dimensions at n points."""

    values: Tensor
    """(n, D)"""
    first: Tensor
    """(n, D, d): ``first[i, :, a]`` is the derivative along coordinate a."""
    second: Tensor | None = None
    """(n, D, d, d), symmetric in its last two axes."""
