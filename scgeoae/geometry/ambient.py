"""The metric of the space that the data live in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def is_metric(h: Tensor, *, diagonal: bool) -> bool:
    """Return whether (..., D) diagonals, or (..., D, D) matrices, are symmetric, definite and have an inverse."""
    if not h.isfinite().all():
        return False
    if diagonal:
        return bool((h > 0).all())
    is_symmetric = torch.allclose(h, h.mT, rtol=1e-4, atol=1e-4 * float(h.abs().max()))
    is_definite = torch.linalg.cholesky_ex(h.double()).info.eq(0).all()
    # float32 may not tell the smallest eigenvalue from 0
    return bool(is_symmetric and is_definite and torch.linalg.inv_ex(h).info.eq(0).all())


class Ambient:
    r"""A metric H of the representation, which measures the squared length of a step v as vᵀHv.

    Parameters
    ----------
    tensor
        The diagonal of H, (D,), or H, (D, D), the same everywhere; or a function of (n, D)
        points that returns (n, D) diagonals or (n, D, D) matrices, differentiable by torch, of any
        type of real numbers.

    Examples
    --------
    >>> import torch
    >>> from scgeoae.geometry import Ambient
    >>> Ambient(torch.tensor([4.0, 1.0])).lower(torch.ones(1, 2, 1), torch.zeros(1, 2))[0, :, 0].tolist()
    [4.0, 1.0]
    """

    def __init__(self, tensor: Tensor | Callable[[Tensor], Tensor]) -> None:
        self.tensor = tensor

    @property
    def name(self) -> str | None:
        """What a function calls itself; None of a tensor."""
        if not callable(self.tensor):
            return None
        return getattr(self.tensor, "__qualname__", type(self.tensor).__name__)

    def at(self, x: Tensor) -> Tensor:
        """Return H at (n, D) points: diagonals (n or 1, D), or matrices (n or 1, D, D).

        Raises
        ------
        ValueError
            If a function returns something else.
        """
        if not callable(self.tensor):
            return self.tensor.to(x)[None]
        h = self.tensor(x)
        diagonal, full = tuple(x.shape), (*x.shape, x.shape[-1])
        is_real = isinstance(h, torch.Tensor) and h.layout == torch.strided and not h.is_complex()
        if not is_real or tuple(h.shape) not in (diagonal, full):
            found = f"{tuple(h.shape)}, {h.dtype}, {h.layout}" if isinstance(h, torch.Tensor) else type(h).__name__
            msg = (
                f"Expected `ambient(x)` for {len(x)} points to be a dense tensor of real numbers of shape {diagonal}, "
                f"a diagonal, or {full}, found {found}."
            )
            raise ValueError(msg)
        return h.to(x)

    def lower(self, vectors: Tensor, x: Tensor) -> Tensor:
        """Return H v for (n, D, m) vectors at (n, D) points."""
        h = self.at(x)
        return h[..., None] * vectors if h.ndim == 2 else h @ vectors

    def raise_(self, covectors: Tensor, x: Tensor) -> Tensor:
        """Return H⁻¹ w for (n, D, m) covectors at (n, D) points."""
        h = self.at(x)
        if h.ndim == 2:
            return covectors / h[..., None]
        try:
            return torch.linalg.solve(h, covectors)
        except torch.linalg.LinAlgError:
            # a function was tried at a few points only
            msg = "The `ambient` metric has no inverse at some point, or none in float32; give one that is definite."
            raise ValueError(msg) from None

    def mean(self, x: Tensor) -> float:
        """Return the mean diagonal entry of H over (n, D) points: its unit."""
        h = self.at(x)
        return float((h if h.ndim == 2 else h.diagonal(dim1=-2, dim2=-1)).mean())

    def divided_by(self, factor: float) -> Ambient:
        """Return H/factor."""
        return Ambient((lambda x: self.at(x) / factor) if callable(self.tensor) else self.tensor / factor)
