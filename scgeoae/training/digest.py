from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def digest(values: NDArray) -> str:
    """Return 16 characters by which the values of an array are told from others.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.training import digest
    >>> digest(np.arange(3)) == digest(np.arange(3)[::-1])
    False
    """
    return blake2b(np.ascontiguousarray(values), digest_size=8).hexdigest()
