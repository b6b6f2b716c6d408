"""Every regularizer as training computes it, against generic automatic differentiation."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.csgraph import minimum_spanning_tree
from torch.func import hessian, jacfwd, jacrev, vmap

from scgeoae.geometry import Ambient
from scgeoae.geometry.regularizers import REGULARIZERS
from scgeoae.nn import Autoencoder
from scgeoae.training import Batch, Objective, Term
from scgeoae.training.contrastive import ContrastiveLoss

from ..for_each import for_each

N, K, D, M = 7, 3, 4, 2


def model(seed=0):
    """An autoencoder with random weights everywhere, in double precision."""
    g = torch.Generator().manual_seed(seed)
    ae = Autoencoder(D, M, hidden=(5,), generator=g).double()
    with torch.no_grad():
        for p in ae.parameters():
            p.copy_(torch.randn(p.shape, dtype=torch.float64, generator=g) / 2)
    return ae


def batch(seed=1):
    g = torch.Generator().manual_seed(seed)
    return Batch(
        x=torch.randn(N, D, dtype=torch.float64, generator=g),
        neighbors=torch.randn(N, K, D, dtype=torch.float64, generator=g),
        positives=torch.randn(N, D, dtype=torch.float64, generator=g),
    )


def loss(ae, b, *, terms, contrast=None, **kwargs):
    return Objective(terms, contrast, **kwargs)(ae, b)


def by_hand(ae, b):
    """All losses from generic derivatives and their formulas."""
    x = b.x
    z = ae.encoder(x)
    a, s = vmap(jacfwd(ae.decoder))(z), vmap(hessian(ae.decoder))(z)
    rows = vmap(jacrev(ae.encoder))(x)
    found = {}
    for suffix, g in (("", a.mT @ a), ("_encoder", rows @ rows.mT)):
        tr, tr2 = g.diagonal(dim1=1, dim2=2).sum(1), (g @ g).diagonal(dim1=1, dim2=2).sum(1)
        found["volume" + suffix] = torch.linalg.slogdet(g)[1].var(correction=0)
        found["conformal" + suffix] = M**2 * (tr2 / tr**2).mean() - M
        found["isometric" + suffix] = M**2 * tr2.mean() / tr.mean() ** 2 - M
        angle = torch.arange(4096, dtype=torch.float64) * (2 * torch.pi / 4096)
        u = torch.stack([angle.cos(), angle.sin()])
        lengths = (torch.einsum("au,nab,bu->nu", u, g, u)).sqrt()
        found["unit_isometric" + suffix] = (lengths - 1).square().mean()
    found["gradient_penalty"] = a.square().sum((1, 2)).mean()
    found["contractive"] = rows.square().sum((1, 2)).mean()

    step = ae.encoder(b.neighbors) - z[:, None]
    for name, second in (("neighborhood", 0.0), ("neighborhood_quadratic", 0.5)):
        errors = [
            b.neighbors[i, k] - ae.decoder(z[i]) - a[i] @ step[i, k] - second * (s[i] @ step[i, k]) @ step[i, k]
            for i, k in itertools.product(range(N), range(K))
        ]
        found[name] = torch.stack(errors).square().mean()

    def projection(z):
        j = jacfwd(ae.decoder)(z)
        return j @ torch.linalg.inv(j.T @ j) @ j.T

    turning = vmap(jacfwd(projection))(z)  # (n, D, D, m) along the coordinates
    inverse = torch.linalg.inv(a.mT @ a)
    found["curvature"] = torch.einsum("nxya,nab,nxyb->n", turning, inverse, turning).mean()

    dx, dz = torch.cdist(x, x), torch.cdist(z, z)
    total = 0
    for d in (dx, dz):
        tree = minimum_spanning_tree(d.detach().numpy()).tocoo()
        total = total + (dx[tree.row, tree.col] - dz[tree.row, tree.col]).square().sum()
    found["topological"] = total / (2 * (N - 1) * D)
    return found


TERMS = [
    Term(name, 0.7, on_encoder=side == "encoder" and len(r.sides) > 1)
    for name, r in REGULARIZERS.items()
    if r.loss is not None
    for side in (("decoder", "encoder") if len(r.sides) > 1 else r.sides)
]


@for_each("term", TERMS)
def test_equals_generic_derivatives(term):
    ae, b = model(), batch()
    found = loss(ae, b, terms=[term])
    expected = by_hand(ae, b)[term.label]
    # the mean over directions is a quadrature
    tolerance = 1e-2 if term.name == "unit_isometric" else 1e-9
    torch.testing.assert_close(found.penalties[0], expected, rtol=tolerance, atol=0)
    error = (ae.decoder(ae.encoder(b.x)) - b.x).square().mean()
    torch.testing.assert_close(found.reconstruction, error)
    torch.testing.assert_close(found.total, error + 0.7 * found.penalties[0])


@for_each("term", TERMS)
def test_gradients_of_all_weights(term):
    ae, b = model(), batch()
    error = (ae.decoder(ae.encoder(b.x)) - b.x).square().mean()
    weights = list(ae.parameters())
    expected = torch.autograd.grad(error + 0.7 * by_hand(ae, b)[term.label], weights)
    loss(ae, b, terms=[term]).total.backward()
    tolerance = 1e-2 if term.name == "unit_isometric" else 1e-8
    largest = max(gradient.abs().max() for gradient in expected)
    for weight, gradient in zip(weights, expected, strict=True):
        torch.testing.assert_close(weight.grad, gradient, rtol=0, atol=tolerance * largest.item())


def test_all_at_once_are_the_sum_of_each():
    ae, b = model(), batch()
    together = loss(ae, b, terms=TERMS, factor=2.0)
    alone = torch.stack([loss(ae, b, terms=[term]).penalties[0] for term in TERMS])
    torch.testing.assert_close(together.penalties, alone)
    torch.testing.assert_close(together.total, together.reconstruction + 2 * 0.7 * alone.sum())


def test_other_cells_and_other_points():
    ae, b = model(), batch()
    other = batch(5).x
    terms = [Term("isometric", 1.0), Term("isometric", 1.0, on_encoder=True)]
    found = loss(ae, replace(b, metric_x=other), terms=terms)
    torch.testing.assert_close(found.penalties, loss(ae, Batch(other), terms=terms).penalties)
    # the points of the decoder are drawn from the codes, those of the encoder stay the cells
    moved = loss(ae, b, terms=terms, sampler=lambda z: z + 1)
    here = loss(ae, b, terms=terms)
    assert moved.penalties[0] != here.penalties[0]
    assert moved.penalties[1] == here.penalties[1]
    a = vmap(jacfwd(ae.decoder))(ae.encoder(b.x) + 1)
    g = a.mT @ a
    expected = 4 * (g @ g).diagonal(dim1=1, dim2=2).sum(1).mean() / g.diagonal(dim1=1, dim2=2).sum(1).mean() ** 2 - 2
    torch.testing.assert_close(moved.penalties[0], expected)


CONTRAST = ContrastiveLoss(weight=0.3, scale=0.7)


def test_contrastive_loss_by_its_formula():
    ae, b = model(), batch()
    codes, partners = ae.encoder(b.x).tolist(), ae.encoder(b.positives).tolist()

    def q(z, other):
        return 1 / (1 + sum((s - t) ** 2 for s, t in zip(z, other, strict=True)) / CONTRAST.scale**2)

    losses = []
    for i, (z, partner) in enumerate(zip(codes, partners, strict=True)):
        others = [*codes[:i], *codes[i + 1 :], *partners]
        losses.append(math.log(sum(q(z, other) for other in others)) - math.log(q(z, partner)))
    found = loss(ae, b, terms=TERMS, contrast=CONTRAST)
    assert found.contrast.item() == pytest.approx(sum(losses) / N, rel=1e-12)
    without = loss(ae, b, terms=TERMS)
    torch.testing.assert_close(found.total, without.total + 0.3 * found.contrast)
    torch.testing.assert_close(found.penalties, without.penalties)
    assert without.contrast == 0
    # the codes that are reconstructed and contrasted are those of the noisy cells, partners have none
    noise = torch.ones_like(b.x)
    noisy = loss(ae, replace(b, noise=noise), terms=[], contrast=CONTRAST)
    moved = loss(ae, replace(b, x=b.x + noise), terms=[], contrast=CONTRAST)
    torch.testing.assert_close(noisy.contrast, moved.contrast)


def test_gradient_of_the_contrastive_loss():
    g = torch.Generator().manual_seed(0)
    z, partners = (torch.randn(5, 2, dtype=torch.float64, generator=g, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(CONTRAST, (z, partners))


@given(st.integers(0, 1000), st.floats(0, 6.28), st.floats(0.01, 100))
def test_contrastive_loss_has_no_place_and_no_unit(seed, angle, factor):
    g = torch.Generator().manual_seed(seed)
    z, partners = torch.randn(2, 6, 2, dtype=torch.float64, generator=g)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.float64)
    moved = replace(CONTRAST, scale=factor * CONTRAST.scale)(factor * (z @ turn + 1), factor * (partners @ turn + 1))
    torch.testing.assert_close(CONTRAST(z, partners), moved)


def test_contrastive_loss_of_equal_codes_is_finite():
    z = torch.zeros(4, 2, requires_grad=True)
    value = CONTRAST(z, torch.zeros(4, 2))
    value.backward()
    assert value.item() == pytest.approx(math.log(7))
    assert z.grad.isfinite().all()


def test_noise_is_on_the_input_alone():
    ae, b = model(), batch()
    noise = torch.ones_like(b.x)
    found = loss(ae, replace(b, noise=noise), terms=[Term("isometric", 1.0)])
    error = (ae.decoder(ae.encoder(b.x + noise)) - b.x).square().mean()
    torch.testing.assert_close(found.reconstruction, error)
    # the geometry is that at the codes that are decoded
    noisy = loss(ae, replace(b, x=b.x + noise), terms=[Term("isometric", 1.0)])
    torch.testing.assert_close(found.penalties, noisy.penalties)


@for_each("name", ["isometric", "contractive", "curvature"])
def test_the_first_cells_carry_the_metric(name):
    ae, b = model(), batch()
    found = loss(ae, replace(b, n_metric=3), terms=[Term(name, 1.0)])
    first = loss(ae, Batch(b.x[:3]), terms=[Term(name, 1.0)])
    torch.testing.assert_close(found.penalties, first.penalties)
    torch.testing.assert_close(found.reconstruction, loss(ae, b, terms=[]).reconstruction)


def ambients():
    g = torch.Generator().manual_seed(3)
    root = torch.randn(D, D, dtype=torch.float64, generator=g)
    diagonal = torch.rand(D, dtype=torch.float64, generator=g) + 0.5
    return {
        "diagonal": (diagonal, lambda x: diagonal.diag().expand(len(x), D, D)),
        "matrix": (root @ root.T, lambda x: (root @ root.T).expand(len(x), D, D)),
        "function of diagonals": (lambda x: 1 + x.square(), lambda x: torch.diag_embed(1 + x.square())),
        "function of matrices": (
            lambda x: torch.eye(D) + x[:, :, None] * x[:, None],
            lambda x: torch.eye(D) + x[:, :, None] * x[:, None],
        ),
    }


@for_each("name", ambients())
def test_ambient_metric(name):
    tensor, matrices = ambients()[name]
    ae, b = model(), batch()
    ae.ambient = Ambient(tensor)
    ae.scale.fill_(2.0)
    ae.center.fill_(0.3)
    z = ae.encoder(b.x)
    a, rows = vmap(jacfwd(ae.decoder))(z), vmap(jacrev(ae.encoder))(b.x)
    # H is a function of points in units of the representation
    pulled = a.mT @ matrices(ae.restore(ae.decoder(z))) @ a
    co = rows @ torch.linalg.inv(matrices(ae.restore(b.x))) @ rows.mT
    terms = [Term("gradient_penalty", 1.0), Term("contractive", 1.0), Term("volume", 1.0)]
    found = loss(ae, b, terms=terms).penalties
    expected = [g.diagonal(dim1=1, dim2=2).sum(1).mean() for g in (pulled, co)]
    expected.append(torch.linalg.slogdet(pulled)[1].var(correction=0))
    torch.testing.assert_close(found, torch.stack(expected))
    # and of the model in its own units
    raw = ae.restore(b.x)
    on_map = ae.encode(raw)
    a, rows = vmap(jacfwd(lambda z: ae.decode(z[None])[0]))(on_map), vmap(jacrev(lambda x: ae.encode(x[None])[0]))(raw)
    torch.testing.assert_close(ae.metric(on_map), a.mT @ matrices(ae.decode(on_map)) @ a)
    pushed = torch.linalg.inv(rows @ torch.linalg.inv(matrices(raw)) @ rows.mT)
    torch.testing.assert_close(ae.encoder_metric(raw), pushed)


def test_topological_with_duplicates_of_a_cell():
    ae = model().float()
    x = torch.as_tensor(np.repeat(np.random.default_rng(0).normal(size=(4, D)), 3, axis=0), dtype=torch.float32)
    found = loss(ae, Batch(x), terms=[Term("topological", 1.0)])
    found.total.backward()
    assert found.total.isfinite()
    assert all(p.grad.isfinite().all() for p in ae.parameters() if p.grad is not None)
