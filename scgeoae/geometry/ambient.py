"""Ambient metrics: how lengths are measured in the representation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


def is_metric(h: Tensor, *, diagonal: bool) -> bool:
    """Return whether (..., D) diagonals or (..., D, D) matrices are symmetric, positive definite and invertible."""
    if not h.isfinite().all():
        return False
    if diagonal:
        return bool((h > 0).all())
    is_symmetric = torch.allclose(h, h.mT, rtol=1e-4, atol=1e-4 * float(h.abs().max()))
    is_definite = torch.linalg.cholesky_ex(h.double()).info.eq(0).all()
    # in float32 the smallest eigenvalue may be 0
    return bool(is_symmetric and is_definite and torch.linalg.inv_ex(h).info.eq(0).all())


class Ambient:
    r"""A metric H of the representation: the squared length of a step v is vᵀHv.

    Parameters
    ----------
    tensor
        H, (D, D), or its diagonal, (D,), if it is the same everywhere; otherwise a function of (n, D) points that
        returns (n, D, D) matrices or (n, D) diagonals of any real type, differentiable by torch.

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
        """The name of a function, None for a tensor."""
        if isinstance(self.tensor, torch.Tensor):
            return None
        return getattr(self.tensor, "__qualname__", type(self.tensor).__name__)

    def at(self, x: Tensor) -> Tensor:
        """Return H at (n, D) points: diagonals (n or 1, D), or matrices (n or 1, D, D).

        Raises
        ------
        ValueError
            If a function returns anything else.
        """
        if isinstance(self.tensor, torch.Tensor):
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
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # documented, but not annotated
            # a function is checked beforehand at a few points only
            msg = "The `ambient` metric has no inverse at some point, or none in float32; give one that is definite."
            raise ValueError(msg) from None

    def mean(self, x: Tensor) -> float:
        """Return the mean diagonal entry of H over (n, D) points, which is its unit."""
        h = self.at(x)
        return float((h if h.ndim == 2 else h.diagonal(dim1=-2, dim2=-1)).mean())

    def on(self, device: torch.device) -> Ambient:
        """Return H with its tensor on a device, where `at` need not copy it each time."""
        return Ambient(self.tensor.to(device)) if isinstance(self.tensor, torch.Tensor) else self

    def divided_by(self, factor: float) -> Ambient:
        """Return H/factor."""
        if isinstance(self.tensor, torch.Tensor):
            return Ambient(self.tensor / factor)
        return Ambient(lambda x: self.at(x) / factor)


def fisher_metric(log_mean: Tensor, dispersion: Tensor | float = 0.0) -> Tensor:
    r"""Return the metric that measures how well counts tell two cells apart: their Fisher metric, (n, D).

    It is the diagonal H at x = log(1 + μ), as `Ambient` takes it.

    The Fisher information about the mean μ of a negative binomial of dispersion α is the reciprocal of its variance,
    and in the coordinate x, dμ/dx = 1 + μ, so that

    .. math:: H_g = \frac{(1 + \mu_g)^2}{\mu_g + \alpha_g \mu_g^2}

    To second order, the squared length of a step is twice the Kullback–Leibler divergence between its ends. Poisson is
    α = 0.

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
