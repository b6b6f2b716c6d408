"""How far a map is from conformal, area-preserving and isometric."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch

from .metric import eigenvalues, log_det

if TYPE_CHECKING:
    from torch import Tensor


class Distortion(NamedTuple):
    """The three measures of a map; all invariant under G → αG."""

    cn: float
    vpres: float
    iso: float


def anisotropy(metric: Tensor) -> Tensor:
    """Return 1 − σ_min/σ_max of each tensor, (n,): 0 for circles, 1 for a collapsed direction."""
    sigma = eigenvalues(metric)
    largest = sigma[..., -1].clamp(min=torch.finfo(metric.dtype).tiny)
    return 1 - sigma[..., 0] / largest


def relative_log_area(metric: Tensor, *, reference: Tensor | None = None) -> Tensor:
    r"""Return log10 of the generalised Jacobian determinant relative to its mean, (n,).

    .. math:: \log_{10} \sqrt{\det G_i} - \log_{10} \frac1n \sum_j \sqrt{\det G_j}

    Parameters
    ----------
    metric
        (n, d, d) metric tensors.
    reference
        The tensors that the mean is taken over, `metric` itself unless given.
    """
    log_area = log_det(metric.double()) / 2
    log_reference = log_area if reference is None else log_det(reference.double()) / 2
    # through logsumexp, because the areas themselves can over- or underflow
    log_mean = torch.logsumexp(log_reference, 0) - math.log(len(log_reference))
    return ((log_area - log_mean) / math.log(10)).to(metric.dtype)


def distortion(metric: Tensor, *, keep: float = 1.0) -> Distortion:
    r"""Return the distortion measures of a batch of metric tensors.

    - CN = ``E |1 − σ_min/σ_max|``, 0 for a conformal map
    - VPres = Var log det G, 0 for a map that keeps relative areas
    - ISO = Var log σ over points and eigenvalues, 0 for a scaled isometry

    Source: Nazari, Damrich & Hamprecht 2023, arXiv 2306.17638.

    Parameters
    ----------
    metric
        (n, d, d) metric tensors; computed in float64 whatever their type.
    keep
        Share of the values, about their median, that count: with 0.9 those between the 5% and
        the 95% quantile, as in the papers' tables, where tensors at the rim of the data
        would decide alone.

    Examples
    --------
    >>> import torch
    >>> from scgeoae.geometry import distortion
    >>> distortion(torch.diag(torch.tensor([1.0, 4.0])).expand(100, 2, 2)).cn
    0.75
    """
    metric = metric.double()
    sigma = eigenvalues(metric)
    floor = sigma[..., -1:] * 1e-12 + torch.finfo(metric.dtype).tiny
    return Distortion(
        cn=float(_middle(anisotropy(metric), keep).mean()),
        vpres=float(_middle(log_det(metric, floor=1e-12), keep).var(correction=0)),
        iso=float(_middle(sigma.clamp(min=floor).log().flatten(), keep).var(correction=0)),
    )


def _middle(values: Tensor, keep: float) -> Tensor:
    cut = int(len(values) * (1 - keep) / 2)
    return values.sort().values[cut : len(values) - cut]
