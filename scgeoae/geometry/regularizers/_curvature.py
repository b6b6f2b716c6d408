from __future__ import annotations

from typing import TYPE_CHECKING

from ..curvature import extrinsic_curvature

if TYPE_CHECKING:
    from torch import Tensor

    from ..jet import Jet


def curvature(jet: Jet) -> Tensor:
    r"""Penalize the turning of tangent planes: zero exactly where the decoder spans a flat plane.

    .. math:: L = \mathbb E_z \sum_a \|\partial_{e_a} T\|_F^2, \quad T = A G^{-1} A^\top

    It does not depend on the coordinates, so the map may stretch freely; combine it with another regularizer.

    Source: Lee & Park 2023, arXiv 2309.10237 (MECAE, MCAE); here without a stochastic trace.

    Parameters
    ----------
    jet
        Values and first and second derivatives of the decoder at n points.
    """
    return extrinsic_curvature(jet).mean()
