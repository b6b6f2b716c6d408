from __future__ import annotations

from typing import TYPE_CHECKING

from ..metric import trace

if TYPE_CHECKING:
    from torch import Tensor


def gradient_penalty(metric: Tensor) -> Tensor:
    r"""Penalize large derivatives, the mean squared Frobenius norm of the Jacobian: a baseline that keeps nothing.

    .. math:: L = \mathbb E_i \|A_i\|_F^2 = \mathbb E_i \operatorname{tr} G_i

    On the decoder it is the gradient penalty of Ghosh et al., ICLR 2020 (RAE-GP); on the encoder,
    :math:`\mathbb E_i \|B_i\|_F^2`, it is the contractive loss of Rifai et al., ICML 2011 (CAE). Both are as in the
    appendix of Gropp, Atzmon & Lipman 2020.

    Parameters
    ----------
    metric
        (n, m, m) metric tensors G = AᵀA of the decoder or M = BBᵀ of the encoder.
    """
    return trace(metric).mean()
