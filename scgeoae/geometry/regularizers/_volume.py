from __future__ import annotations

from typing import TYPE_CHECKING

from ..metric import log_det

if TYPE_CHECKING:
    from torch import Tensor


def volume(metric: Tensor) -> Tensor:
    r"""Penalize uneven magnification, the variance of log det G: zero exactly if the map keeps relative areas.

    .. math:: L = \operatorname{Var}_i \log\det G_i

    Source: Nazari, Damrich & Hamprecht 2023, arXiv 2306.17638 (GeomAE).

    Parameters
    ----------
    metric
        (n, m, m) metric tensors; at least 64 of them, because the variance over a few points is noise.
    """
    return log_det(metric).var(correction=0)
