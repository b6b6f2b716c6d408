"""The passes written by hand against the network itself and autograd."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scgeoae.nn import ACTIVATIONS, Passes, flatten
from scgeoae.nn.residual import ResidualMlp


def network(n_in, n_out, hidden, activation, dtype, seed=0):
    g = torch.Generator().manual_seed(seed)
    made = ResidualMlp(n_in, n_out, hidden=hidden, activation=activation, generator=g).to(dtype)
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=dtype) / p.shape[-1] ** 0.5)
    return made


@given(
    d=st.integers(1, 5),
    n_out=st.integers(1, 12),
    hidden=st.lists(st.integers(1, 20), max_size=3),
    n=st.integers(1, 30),
    share=st.floats(0, 1),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 5),
)
def test_values_tangents_and_gradients_are_those_of_autograd(d, n_out, hidden, n, share, activation, dtype, seed):
    m = round(share * n)
    made = network(d, n_out, hidden, activation, dtype, seed)
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=g, dtype=dtype, requires_grad=True)
    of_values = torch.randn(n, n_out, generator=g, dtype=dtype)
    of_tangents = torch.randn(d, m, n_out, generator=g, dtype=dtype)

    expected = made(x)
    total = (expected * of_values).sum()
    if m:
        first = made.jet(x[:m]).first.permute(2, 0, 1)
        total = total + (first * of_tangents).sum()
    total.backward()
    gradients = [x.grad, *(p.grad for p in made.parameters())]

    flat = flatten(made)
    flat.grad.fill_(torch.nan)  # a pass backward overwrites what is there
    passes = Passes(made)
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-10, "atol": 1e-12}
    for _ in range(2):  # the second in the buffers of the first
        values, tangents = passes.forward(x.detach(), n_tangents=m)
        torch.testing.assert_close(values, expected.detach(), **tolerance)
        if m:
            torch.testing.assert_close(tangents, first.detach(), **tolerance)
        else:
            assert tangents is None
        of_input = passes.backward(of_values, of_tangents if m else None)
        found = [of_input, *(p.grad for p in made.parameters())]
        scale = max(1.0, *(float(e.abs().max()) for e in gradients))
        for f, e in zip(found, gradients, strict=True):
            torch.testing.assert_close(f / scale, e / scale, **tolerance)


def test_buffers_follow_the_number_of_inputs():
    made = network(3, 4, (5,), "silu", torch.float64)
    flatten(made)
    passes = Passes(made)
    for n, m in ((6, 2), (9, 9), (2, 0), (6, 2)):
        x = torch.randn(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
        values, tangents = passes.forward(x, n_tangents=m)
        torch.testing.assert_close(values, made(x).detach())
        if m:
            torch.testing.assert_close(tangents, made.jet(x[:m]).first.permute(2, 0, 1).detach())
        assert passes.backward(values, tangents, to_input=False) is None


def test_flat_parameters_are_those_of_the_module():
    made = network(3, 4, (5, 6), "tanh", torch.float32)
    before = [p.detach().clone() for p in made.parameters()]
    x = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    made(x).square().sum().backward()
    gradients = [p.grad.clone() for p in made.parameters()]
    flat = flatten(made)
    for p, b in zip(made.parameters(), before, strict=True):
        assert torch.equal(p, b)
    assert (flat.grad == 0).all()
    made(x).square().sum().backward()
    torch.testing.assert_close(flat.grad, torch.cat([g.flatten() for g in gradients]))
    torch.optim.SGD([flat], lr=0.5).step()
    for p, b, g in zip(made.parameters(), before, gradients, strict=True):
        torch.testing.assert_close(p.detach(), b - 0.5 * g)
    # and a state goes in and out by name
    state = {name: torch.zeros_like(value) for name, value in made.state_dict().items()}
    made.load_state_dict(state)
    assert (flat == 0).all()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_far_out_values_stay_finite(activation):
    made = network(2, 3, (4, 4), activation, torch.float32)
    flatten(made)
    passes = Passes(made)
    x = torch.tensor([[1e4, -1e4], [-1e15, 1e15], [0.0, 0.0]])
    values, tangents = passes.forward(x, n_tangents=3)
    torch.testing.assert_close(values, made(x).detach(), rtol=1e-4, atol=1e-4)
    assert tangents.isfinite().all()
    passes.backward(torch.ones_like(values) * 1e-10, torch.ones_like(tangents) * 1e-10)
    assert all(p.grad.isfinite().all() for p in made.parameters())
