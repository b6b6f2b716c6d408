"""Matrix products against NumPy's, by whichever library they are computed."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from scgeoae.nn import products
from scgeoae.nn.products import find_onednn, product

from ..for_each import for_each


@for_each("n, k, m", [(1, 1, 1), (30, 50, 2), (5, 20, 30), (16, 16, 16), (15, 40, 40), (128, 300, 50), (0, 20, 20)])
@for_each("transposed", ["", "a", "b", "ab"])
@for_each("dtype", [torch.float32, torch.float64])
def test_products_are_those_of_numpy(n, k, m, transposed, dtype):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(n, k)), rng.normal(size=(k, m))
    given = [
        torch.from_numpy(x.T if name in transposed else x).to(dtype).contiguous() for name, x in (("a", a), ("b", b))
    ]
    left, right = (x.T if name in transposed else x for name, x in zip("ab", given, strict=True))
    room = torch.full((n, m), torch.nan, dtype=dtype)
    into = product(left, right, out=room)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    for found in (product(left, right), room):
        assert found.shape == (n, m)
        np.testing.assert_allclose(found.numpy(), a @ b, atol=tolerance * k**0.5 * 10)
    assert into is room


def define(monkeypatch, operator):
    """Let PyTorch have this operator instead of its own."""
    version = SimpleNamespace(_linear_pointwise=SimpleNamespace(default=operator))
    monkeypatch.setattr(torch.ops, "mkldnn", version)


def test_other_versions_of_torch_multiply_without_onednn(monkeypatch):
    def without_scalars(x, w, b, attr, algorithm):
        return x @ w.T

    def of_transposed_weights(x, w, *_):
        return torch.mm(x, w)

    def with_another_unit(x, w, *_):
        return 2 * x @ w.T

    for operator in (without_scalars, of_transposed_weights, with_another_unit):
        define(monkeypatch, operator)
        assert find_onednn() is None
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace())
    assert find_onednn() is None
    a, b = torch.randn(40, 30), torch.randn(30, 20)
    monkeypatch.setattr(products, "ONEDNN", find_onednn())
    assert torch.equal(product(a, b), torch.mm(a, b))


def test_an_operator_that_works_is_used(monkeypatch):
    used = []

    def multiply(x, w, *_):
        used.append(x.shape)
        return x @ w.T

    define(monkeypatch, multiply)
    monkeypatch.setattr(products, "ONEDNN", find_onednn())
    product(torch.randn(40, 30), torch.randn(30, 20))
    assert used[-1] == (40, 30)
