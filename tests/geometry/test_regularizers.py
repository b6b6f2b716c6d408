from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import pdist, squareform

from scgeoae.geometry import Jet, pullback
from scgeoae.geometry.regularizers import (
    REGULARIZERS,
    canonical_name,
    conformal,
    curvature,
    gradient_penalty,
    isometric,
    neighborhood,
    topological,
    unit_isometric,
    volume,
)

from ..for_each import for_each

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


@for_each("name", OF_SHAPE)
@for_each("scale", [0.0, 1e-12, 1e12])
def test_finite_for_singular_metrics_in_float32(name, scale):
    a = torch.zeros(4, 5, 2)
    a[:, 0, 0] = scale
    a.requires_grad_()
    value = OF_SHAPE[name](pullback(a))
    value.backward()
    assert value.isfinite()
    assert a.grad.isfinite().all()


def test_unit_isometric_by_hand():
    # ‖u‖ − 1 is the same in all directions for a multiple of the identity
    eye = torch.eye(2, dtype=torch.float64)
    assert unit_isometric(9 * eye[None]).item() == pytest.approx(4)
    assert unit_isometric(eye[None]).item() == pytest.approx(0)
    assert unit_isometric(torch.tensor([[[4.0]]])).item() == pytest.approx(1)
    # a collapsed direction: the mean of (|cos| − 1)² is 3/2 − 4/π
    flat = torch.diag(torch.tensor([1.0, 0.0], dtype=torch.float64))[None]
    assert unit_isometric(flat).item() == pytest.approx(1.5 - 4 / math.pi, rel=0.08)


@given(seeds, st.integers(1, 4))
def test_unit_isometric_laws(seed, d):
    g = metrics(seed, d)
    value = unit_isometric(g)
    assert value >= 0
    torch.testing.assert_close(unit_isometric(g.flip(0)), value)
    # the scale that makes it least is where the mean length is one, and it is not free
    assert unit_isometric(100 * g) > value.clamp(min=1e-3) / 100
    eye = torch.eye(d, dtype=torch.float64).expand(5, d, d)
    assert unit_isometric(eye).item() == pytest.approx(0, abs=1e-12)


@given(seeds, st.floats(1, 6))
def test_unit_isometric_averages_all_directions(seed, ratio):
    r = rotations(seed, n=1)
    g = r.mT @ torch.diag(torch.tensor([1.0, 1 / ratio**2], dtype=torch.float64)) @ r
    angle = torch.arange(1024, dtype=torch.float64) * (math.pi / 1024)
    u = torch.stack([angle.cos(), angle.sin()])
    exact = (torch.einsum("au,nab,bu->nu", u, g, u).sqrt() - 1).square().mean()
    torch.testing.assert_close(unit_isometric(g), exact, rtol=0.01, atol=1e-12)


def jet_of(f, z):
    return Jet(*(torch.func.vmap(g)(z) for g in (f, torch.func.jacfwd(f), torch.func.hessian(f))))


def square(n=500):
    return 0.2 + 0.6 * torch.rand(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def swiss_roll(z):
    """Rolled from a flat sheet: z[0] is the arc length of the spiral r = t, found by Newton's method."""
    s = z[0] * 20
    t = (2 * s).sqrt()
    for _ in range(30):
        root = (1 + t**2).sqrt()
        t = t - ((t * root + torch.asinh(t)) / 2 - s) / root
    return torch.stack([t * torch.cos(t), 20 * z[1], t * torch.sin(t)])


KNOWN_MAPS = {
    # isometries up to the scale 20
    "plane": lambda z: 20 * torch.stack([z[0], 0.6 * z[1], 0.8 * z[1]]),
    "cylinder": lambda z: 20 * torch.stack([torch.cos(z[0]), torch.sin(z[0]), z[1]]),
    "swiss_roll": swiss_roll,
    # of the sphere: Mercator inverse is conformal, Lambert's cylindrical inverse keeps areas
    "mercator": lambda z: torch.stack(
        [torch.cos(z[0]) / torch.cosh(z[1]), torch.sin(z[0]) / torch.cosh(z[1]), torch.tanh(z[1])]
    ),
    "lambert": lambda z: torch.stack(
        [(1 - z[1] ** 2).sqrt() * torch.cos(z[0]), (1 - z[1] ** 2).sqrt() * torch.sin(z[0]), z[1]]
    ),
}
KEEPS = {
    "plane": {"volume", "conformal", "isometric"},
    "cylinder": {"volume", "conformal", "isometric"},
    "swiss_roll": {"volume", "conformal", "isometric"},
    "mercator": {"conformal"},
    "lambert": {"volume"},
}


@for_each("name", KNOWN_MAPS)
def test_zero_on_known_maps_where_it_must_be(name):
    g = pullback(torch.func.vmap(torch.func.jacfwd(KNOWN_MAPS[name]))(square()))
    zero = {key for key, loss in OF_SHAPE.items() if loss(g).item() < 1e-10}
    assert zero == KEEPS[name]
    is_isometry = "isometric" in KEEPS[name]
    assert (unit_isometric(g / 400).item() < 1e-10) == is_isometry
    if is_isometry:
        assert unit_isometric(g).item() == pytest.approx(19**2)


def test_exact_values_on_the_sphere():
    z = square()
    y = z[:, 1].numpy()
    # Mercator: G = sech² y · 1
    g = pullback(torch.func.vmap(torch.func.jacfwd(KNOWN_MAPS["mercator"]))(z))
    sech2 = 1 / np.cosh(y) ** 2
    assert volume(g).item() == pytest.approx(np.var(2 * np.log(sech2)))
    assert isometric(g).item() == pytest.approx(4 * np.mean(2 * sech2**2) / np.mean(2 * sech2) ** 2 - 2)
    # Lambert: G = diag(1 − y², 1/(1 − y²))
    g = pullback(torch.func.vmap(torch.func.jacfwd(KNOWN_MAPS["lambert"]))(z))
    c = 1 - y**2
    trace, squared = c + 1 / c, c**2 + 1 / c**2
    assert conformal(g).item() == pytest.approx(4 * np.mean(squared / trace**2) - 2)
    assert isometric(g).item() == pytest.approx(4 * np.mean(squared) / np.mean(trace) ** 2 - 2)
    assert gradient_penalty(g).item() == pytest.approx(np.mean(trace))


def test_curvature_of_the_same_maps():
    z = square(50)
    assert curvature(jet_of(KNOWN_MAPS["plane"], z)).item() == pytest.approx(0, abs=1e-12)
    assert curvature(jet_of(KNOWN_MAPS["cylinder"], z)).item() == pytest.approx(2 / 400)
    for name in ("mercator", "lambert"):
        assert curvature(jet_of(KNOWN_MAPS[name], z)).item() == pytest.approx(4)


def test_neighborhood_of_known_maps():
    g = torch.Generator().manual_seed(0)
    z, near = square(20), square(60).reshape(20, 3, 2)

    def of(f, *, order):
        jet = jet_of(f, z)
        jet = jet if order == 2 else jet._replace(second=None)
        return neighborhood(jet, z, near, torch.func.vmap(torch.func.vmap(f))(near)).item()

    affine = torch.randn(2, 5, dtype=torch.float64, generator=g)
    assert of(lambda z: z @ affine + 1, order=1) == pytest.approx(0, abs=1e-20)
    parabola = lambda z: torch.stack([z[0], z[1], z[0] ** 2 + 3 * z[0] * z[1]])  # noqa: E731
    step = near - z[:, None]
    missing = step[..., 0] ** 2 + 3 * step[..., 0] * step[..., 1]
    assert of(parabola, order=1) == pytest.approx((missing**2).mean().item() / 3)
    assert of(parabola, order=2) == pytest.approx(0, abs=1e-20)


def test_topological_of_known_maps():
    x = square(20)
    assert topological(x, x).item() == 0
    rotated = x @ torch.tensor([[0.6, 0.8], [-0.8, 0.6]], dtype=torch.float64)
    assert topological(x, rotated).item() == pytest.approx(0, abs=1e-12)
    # both trees are the same, and every edge is twice as long
    edges = minimum_spanning_tree(squareform(pdist(x))).data
    assert topological(x, 2 * x).item() == pytest.approx((edges**2).sum() / (19 * 2))


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
    papers |= {"mcae": "curvature", "rae_gp": "gradient_penalty", "iae": "unit_isometric", "cae": "contractive"}
    papers |= {"nrae": "neighborhood", "nrae_l": "neighborhood", "nrae_q": "neighborhood_quadratic"}
    papers |= {"dae": "denoising", "topoae": "topological"}
    assert {paper: canonical_name(paper) for paper in papers} == papers
    assert all(canonical_name(name) == name for name in REGULARIZERS)
    with pytest.raises(ValueError, match=r"`regularizer` to be None, one of \[.*'isometric'.*\].*, found 'isometry'"):
        canonical_name("isometry")
