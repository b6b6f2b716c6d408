"""The gradients by hand against the generic loss and autograd."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scgeoae.geometry import Ambient
from scgeoae.nn import Autoencoder, flatten
from scgeoae.training import Batch, Contrast, Term, loss
from scgeoae.training.descent import Descent

METRIC = ["isometric", "volume", "conformal", "gradient_penalty", "unit_isometric"]


def model(d, hidden, activation, dtype, n_features=9, seed=0):
    g = torch.Generator().manual_seed(seed)
    made = Autoencoder(n_features, d, hidden=hidden, activation=activation, generator=g).to(dtype)
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(torch.randn(p.shape, dtype=dtype, generator=g) / p.shape[-1] ** 0.5)
    return made


def gradients(made, batch, **objective):
    flat = flatten(made)
    parts = loss(made, batch, **objective)
    parts.total.backward()
    return parts, flat.grad.clone()


@given(
    d=st.integers(1, 5),
    hidden=st.lists(st.integers(1, 24), max_size=3),
    activation=st.sampled_from(["silu", "elu", "tanh", "softplus"]),
    n=st.integers(8, 40),
    n_at=st.one_of(st.none(), st.integers(6, 50)),
    terms=st.lists(st.sampled_from(METRIC), unique=True, max_size=2),
    contrasted=st.booleans(),
    noisy=st.booleans(),
    apart=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 3),
)
def test_loss_and_gradients_are_those_of_autograd(
    d, hidden, activation, n, n_at, terms, contrasted, noisy, apart, dtype, seed
):
    made = model(d, hidden, activation, dtype, seed=seed)
    g = torch.Generator().manual_seed(seed)

    def draw(rows):
        return torch.randn(rows, 9, dtype=dtype, generator=g)

    batch = Batch(
        x=draw(n),
        n_at=n_at,
        at=draw(11) if apart else None,
        partners=draw(n) if contrasted else None,
        noise=draw(n) / 4 if noisy else None,
    )
    terms = [Term(name, 0.3) for name in terms]
    contrast = Contrast(0.2, 0.3) if contrasted else None
    expected, gradient = gradients(made, batch, terms=terms, factor=0.7, contrast=contrast)

    flat = flatten(made)
    descend = Descent(made, terms=terms, contrast=contrast)
    assert descend.is_by_hand
    for _ in range(2):
        found = descend(batch, 0.7)
        tolerance = 1e-5 if dtype == torch.float32 else 1e-10
        for f, e in zip(found, expected, strict=True):
            torch.testing.assert_close(f, e.detach(), rtol=tolerance, atol=tolerance)
        assert (flat.grad - gradient).norm() <= tolerance * gradient.norm()
        flat.grad.fill_(torch.nan)


@pytest.mark.parametrize("regularizer", ["isometric", "curvature"])  # by hand, and by autograd
def test_without_penalties(regularizer):
    made = model(2, (8, 8), "silu", torch.float64)
    batch = Batch(torch.randn(20, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1)), n_at=12)
    expected, gradient = gradients(made, batch, terms=[])
    flat = flatten(made)
    found = Descent(made, terms=[Term(regularizer, 0.5)])(batch, penalized=False)
    assert len(found.penalties) == 0
    torch.testing.assert_close(found.total, expected.total.detach())
    torch.testing.assert_close(flat.grad, gradient)


@pytest.mark.parametrize("noisy", [False, True])
def test_given_codes(noisy):
    made = model(2, (8, 8), "silu", torch.float64)
    g = torch.Generator().manual_seed(1)
    x, codes, noise = (torch.randn(20, d, dtype=torch.float64, generator=g) for d in (9, 2, 9))
    batch = Batch(x, codes=codes, noise=noise if noisy else None)
    expected, gradient = gradients(made, batch, terms=[])
    flat = flatten(made)
    found = Descent(made, terms=[])(batch)
    torch.testing.assert_close(found.total, expected.total.detach())
    torch.testing.assert_close(found.encoding, expected.encoding.detach())
    torch.testing.assert_close(flat.grad, gradient)


@pytest.mark.parametrize("kind", ["diagonal", "matrix", "function"])
def test_ambient_metrics(kind):
    made = model(2, (8,), "silu", torch.float64)
    g = torch.Generator().manual_seed(1)
    root = torch.randn(9, 9, dtype=torch.float64, generator=g)
    made.ambient = Ambient(
        {"diagonal": root[0] ** 2 + 1, "matrix": root @ root.T, "function": lambda x: x**2 + 1}[kind]
    )
    batch = Batch(torch.randn(20, 9, dtype=torch.float64, generator=g), n_at=12)
    terms = [Term("isometric", 0.5)]
    expected, gradient = gradients(made, batch, terms=terms)
    flat = flatten(made)
    descend = Descent(made, terms=terms)
    assert descend.is_by_hand
    torch.testing.assert_close(descend(batch).total, expected.total.detach())
    torch.testing.assert_close(flat.grad, gradient)


@pytest.mark.parametrize(
    ("terms", "sample"),
    [
        ([Term("curvature", 0.1)], None),
        ([Term("isometric", 0.1, on_encoder=True)], None),
        ([Term("isometric", 0.1), Term("topological", 0.1)], None),
        ([Term("isometric", 0.1)], lambda z: z + 1),
    ],
)
def test_the_rest_goes_through_autograd(terms, sample):
    made = model(2, (8,), "silu", torch.float64)
    batch = Batch(torch.randn(20, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    expected, gradient = gradients(made, batch, terms=terms, sample=sample)
    flat = flatten(made)
    descend = Descent(made, terms=terms, sample=sample)
    assert not descend.is_by_hand
    for _ in range(2):
        torch.testing.assert_close(descend(batch).total, expected.total.detach())
        torch.testing.assert_close(flat.grad, gradient)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_step_can_be_captured_as_a_cuda_graph():
    made = model(2, (16, 16), "silu", torch.float32).cuda()
    x = torch.randn(96, 9, device="cuda")
    batch = Batch(x=x, n_at=64, partners=torch.randn_like(x), noise=torch.randn_like(x) / 4)
    objective = {"terms": [Term("isometric", 0.2)], "contrast": Contrast(0.2, 0.3)}
    flat = flatten(made)
    descend = Descent(made, **objective)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):  # until all buffers are there
            descend(batch)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        descend(batch)
    x.copy_(torch.randn_like(x))
    graph.replay()
    found = flat.grad.clone()
    _, expected = gradients(made, batch, **objective)
    assert (found - expected).norm() <= 1e-3 * expected.norm()
