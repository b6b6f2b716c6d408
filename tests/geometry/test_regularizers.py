from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.func import functional_call

from scgeoae.geometry import pullback
from scgeoae.geometry.regularizers import (
    REGULARIZERS,
    canonical_name,
    conformal,
    curvature,
    gradient_penalty,
    isometric,
    volume,
)
from scgeoae.nn import Jet, Mlp

seeds = st.integers(0, 1000)
# those that ask for the shape of the metric tensors and not for their size
OF_SHAPE = {"volume": volume, "conformal": conformal, "isometric": isometric}
names = st.sampled_from(sorted(OF_SHAPE))


def metrics(seed, d=2, n=30):
    g = torch.Generator().manual_seed(seed)
    return pullback(torch.randn(n, d + 2, d, dtype=torch.float64, generator=g))


def rotations(seed, d=2, n=30):
    g = torch.Generator().manual_seed(seed + 1)
    return torch.linalg.qr(torch.randn(n, d, d, dtype=torch.float64, generator=g))[0]


def test_by_hand():
    # two tensors: diag(1, 1) and diag(4, 1)
    g = torch.diag_embed(torch.tensor([[1.0, 1.0], [4.0, 1.0]], dtype=torch.float64))
    assert volume(g).item() == pytest.approx((math.log(4) / 2) ** 2)
    assert conformal(g).item() == pytest.approx(4 * (2 / 4 + 17 / 25) / 2 - 2)
    assert isometric(g).item() == pytest.approx(4 * ((2 + 17) / 2) / 3.5**2 - 2)


@given(names, seeds, st.integers(1, 4), st.floats(1e-3, 1e3))
def test_laws(name, seed, d, alpha):
    loss = OF_SHAPE[name]
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
    zero = {name: {key: loss(x).item() < 1e-12 for key, x in examples.items()} for name, loss in OF_SHAPE.items()}
    assert zero["volume"] == {"volume": True, "conformal": False, "isometric": True}
    assert zero["conformal"] == {"volume": False, "conformal": True, "isometric": True}
    assert zero["isometric"] == {"volume": False, "conformal": False, "isometric": True}


@given(names, seeds)
def test_gradient(name, seed):
    a = torch.randn(3, 5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed), requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: OF_SHAPE[name](pullback(a)), (a,))


@pytest.mark.parametrize("name", OF_SHAPE)
@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e12])
def test_finite_for_singular_metrics_in_float32(name, scale):
    a = torch.zeros(4, 5, 2)
    a[:, 0, 0] = scale
    a.requires_grad_()
    value = OF_SHAPE[name](pullback(a))
    value.backward()
    assert value.isfinite()
    assert a.grad.isfinite().all()


def mlp_and_points(d=2):
    mlp = Mlp(d, 5, hidden=(6,), activation="tanh", generator=torch.Generator().manual_seed(0)).double()
    return mlp, torch.randn(7, d, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", REGULARIZERS)
def test_gradients_of_weights_and_points(name):
    mlp, z = mlp_and_points()
    z.requires_grad_()
    parameters = dict(mlp.named_parameters())

    def loss(z, *values):
        jet = functional_call(_AsModule(mlp), {f"mlp.{k}": v for k, v in zip(parameters, values, strict=True)}, (z,))
        return REGULARIZERS[name](jet)

    assert torch.autograd.gradcheck(loss, (z, *parameters.values()), atol=1e-6)


class _AsModule(torch.nn.Module):
    def __init__(self, mlp):
        super().__init__()
        self.mlp = mlp

    def forward(self, z):
        return self.mlp.jet(z, order=2)


def test_gradient_penalty_is_the_squared_norm_of_the_jacobian():
    mlp, z = mlp_and_points()
    a = torch.func.vmap(torch.func.jacfwd(mlp))(z)
    torch.testing.assert_close(gradient_penalty(pullback(mlp.jet(z).first)), a.square().sum((1, 2)).mean())


def test_curvature_of_known_maps():
    z = torch.rand(50, 2, dtype=torch.float64)

    def of(f):
        jet = (torch.func.vmap(g)(z) for g in (f, torch.func.jacfwd(f), torch.func.hessian(f)))
        return curvature(Jet(*jet)).item()

    # zero for a plane, however it is stretched; 2/r² for a cylinder, 4/r² for a sphere
    stretched = of(lambda z: torch.stack([z[0] ** 3 + z[0], z[1], z[0] ** 3 + z[0] - z[1]]))
    assert stretched == pytest.approx(0, abs=1e-12)
    cylinder = of(lambda z: torch.stack([3 * torch.cos(z[0]), 3 * torch.sin(z[0]), z[1]]))
    assert cylinder == pytest.approx(2 / 9)
    sphere = of(
        lambda z: (
            3 * torch.stack([torch.cos(z[0]) * torch.cos(z[1]), torch.cos(z[0]) * torch.sin(z[1]), torch.sin(z[0])])
        )
    )
    assert sphere == pytest.approx(4 / 9)


def test_names():
    papers = {"geomae": "volume", "confae": "conformal", "irae": "isometric", "mecae": "curvature"}
    papers |= {"mcae": "curvature", "rae_gp": "gradient_penalty"}
    assert {paper: canonical_name(paper) for paper in papers} == papers
    assert all(canonical_name(name) == name for name in REGULARIZERS)
    with pytest.raises(ValueError, match=r"`regularizer` to be None, one of \[.*'isometric'.*\].*, found 'isometry'"):
        canonical_name("isometry")
