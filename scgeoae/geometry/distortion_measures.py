"""How far a map is from conformal, area-preserving and isometric, at each cell and over all."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch

from .metric import eigenvalues, log_det

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

N_PAIRS = 20_000
# Share of the pairs within the spread, as in a normal distribution within one standard deviation.
SHARE = 0.68


class Distortion(NamedTuple):
    """How far a map is from conformal, area-preserving and isometric, whatever its scale (G → αG)."""

    cn: float
    vpres: float
    iso: float


def anisotropy(metric: Tensor) -> Tensor:
    """Return how elongated each ellipse is, 1 − σ_min/σ_max, (n,): 0 for circles, 1 for a collapsed direction."""
    sigma = eigenvalues(metric)
    largest = sigma[..., -1].clamp(min=torch.finfo(metric.dtype).tiny)
    return 1 - sigma[..., 0] / largest


def log_area(metric: Tensor) -> Tensor:
    """Return log10 of the area element, in float64, (n,)."""
    return log_det(metric.double()) / (2 * math.log(10))


def relative_log_area(metric: Tensor, *, reference: Tensor | None = None) -> Tensor:
    r"""Return how much each place is magnified: log10 of the area element relative to its mean, (n,).

    .. math:: \log_{10} \sqrt{\det G_i} - \log_{10} \frac1n \sum_j \sqrt{\det G_j}

    Parameters
    ----------
    metric
        (n, d, d) metric tensors.
    reference
        Tensors over which the mean is taken; `metric` by default.
    """
    area = log_area(metric)
    of_reference = area if reference is None else log_area(reference)
    # through logsumexp, because areas can overflow or underflow
    log_mean = torch.logsumexp(of_reference * math.log(10), 0) - math.log(len(of_reference))
    return (area - log_mean / math.log(10)).to(metric.dtype)


def distortion(metric: Tensor, *, keep: float = 1.0) -> Distortion:
    r"""Return the distortion of a map from a batch of its metric tensors.

    - CN = ``E |1 − σ_min/σ_max|``, 0 for a conformal map
    - VPres = Var log det G, 0 for an area-preserving map
    - ISO = Var log σ over points and eigenvalues, 0 for a scaled isometry

    Source: Nazari, Damrich & Hamprecht 2023, arXiv 2306.17638.

    Parameters
    ----------
    metric
        (n, d, d) metric tensors of any type; the computation is in float64.
    keep
        Share of the values around their median to use. 0.9 means those between the 5% and the 95% quantile, as in the
        papers' tables, where tensors at the rim of the data would otherwise dominate.

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
    if not cut:
        return values
    return values.sort().values[cut : len(values) - cut]


def indicatrix_axes(metric: Tensor) -> Tensor:
    r"""Return the semi-axes of Tissot's indicatrices, the images of small circles of the data on the map, (n, d, d).

    The ellipses are :math:`\{v : v^\top G v = 1\}`. ``axes[i, :, a]`` is the a-th semi-axis at point i, a vector of
    length σ_a^{-1/2} along the a-th eigenvector of G, longest first. A collapsed direction (σ = 0) gives an axis 10⁶
    times as long as the shortest one instead of an infinite one.
    """
    sigma, vectors = torch.linalg.eigh(metric)
    largest = sigma[..., -1:].clamp(min=torch.finfo(metric.dtype).tiny)
    return vectors * torch.maximum(sigma, largest * 1e-12).rsqrt()[..., None, :]


class ChordRatio(NamedTuple):
    """Distances on a map divided by the distances between the decoded points, over pairs of cells."""

    median: Tensor
    """()"""
    spread: Tensor
    """() half the width of the middle 68%, as a share of the median."""


@torch.no_grad()
def chord_ratio(z: Tensor, decode: Callable[[Tensor], Tensor]) -> ChordRatio:
    r"""Compare distances on a map with straight distances between the decoded points.

    The ratio of a pair of cells is :math:`\|z_i - z_j\| / \|D(z_i) - D(z_j)\|`. If the metric of the decoder is the
    identity everywhere, all ratios are at least 1, and they are 1 only where the surface is flat, because a chord is
    shorter than any path along the surface.

    Parameters
    ----------
    z
        (n, d) positions.
    decode
        Maps (m, d) positions to (m, D) points.

    Examples
    --------
    >>> import torch
    >>> from scgeoae.geometry import chord_ratio
    >>> z = torch.rand(100, 2)
    >>> found = chord_ratio(z, lambda z: 2 * z)
    >>> found.median.item(), found.spread.item()
    (0.5, 0.0)
    """
    generator = torch.Generator().manual_seed(0)
    pairs = torch.randint(len(z), (2, N_PAIRS), generator=generator)
    on_map = (z[pairs[0]] - z[pairs[1]]).norm(dim=1)
    # each cell is decoded once, however many pairs it is in
    cells, where = pairs.unique(return_inverse=True)
    decoded = decode(z[cells])
    across = (decoded[where[0]] - decoded[where[1]]).norm(dim=1)
    apart = (on_map > 0) & (across > 0)
    if not apart.any():
        return ChordRatio(z.new_ones(()), z.new_zeros(()))
    ratios = (on_map[apart] / across[apart]).double()
    low, median, high = ratios.quantile(ratios.new_tensor([(1 - SHARE) / 2, 0.5, (1 + SHARE) / 2]))
    return ChordRatio(median, (high - low) / (2 * median))
