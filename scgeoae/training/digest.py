from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from .blocks import blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray


def digest(values: NDArray) -> str:
    """Return 16 characters by which the values of an array are told from others.

    Examples
    --------
    >>> import numpy as np

    from .blocks import blocks
    >>> from scgeoae.training import digest
    >>> digest(np.arange(3)) == digest(np.arange(3)[::-1])
    False
    """
    return blake2b(np.ascontiguousarray(values), digest_size=8).hexdigest()


def digest_of_rows(matrix: Any) -> str:
    """Return the digest of a matrix of which there are `blocks`, as float32, which is never dense as a whole."""
    found = blake2b(digest_size=8)
    for _, block in blocks(matrix):
        found.update(np.ascontiguousarray(block, dtype=np.float32))
    return found.hexdigest()
