"""The chart of a map: its unit of length, its origin and its orientation."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from .metric import trace

if TYPE_CHECKING:
    from torch import Tensor


class Chart(NamedTuple):
    """A similarity z ↦ unit · (z − origin) R from latent space to the map."""

    unit: Tensor
    """() length on the map of one unit of latent space."""
    origin: Tensor
    """(d,) latent point at 0 of the map."""
    rotation: Tensor
    """(d, d) orthogonal, possibly with a reflection."""


def procrustes(z: Tensor, target: Tensor) -> Tensor:
    r"""Return the orthogonal R, (d, d), that minimizes :math:`\|(z - \bar z) R - (t - \bar t)\|_F`, in float64.

    It includes reflections, since a map has no handedness (Schönemann 1966).
    """
    z, target = z.double(), target.double()
    u, _, vh = torch.linalg.svd((z - z.mean(0)).T @ (target - target.mean(0)))
    return u @ vh


def fit_chart(z: Tensor, metric: Tensor, target: Tensor) -> Chart:
    r"""Return the chart that gives a map the units of the data and the orientation of `target`.

    Lengths are scaled so that the mean of tr G/d is 1: on average, one unit on the map is one unit of the data.
    `procrustes` gives the orientation.

    Parameters
    ----------
    z
        (n, d) latent coordinates.
    metric
        (n, d, d) metric tensors at `z`, in units of the data per unit of latent space.
    target
        (n, d) coordinates to align with, for example principal components.
    """
    d = z.shape[1]
    unit = (trace(metric.double()).mean() / d).sqrt()
    return Chart(unit, z.double().mean(0), procrustes(z, target))
