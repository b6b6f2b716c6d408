from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from scgeoae.geometry import inverse, log_det, pullback, trace
from scgeoae.geometry.metric import eigenvalues, squared_trace

from ..for_each import for_each

seeds = st.integers(0, 1000)
dimensions = st.integers(1, 4)


def metrics(seed, d, n=20):
    a = torch.randn(n, d + 3, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return pullback(a)


@given(seeds, dimensions)
def test_invariants_agree_with_linear_algebra(seed, d):
    g = metrics(seed, d)
    torch.testing.assert_close(trace(g), torch.einsum("nii->n", g))
    torch.testing.assert_close(squared_trace(g), torch.einsum("nii->n", g @ g))
    torch.testing.assert_close(eigenvalues(g), torch.linalg.eigvalsh(g))
    torch.testing.assert_close(log_det(g, floor=1e-12), torch.logdet(g))
    torch.testing.assert_close(inverse(g, floor=1e-14), torch.linalg.inv(g), rtol=1e-4, atol=1e-6)


@given(seeds, dimensions, st.floats(1e-6, 1e6))
def test_log_det_follows_scale(seed, d, alpha):
    g = metrics(seed, d)
    shift = d * torch.tensor(alpha, dtype=torch.float64).log()
    torch.testing.assert_close(log_det(alpha * g), log_det(g) + shift)


@for_each("d", [1, 2, 3])
@for_each("scale", [0.0, 1e-18, 1.0, 1e18])
def test_finite_where_the_metric_is_singular(d, scale):
    g = torch.zeros(4, d, d)
    g[:, 0, 0] = scale
    g.requires_grad_()
    value = log_det(g)
    value.sum().backward()
    assert value.isfinite().all()
    assert inverse(g).isfinite().all()
    assert g.grad.isfinite().all()


def test_rank_deficient_decoder_by_hand():
    # columns are the same, so the pullback has rank one, and rounding may make det < 0
    column = torch.randn(30, 50, 1, generator=torch.Generator().manual_seed(0))
    g = pullback(column.expand(-1, -1, 2))
    assert log_det(g).isfinite().all()
    assert (eigenvalues(g) >= 0).all()


@for_each("d", [1, 2, 3])
def test_inverse_is_differentiable_where_the_metric_is_singular(d):
    g = torch.zeros(4, d, d)
    g[:, 0, 0] = 1.0
    g.requires_grad_()
    inverse(g).sum().backward()
    assert g.grad.isfinite().all()
