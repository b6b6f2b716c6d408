"""The Fisher metric of a space of counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def fisher_metric(log_mean: Tensor, dispersion: Tensor | float = 0.0) -> Tensor:
    r"""Return the Fisher metric of counts at x = log(1 + μ), a diagonal H as `Ambient` takes it, (n, D).

    The Fisher information about the mean μ of a negative binomial of dispersion α is the reciprocal of its variance,
    and in the coordinate x, dμ/dx = 1 + μ, so that

    .. math:: H_g = \frac{(1 + \mu_g)^2}{\mu_g + \alpha_g \mu_g^2}

    which measures a step by how well counts tell its two ends apart: twice the Kullback–Leibler divergence between
    them, to second order. Poisson is α = 0.

    Source: Palma et al. 2025, *Enforcing Latent Euclidean Geometry in Single-Cell VAEs* (FlatVI), arXiv 2507.11789.

    Parameters
    ----------
    log_mean
        (n, D) points x ≥ 0.
    dispersion
        α ≥ 0, the reciprocal of the inverse dispersion θ: a number, (D,) or (n, D).

    Examples
    --------
    >>> import torch
    >>> from scgeoae.geometry import fisher_metric
    >>> fisher_metric(torch.tensor([[3.0]]).log()).tolist()
    [[4.5]]
    """
    mean = log_mean.expm1()
    variance = mean + dispersion * mean.square()
    return (1 + mean).square() / variance.clamp(min=torch.finfo(mean.dtype).tiny ** 0.5)
