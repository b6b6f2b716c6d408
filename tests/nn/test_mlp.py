from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.func import hessian, jacfwd, vmap

from scgeoae.nn import ACTIVATIONS, Mlp
from scgeoae.nn.activations import DERIVATIVES, derivatives

from ..for_each import for_each


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@for_each("activation", ACTIVATIONS)
@for_each("hidden", [(), (7,), (9, 6, 5)])
@for_each("d", [1, 2, 3])
def test_jet_agrees_with_autodiff(activation, hidden, d):
    mlp = Mlp(d, 11, hidden=hidden, activation=activation, generator=generator()).double()
    z = torch.randn(13, d, dtype=torch.float64, generator=generator(1))
    jet = mlp.jet(z, order=2)
    torch.testing.assert_close(jet.values, mlp(z))
    torch.testing.assert_close(jet.first, vmap(jacfwd(mlp))(z))
    torch.testing.assert_close(jet.second, vmap(hessian(mlp))(z))
    torch.testing.assert_close(mlp.jet(z, order=1).first, jet.first)


@for_each("activation", ACTIVATIONS)
@for_each("order", [1, 2])
def test_losses_of_derivatives_have_the_right_gradient(activation, order):
    mlp = Mlp(2, 5, hidden=(6, 4), activation=activation, generator=generator()).double()
    z = torch.randn(4, 2, dtype=torch.float64, generator=generator(1), requires_grad=True)

    def loss(z, *parameters):
        jet = torch.func.functional_call(_Jet(mlp, order), {f"mlp.{n}": p for n, p in named(parameters)}, (z,))
        return sum(part.square().sum() for part in jet)

    def named(parameters):
        return zip([name for name, _ in mlp.named_parameters()], parameters, strict=True)

    torch.autograd.gradcheck(loss, (z, *mlp.parameters()))


class _Jet(torch.nn.Module):
    def __init__(self, mlp, order):
        super().__init__()
        self.mlp, self.order = mlp, order

    def forward(self, z):
        return [part for part in self.mlp.jet(z, order=self.order) if part is not None]


@for_each("activation", ACTIVATIONS)
def test_activation_derivatives_agree_with_finite_differences(activation):
    # a step away from 0, where the second derivative of ELU jumps
    p = torch.tensor([-30.0, -3.0, -0.5, 0.4, 2.0, 30.0], dtype=torch.float64)
    torch.testing.assert_close(DERIVATIVES[activation](p, 1)[0], ACTIVATIONS[activation](p))
    h = 1e-5
    here = DERIVATIVES[activation](p, 3)
    after, before = DERIVATIVES[activation](p + h, 3), DERIVATIVES[activation](p - h, 3)
    for k in range(3):
        torch.testing.assert_close(here[k + 1], (after[k] - before[k]) / (2 * h), rtol=1e-6, atol=1e-9)


@for_each("activation", ACTIVATIONS)
def test_activations_are_finite_far_out(activation):
    p = torch.tensor([-1e4, -200.0, 200.0, 1e4], requires_grad=True)
    outputs = derivatives(activation, p, 2)
    sum(part.sum() for part in outputs).backward()
    assert all(part.isfinite().all() for part in (*outputs, p.grad))


@given(seed=st.integers(0, 10), n=st.integers(1, 9))
def test_points_do_not_see_each_other(seed, n):
    mlp = Mlp(2, 4, hidden=(5,), generator=generator(seed)).double()
    z = torch.randn(n, 2, dtype=torch.float64, generator=generator(seed + 1))
    alone = torch.cat([mlp.jet(z[i : i + 1]).first for i in range(n)])
    torch.testing.assert_close(mlp.jet(z).first, alone)


def test_weights_come_from_the_generator_alone():
    state = torch.get_rng_state()
    a, b = (Mlp(2, 3, generator=generator(5)) for _ in range(2))
    c = Mlp(2, 3, generator=generator(6))
    assert torch.equal(a.weights[0], b.weights[0])
    assert not torch.equal(a.weights[0], c.weights[0])
    assert torch.equal(state, torch.get_rng_state())


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"`activation` to be one of .*'silu'.*found 'relu'"):
        Mlp(2, 3, activation="relu")
    with pytest.raises(ValueError, match="`order` to be 1 or 2, found 3"):
        Mlp(2, 3).jet(torch.zeros(1, 2), order=3)


@for_each("hidden", [(), (6,), (7, 5)])
def test_rows_are_the_jacobian(hidden):
    mlp = Mlp(5, 2, hidden=hidden, generator=torch.Generator().manual_seed(0)).double()
    x = torch.randn(9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rows = mlp.rows(x)
    torch.testing.assert_close(rows.values, mlp(x))
    torch.testing.assert_close(rows.first, torch.func.vmap(torch.func.jacrev(mlp))(x))
    torch.testing.assert_close(rows.first, mlp.jet(x).first)
    assert rows.first.shape == (9, 2, 5)
