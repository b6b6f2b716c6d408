"""How far an estimate from some cells may be from the value of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# disjoint groups of the sample, for what is no mean over cells
N_GROUPS = 10


def error_of_mean(values: NDArray[np.float64], n: int) -> float:
    r"""Return the standard error of a mean over m cells drawn from n, :math:`\mathrm{sd}/\sqrt m \cdot \sqrt{1-m/n}`.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality.standard_errors import error_of_mean
    >>> error_of_mean(np.array([1.0, 3.0]), 2)  # all cells were measured
    0.0
    """
    m = len(values)
    return 0.0 if m == n else float(values.std(ddof=1) * np.sqrt((1 - m / n) / m))


def error_of_groups(values: NDArray[np.float64], m: int, n: int) -> float:
    r"""Return the standard error of a measure of m cells drawn from n by the method of batch means.

    .. math:: \mathrm{sd}/\sqrt{g} \cdot \sqrt{1 - m/n}

    of the g values that the measure takes on disjoint random groups of m/g cells each. To first
    order a smooth measure is a mean over cells, so its variance goes as one over their number.

    Examples
    --------
    >>> import numpy as np
    >>> from scgeoae.quality.standard_errors import error_of_groups
    >>> round(error_of_groups(np.array([1.0, 2.0, 3.0, 4.0]), 100, 10_000), 3)
    0.642
    """
    return float(values.std(ddof=1) / np.sqrt(len(values)) * np.sqrt(1 - m / n))
