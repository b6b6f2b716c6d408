from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.func import hessian, jacfwd, vmap

from scgeoae.geometry import Jet, extrinsic_curvature, gaussian_curvature, inverse, mean_curvature, pullback
from scgeoae.nn import Mlp

from ..for_each import for_each


def jet_of(f, z):
    return Jet(vmap(f)(z), vmap(jacfwd(f))(z), vmap(hessian(f))(z))


def points(n=40, seed=0, d=2):
    return 0.3 + torch.rand(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


R, r = 3.0, 0.8
SURFACES = {
    # name: (parametrisation, Gaussian curvature, length of the mean curvature vector)
    "plane": (lambda z: torch.stack([2 * z[0] + z[1], z[1], z[0] - z[1]]), lambda u, v: 0 * u, lambda u, v: 0 * u),
    "cylinder": (
        lambda z: torch.stack([R * torch.cos(z[0]), R * torch.sin(z[0]), z[1]]),
        lambda u, v: 0 * u,
        lambda u, v: 0 * u + 1 / (2 * R),
    ),
    "sphere": (
        lambda z: (
            R * torch.stack([torch.sin(z[0]) * torch.cos(z[1]), torch.sin(z[0]) * torch.sin(z[1]), torch.cos(z[0])])
        ),
        lambda u, v: 0 * u + 1 / R**2,
        lambda u, v: 0 * u + 1 / R,
    ),
    "torus": (
        lambda z: torch.stack(
            [
                (R + r * torch.cos(z[0])) * torch.cos(z[1]),
                (R + r * torch.cos(z[0])) * torch.sin(z[1]),
                r * torch.sin(z[0]),
            ]
        ),
        lambda u, v: torch.cos(u) / (r * (R + r * torch.cos(u))),
        lambda u, v: (R + 2 * r * torch.cos(u)) / (2 * r * (R + r * torch.cos(u))),
    ),
    "Swiss roll": (
        lambda z: torch.stack([z[0] * torch.cos(z[0]), z[1], z[0] * torch.sin(z[0])]),
        lambda u, v: 0 * u,
        lambda u, v: (u**2 + 2) / (2 * (u**2 + 1) ** 1.5),
    ),
    "saddle": (
        lambda z: torch.stack([z[0], z[1], z[0] * z[1]]),
        lambda u, v: -1 / (1 + u**2 + v**2) ** 2,
        lambda u, v: u * v / (1 + u**2 + v**2) ** 1.5,
    ),
}


@for_each("name", SURFACES)
@for_each("ambient", [3, 7])
def test_known_surfaces(name, ambient):
    surface, gaussian, mean = SURFACES[name]
    motion = torch.linalg.qr(torch.randn(ambient, ambient, dtype=torch.float64))[0][:, :3]
    z = points()
    jet = jet_of(lambda z: motion @ surface(z), z)
    torch.testing.assert_close(gaussian_curvature(jet), gaussian(*z.T), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(mean_curvature(jet), mean(*z.T), rtol=1e-9, atol=1e-9)
    # for a surface in space the squared principal curvatures add up to 4H² − 2K
    expected = 2 * (4 * mean(*z.T) ** 2 - 2 * gaussian(*z.T))
    torch.testing.assert_close(extrinsic_curvature(jet), expected, rtol=1e-9, atol=1e-9)


@given(st.integers(0, 100))
def test_gaussian_and_mean_curvature_do_not_depend_on_the_coordinates(seed):
    surface, _, _ = SURFACES["torus"]
    bend = torch.tensor([[1.0, 0.4], [-0.2, 0.8]], dtype=torch.float64)

    def again(w):
        return surface(bend @ w + 0.1 * w**2)

    w = points(seed=seed)
    z = w @ bend.T + 0.1 * w**2
    here, there = jet_of(surface, z), jet_of(again, w)
    for curvature in (gaussian_curvature, mean_curvature, extrinsic_curvature):
        torch.testing.assert_close(curvature(there), curvature(here), rtol=1e-8, atol=1e-8)


@given(st.integers(0, 100), st.integers(1, 3))
def test_extrinsic_curvature_is_the_turning_of_the_tangent_projection(seed, d):
    mlp = Mlp(d, 6, hidden=(8,), activation="tanh", generator=torch.Generator().manual_seed(seed)).double()
    z = points(n=5, seed=seed, d=d)

    def projection(z):
        a = jacfwd(mlp)(z)
        return a @ torch.linalg.inv(a.T @ a) @ a.T

    turning = vmap(jacfwd(projection))(z)  # (n, D, D, d)
    g = inverse(pullback(mlp.jet(z).first), floor=1e-14)
    expected = torch.einsum("nxya,nxyb,nab->n", turning, turning, g)
    torch.testing.assert_close(extrinsic_curvature(mlp.jet(z, order=2)), expected, rtol=1e-4, atol=1e-7)


def test_curve():
    z = points(d=1)
    jet = jet_of(lambda z: torch.stack([z[0], torch.sin(z[0])]), z)
    u = z[:, 0]
    expected = torch.sin(u).abs() / (1 + torch.cos(u) ** 2) ** 1.5
    torch.testing.assert_close(mean_curvature(jet), expected)
    torch.testing.assert_close(extrinsic_curvature(jet), 2 * expected**2)
    with pytest.raises(ValueError, match="the map has 1 dimensions, not 2"):
        gaussian_curvature(jet)


def test_singular_points_stay_finite():
    jet = Jet(torch.zeros(3, 4), torch.zeros(3, 4, 2), torch.ones(3, 4, 2, 2))
    assert all(f(jet).isfinite().all() for f in (mean_curvature, extrinsic_curvature))
    assert math.isfinite(gaussian_curvature(Jet(torch.zeros(1, 4), torch.ones(1, 4, 2), torch.ones(1, 4, 2, 2))).item())
