from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scgeoae.geometry import anisotropy, distortion, pullback, relative_log_area


def metrics(seed, d=2, n=40):
    return pullback(torch.randn(n, d + 2, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))


@given(st.integers(0, 1000), st.integers(1, 4), st.floats(1e-6, 1e6))
def test_agrees_with_singular_values_and_ignores_scale(seed, d, alpha):
    g = metrics(seed, d)
    sigma = np.linalg.svd(g.numpy(), compute_uv=False)
    measures = distortion(alpha * g)
    assert measures.cn == pytest.approx(np.mean(np.abs(1 - sigma[:, -1] / sigma[:, 0])), abs=1e-9)
    assert measures.vpres == pytest.approx(np.var(np.log(sigma).sum(1)), rel=1e-6, abs=1e-9)
    assert measures.iso == pytest.approx(np.var(np.log(sigma)), rel=1e-6, abs=1e-9)


def test_stereographic_projection_of_the_sphere():
    # conformal with factor 4/(1 + r²)² and so neither area-preserving nor isometric
    z = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]], dtype=torch.float64, requires_grad=True)

    def sphere(z):
        r = (z**2).sum()
        return torch.cat([2 * z, (r - 1)[None]]) / (1 + r)

    g = pullback(torch.func.vmap(torch.func.jacfwd(sphere))(z)).detach()
    factor = 4 / (1 + np.array([0.0, 1.0, 4.0])) ** 2
    measures = distortion(g)
    assert measures.cn == pytest.approx(0, abs=1e-12)
    assert measures.vpres == pytest.approx(np.var(2 * np.log(factor)))
    assert measures.iso == pytest.approx(np.var(np.log(factor)))
    np.testing.assert_allclose(relative_log_area(g), np.log10(factor / factor.mean()), atol=1e-12)


def test_area_relative_to_its_mean():
    g = metrics(3)
    area = torch.linalg.det(g).sqrt()
    torch.testing.assert_close(relative_log_area(g), (area / area.mean()).log10())
    torch.testing.assert_close(relative_log_area(g[:5], reference=g), ((area / area.mean()).log10())[:5])
    assert relative_log_area(1e30 * g).isfinite().all()


def test_collapsed_direction():
    g = torch.diag_embed(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    assert anisotropy(g).tolist() == [1.0, 1.0]
    assert all(math.isfinite(value) for value in distortion(g))
