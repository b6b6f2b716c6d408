from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scgeoae.geometry import pullback
from scgeoae.geometry.regularizers import ALIASES, REGULARIZERS, canonical_name

seeds = st.integers(0, 1000)
names = st.sampled_from(sorted(REGULARIZERS))


def metrics(seed, d=2, n=30):
    g = torch.Generator().manual_seed(seed)
    return pullback(torch.randn(n, d + 2, d, dtype=torch.float64, generator=g))


def rotations(seed, d=2, n=30):
    g = torch.Generator().manual_seed(seed + 1)
    return torch.linalg.qr(torch.randn(n, d, d, dtype=torch.float64, generator=g))[0]


def test_by_hand():
    # two tensors: diag(1, 1) and diag(4, 1)
    g = torch.diag_embed(torch.tensor([[1.0, 1.0], [4.0, 1.0]], dtype=torch.float64))
    assert REGULARIZERS["volume"](g).item() == pytest.approx((math.log(4) / 2) ** 2)
    assert REGULARIZERS["conformal"](g).item() == pytest.approx(4 * (2 / 4 + 17 / 25) / 2 - 2)
    assert REGULARIZERS["isometric"](g).item() == pytest.approx(4 * ((2 + 17) / 2) / 3.5**2 - 2)


@given(names, seeds, st.integers(1, 4), st.floats(1e-3, 1e3))
def test_laws(name, seed, d, alpha):
    loss = REGULARIZERS[name]
    g = metrics(seed, d)
    value = loss(g)
    assert value >= -1e-12
    torch.testing.assert_close(loss(alpha * g), value)  # the unit of length does not matter
    r = rotations(seed, d)
    torch.testing.assert_close(loss(r.mT @ g @ r), value)  # nor the axes at each point
    torch.testing.assert_close(loss(g.flip(0)), value)  # nor the order of the points


@given(seeds, st.integers(2, 4))
def test_zero_exactly_where_the_property_holds(seed, d):
    g = metrics(seed, d)
    det = torch.linalg.det(g)[:, None, None]
    factor = torch.linspace(0.5, 2, len(g), dtype=torch.float64)[:, None, None]
    eye = torch.eye(d, dtype=torch.float64).expand(len(g), d, d)
    examples = {"volume": g / det ** (1 / d), "conformal": factor * eye, "isometric": 3 * eye}
    zero = {name: {key: loss(x).item() < 1e-12 for key, x in examples.items()} for name, loss in REGULARIZERS.items()}
    assert zero["volume"] == {"volume": True, "conformal": False, "isometric": True}
    assert zero["conformal"] == {"volume": False, "conformal": True, "isometric": True}
    assert zero["isometric"] == {"volume": False, "conformal": False, "isometric": True}


@given(names, seeds)
def test_gradient(name, seed):
    a = torch.randn(3, 5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed), requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: REGULARIZERS[name](pullback(a)), (a,))


@pytest.mark.parametrize("name", REGULARIZERS)
@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e12])
def test_finite_for_singular_metrics_in_float32(name, scale):
    a = torch.zeros(4, 5, 2)
    a[:, 0, 0] = scale
    a.requires_grad_()
    value = REGULARIZERS[name](pullback(a))
    value.backward()
    assert value.isfinite()
    assert a.grad.isfinite().all()


def test_names():
    assert {canonical_name(alias) for alias in ALIASES} == set(REGULARIZERS)
    with pytest.raises(ValueError, match=r"`regularizer` to be None or one of \[.*'isometric'.*\], found 'isometry'"):
        canonical_name("isometry")
