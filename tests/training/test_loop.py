"""The loss and the gradients of a step against plain networks and autograd, and the loop."""

from __future__ import annotations

import traceback
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import scgeoae as sg
from scgeoae.geometry import Ambient
from scgeoae.nn import Autoencoder
from scgeoae.nn.mlp import ResidualMlp
from scgeoae.training import Batch, Objective, Term
from scgeoae.training.contrastive import ContrastiveLoss
from scgeoae.training.loop import descend
from scgeoae.training.optimizer import AdamW

from ..for_each import for_each

TERMS = [
    Term("isometric", 0.3),
    Term("volume", 0.3),
    Term("unit_isometric", 0.3),
    Term("conformal", 0.3, on_encoder=True),
    Term("contractive", 0.3),
    Term("curvature", 0.1),
    Term("neighborhood", 0.3),
    Term("neighborhood_quadratic", 0.3),
    Term("topological", 0.3),
]


def model(d, hidden, activation, dtype, n_features=9, seed=0):
    g = torch.Generator().manual_seed(seed)
    made = Autoencoder(n_features, d, hidden=hidden, activation=activation, generator=g).to(dtype)
    with torch.no_grad():
        for p in made.parameters():
            p.copy_(torch.randn(p.shape, dtype=dtype, generator=g) / p.shape[-1] ** 0.5)
    return made


def plain(self, x, *, n_tangents=0):
    return self(x), self.jet(x[:n_tangents]).first


def gradients(made, batch, objective):
    for p in made.parameters():
        p.grad = None
    parts = objective(made, batch)
    parts.total.backward()
    return parts, torch.cat([p.grad.flatten() for p in made.parameters()])


def check(made, batch, objective, tolerance=1e-10):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ResidualMlp, "fused", plain)
        expected, gradient = gradients(made, batch, objective)
    for _ in range(2):  # the second in the workspaces of the first
        found, own = gradients(made, batch, objective)
        for f, e in zip(found, expected, strict=True):
            torch.testing.assert_close(f, e, rtol=tolerance, atol=tolerance)
        assert (own - gradient).norm() <= tolerance * gradient.norm()


@given(
    d=st.integers(1, 4),
    hidden=st.lists(st.integers(1, 24), max_size=3),
    activation=st.sampled_from(["silu", "elu", "tanh", "softplus"]),
    n=st.integers(8, 40),
    n_metric=st.one_of(st.none(), st.integers(6, 50)),
    terms=st.lists(st.sampled_from(TERMS), unique=True, max_size=3),
    contrasted=st.booleans(),
    noisy=st.booleans(),
    apart=st.booleans(),
    sampled=st.booleans(),
    warm_up=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 3),
)
def test_loss_and_gradients_are_those_of_plain_networks(
    d, hidden, activation, n, n_metric, terms, contrasted, noisy, apart, sampled, warm_up, dtype, seed
):
    made = model(d, hidden, activation, dtype, seed=seed)
    g = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, dtype=dtype, generator=g)

    batch = Batch(
        x=draw(n, 9),
        n_metric=n_metric,
        metric_x=draw(11, 9) if apart else None,
        positives=draw(n // 2, 9) if contrasted else None,
        noise=draw(n, 9) / 4 if noisy else None,
        neighbors=draw(n, 3, 9),
        layout=draw(n, d) if warm_up else None,
    )
    contrastive = ContrastiveLoss(0.2, 0.3) if contrasted else None
    objective = Objective(terms, contrastive, (lambda z: 0.9 * z) if sampled else None, factor=0.7, layout_variance=2.0)
    # the curvature of a degenerate decoder has gradients beyond all digits
    check(made, batch, objective, 1e-3 if dtype == torch.float32 else 1e-8)


@for_each("terms", [[], [Term("isometric", 0.5)], [Term("neighborhood", 0.5)]])
def test_given_codes(terms):
    made = model(2, (8, 8), "silu", torch.float64)
    g = torch.Generator().manual_seed(1)
    shapes = ((20, 9), (20, 2), (20, 9), (20, 3, 9))
    x, codes, noise, near = (torch.randn(shape, dtype=torch.float64, generator=g) for shape in shapes)
    batch = Batch(x, codes=codes, noise=noise, n_metric=12, neighbors=near)
    check(made, batch, Objective(terms))
    found = Objective(terms)(made, batch)
    torch.testing.assert_close(found.encoding, (made.encoder(x + noise) - codes).square().mean())
    torch.testing.assert_close(found.reconstruction, (made.decoder(codes) - x).square().mean())


@for_each("kind", ["diagonal", "matrix", "function"])
def test_ambient_metrics(kind):
    made = model(2, (8,), "silu", torch.float64)
    g = torch.Generator().manual_seed(1)
    root = torch.randn(9, 9, dtype=torch.float64, generator=g)
    made.ambient = Ambient(
        {"diagonal": root[0] ** 2 + 1, "matrix": root @ root.T, "function": lambda x: x**2 + 1}[kind]
    )
    batch = Batch(torch.randn(20, 9, dtype=torch.float64, generator=g), n_metric=12)
    check(made, batch, Objective([Term("isometric", 0.5), Term("volume", 0.5, on_encoder=True)]))


def test_layout():
    made = model(2, (8,), "silu", torch.float64)
    g = torch.Generator().manual_seed(1)
    x, y = (torch.randn(20, d, dtype=torch.float64, generator=g) for d in (9, 2))
    found = Objective(layout_variance=2.0)(made, Batch(x, layout=y))
    distances = (made.encoder(x) - y).square().mean() / 2 + (made.decoder(y) - x).square().mean()
    torch.testing.assert_close(found.total - found.reconstruction, distances)


def test_lazy_penalties():
    lazy = Objective([Term("isometric", 0.2)], interval=2)
    assert [len(lazy.at_step(step).terms) for step in (1, 2, 3, 4)] == [1, 0, 1, 0]
    assert lazy.at_step(3).factor == 2
    every = Objective([Term("isometric", 0.2)])
    assert every.at_step(2) is every


@for_each("names", [("isometric",), ("curvature", "contractive")])
def test_steps_are_those_of_torch(names):
    ours, theirs = (model(2, (16,), "silu", torch.float64) for _ in range(2))
    g = torch.Generator().manual_seed(1)
    stream = [Batch(torch.randn(30, 9, dtype=torch.float64, generator=g), n_metric=12) for _ in range(6)]
    objective = Objective([Term(name, 0.05) for name in names])
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=0.03)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.03, total_steps=6)
    draws = [lambda batch=batch: batch for batch in stream]
    seen = []
    steps = descend(
        ours,
        draws,
        objective,
        AdamW(ours, peak=0.03, n_steps=6),
        observers=lambda number: (lambda batch, loss: seen.append((number, batch, loss.total)),),
    )
    for number, (batch, step) in enumerate(zip(stream, steps, strict=True), start=1):
        optimizer.zero_grad()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(ResidualMlp, "fused", plain)
            expected = objective(theirs, batch)
        expected.total.backward()
        optimizer.step()
        schedule.step()
        assert step == number
        *of_step, loss = seen.pop()
        assert of_step == [number, batch]
        torch.testing.assert_close(loss, expected.total.detach())
        assert not loss.requires_grad
    torch.testing.assert_close(list(ours.parameters()), list(theirs.parameters()))
    assert all(p.grad is None for p in ours.parameters())


def test_few_frames_between_a_call_and_the_loss(monkeypatch, small):
    def broken(self, model, batch):
        if torch.is_grad_enabled():
            raise ZeroDivisionError
        return original(self, model, batch)

    original = Objective.__call__
    monkeypatch.setattr(Objective, "__call__", broken)
    with pytest.raises(ZeroDivisionError) as caught:
        sg.tl.geoae(small, progress_bar=False)
    ours = str(Path(sg.__file__).parent)
    frames = [frame for frame in traceback.extract_tb(caught.tb) if frame.filename.startswith(ours)]
    # the loss itself is the seventh
    assert len(frames) <= 6, frames


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_step_can_be_captured_as_a_cuda_graph():
    made = model(2, (16, 16), "silu", torch.float32).cuda()
    x = torch.randn(96, 9, device="cuda")
    batch = Batch(x=x, n_metric=64, positives=torch.randn_like(x), noise=torch.randn_like(x) / 4)
    objective = Objective([Term("isometric", 0.2)], ContrastiveLoss(0.2, 0.3))
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):  # until all workspaces are there
            gradients(made, batch, objective)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        _, found = gradients(made, batch, objective)
    x.copy_(torch.randn_like(x))
    graph.replay()
    found = found.clone()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ResidualMlp, "fused", plain)
        _, expected = gradients(made, batch, objective)
    assert (found - expected).norm() <= 1e-3 * expected.norm()
    assert np.isfinite(expected.cpu().numpy()).all()
