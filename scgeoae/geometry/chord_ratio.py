"""Distances across a surface, against those on the map."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

N_PAIRS = 20_000
# Of the pairs, between which the spread lies: that of a normal distribution within one standard deviation.
SHARE = 0.68


class ChordRatio(NamedTuple):
    """Distances on a map as multiples of those between the decoded points, over pairs of cells."""

    median: Tensor
    """() the median."""
    spread: Tensor
    """() half the width of the middle 68%, as a share of the median."""


@torch.no_grad()
def chord_ratio(z: Tensor, decode: Callable[[Tensor], Tensor]) -> ChordRatio:
    r"""Compare distances on a map with straight distances between what the decoder has there.

    The ratio of a pair of cells is :math:`\|z_i - z_j\| / \|D(z_i) - D(z_j)\|`. A decoder whose metric is the identity
    everywhere has a ratio of at least 1, and of 1 only where the surface is flat: a chord is shorter than any way along
    the surface.

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
