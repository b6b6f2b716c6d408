from __future__ import annotations

from typing import TYPE_CHECKING

from ..metric import trace

if TYPE_CHECKING:
    from torch import Tensor


def gradient_penalty(metric: Tensor) -> Tensor:
    r"""Return the mean squared Frobenius norm of the Jacobian, a baseline that keeps nothing.

    .. math:: L = \mathbb E_i \|A_i\|_F^2 = \mathbb E_i \operatorname{tr} G_i

    Source: Ghosh et al., ICLR 2020 (RAE-GP), as in the appendix of Gropp, Atzmon & Lipman 2020.

    Parameters
    ----------
    metric
        (n, m, m) metric tensors.
    """
    return trace(metric).mean()
