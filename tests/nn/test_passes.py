"""The fused pass against the network itself and autograd."""

from __future__ import annotations

import pickle
from copy import deepcopy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scgeoae.nn import ACTIVATIONS
from scgeoae.nn.flatten import flatten, gather_gradients, release
from scgeoae.nn.mlp import ResidualMlp

from ..for_each import for_each


def network(n_in, n_out, hidden, activation, dtype, seed=0):
    g = torch.Generator().manual_seed(seed)
    made = ResidualMlp(n_in, n_out, hidden=hidden, activation=activation, generator=g).to(dtype)
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(torch.randn(p.shape, generator=g, dtype=dtype) / p.shape[-1] ** 0.5)
    return made


def inputs(n, d=3, seed=0):
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def forget(made):
    for p in made.parameters():
        p.grad = None


@given(
    d=st.integers(1, 5),
    n_out=st.integers(1, 12),
    hidden=st.lists(st.integers(1, 20), max_size=3),
    n=st.integers(1, 30),
    share=st.floats(0, 1),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    flat=st.booleans(),
    seed=st.integers(0, 5),
)
def test_values_tangents_and_gradients_are_those_of_autograd(d, n_out, hidden, n, share, activation, dtype, flat, seed):
    m = round(share * n)
    made = network(d, n_out, hidden, activation, dtype, seed)
    if flat:
        flatten(made)
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=g, dtype=dtype, requires_grad=True)
    of_values = torch.randn(n, n_out, generator=g, dtype=dtype)
    of_first = torch.randn(m, n_out, d, generator=g, dtype=dtype)

    expected, first = made(x), made.jet(x[:m]).first
    ((expected * of_values).sum() + (first * of_first).sum()).backward()
    gradients = [x.grad, *(p.grad.clone() for p in made.parameters())]

    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-10, "atol": 1e-12}
    for _ in range(2):  # the second in the workspace of the first
        x.grad = None
        forget(made)
        values, tangents = made.fused(x, n_tangents=m)
        torch.testing.assert_close(values, expected, **tolerance)
        torch.testing.assert_close(tangents, first, **tolerance)
        ((values * of_values).sum() + (tangents * of_first).sum()).backward()
        found = [x.grad, *(p.grad for p in made.parameters())]
        scale = max(1.0, *(float(e.abs().max()) for e in gradients))
        for f, e in zip(found, gradients, strict=True):
            torch.testing.assert_close(f / scale, e / scale, **tolerance)


def test_passes_of_several_shapes_follow_each_other():
    made = network(3, 4, (5,), "silu", torch.float64)
    for n, m in ((6, 2), (9, 9), (2, 0), (6, 2)):
        x = inputs(n, seed=n)
        values, first = made.fused(x, n_tangents=m)
        torch.testing.assert_close(values, made(x))
        torch.testing.assert_close(first, made.jet(x[:m]).first)
        (values.sum() + first.sum()).backward()


def test_many_passes_can_be_outstanding():
    """No result and no intermediate one is overwritten while it is needed."""
    made = network(3, 4, (5, 6), "silu", torch.float64)
    points = [inputs(7, seed=seed) for seed in range(4)]
    passes = [made.fused(x, n_tangents=3) for x in points]
    kept = [(values.clone(), first.clone()) for values, first in passes]
    # backward in another order, each followed by further passes of the same shape
    for i in (2, 0, 3, 1):
        forget(made)
        values, first = passes[i]
        (values.square().sum() + first.square().sum()).backward()
        found = [p.grad.clone() for p in made.parameters()]
        forget(made)
        (made(points[i]).square().sum() + made.jet(points[i][:3]).first.square().sum()).backward()
        torch.testing.assert_close(found, [p.grad for p in made.parameters()])
        made.fused(inputs(7, seed=9), n_tangents=3)[0].sum().backward()
        made.fused(inputs(7, seed=8), n_tangents=3)
    for (values, first), (expected, of_first) in zip(passes, kept, strict=True):
        assert torch.equal(values, expected)
        assert torch.equal(first, of_first)


def test_gradients_add_up():
    made = network(3, 4, (5, 6), "tanh", torch.float64)
    flatten(made)
    x, y = inputs(7), inputs(5, seed=1)
    (made(x).sum() + made(y).square().sum() + made.jet(x, order=2).second.sum()).backward()
    expected = [p.grad.clone() for p in made.parameters()]
    forget(made)
    (made.fused(x)[0].sum() + made.fused(y)[0].square().sum() + made.jet(x, order=2).second.sum()).backward()
    torch.testing.assert_close([p.grad for p in made.parameters()], expected)


def test_values_alone_and_tangents_alone():
    made = network(3, 4, (5,), "silu", torch.float64)
    x = inputs(6)
    for part in (0, 1):
        forget(made)
        (made(x), made.jet(x[:2]).first)[part].square().sum().backward()
        expected = [torch.zeros_like(p) if p.grad is None else p.grad for p in made.parameters()]
        forget(made)
        made.fused(x, n_tangents=2)[part].square().sum().backward()
        torch.testing.assert_close([p.grad for p in made.parameters()], expected)


def test_it_can_be_differentiated_once():
    made = network(3, 4, (5,), "silu", torch.float64)
    x = inputs(6).requires_grad_()
    values = made.fused(x)[0].sum()
    values.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="can be differentiated once"):
        values.backward()
    with pytest.raises(RuntimeError, match="can be differentiated once"):
        torch.autograd.grad(made.fused(x)[0].sum(), x, create_graph=True)


def test_without_gradients_it_is_the_network():
    made = network(3, 4, (5,), "silu", torch.float64)
    x = inputs(6)
    with torch.no_grad():
        values, first = made.fused(x, n_tangents=2)
        assert torch.equal(values, made(x))
        assert torch.equal(first, made.jet(x[:2]).first)


def test_copies_and_pickles_have_workspaces_of_their_own():
    made = network(3, 4, (5,), "silu", torch.float64)
    made.fused(inputs(6))[0].sum().backward()
    for other in (deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert not other._network.workspaces._free
        with torch.no_grad():
            other.linear.add_(1)
        values, _ = other.fused(inputs(6))
        torch.testing.assert_close(values, other(inputs(6)))
        assert not torch.equal(values, made(inputs(6)))
    made.free_workspaces()
    assert not made._network.workspaces._free


def test_flat_parameters_are_those_of_the_module():
    made = network(3, 4, (5, 6), "tanh", torch.float32)
    before = [p.detach().clone() for p in made.parameters()]
    x = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    made(x).square().sum().backward()
    gradients = [p.grad.clone() for p in made.parameters()]
    flat = flatten(made)
    for p, b in zip(made.parameters(), before, strict=True):
        assert torch.equal(p, b)
    for values in (made(x), made.fused(x)[0]):
        values.square().sum().backward()
        gather_gradients(made.parameters())
        torch.testing.assert_close(flat.grad, torch.cat([g.flatten() for g in gradients]))
        assert all(p.grad is None for p in made.parameters())
    torch.optim.SGD([flat], lr=0.5).step()
    for p, b, g in zip(made.parameters(), before, gradients, strict=True):
        torch.testing.assert_close(p.detach(), b - 0.5 * g)
    # what has no gradient has a gradient of 0
    gather_gradients(made.parameters())
    assert (flat.grad == 0).all()
    # and a state goes in and out by name
    state = {name: torch.zeros_like(value) for name, value in made.state_dict().items()}
    made.load_state_dict(state)
    assert (flat == 0).all()
    release(made.parameters())
    assert not any(vars(p) for p in made.parameters())


@for_each("activation", ACTIVATIONS)
def test_far_out_values_stay_finite(activation):
    made = network(2, 3, (4, 4), activation, torch.float32)
    x = torch.tensor([[1e4, -1e4], [-1e15, 1e15], [0.0, 0.0]])
    values, first = made.fused(x, n_tangents=3)
    torch.testing.assert_close(values, made(x), rtol=1e-4, atol=1e-4)
    assert first.isfinite().all()
    ((values * 1e-10).sum() + (first * 1e-10).sum()).backward()
    assert all(p.grad.isfinite().all() for p in made.parameters())
