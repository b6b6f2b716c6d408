from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scgeoae.training import pairs
from scgeoae.training.affinities import Edges
from scgeoae.training.pairs import CompiledPairs, Near, Repulsion, TorchPairs, drawn

from ..for_each import for_each
from .test_gradients import layout, near_cells

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")),
]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(pairs, "N_PAIRS", 128 * 70)


def both(p, d, device="cpu"):
    offsets, partners = p.indptr.astype(np.int64), p.indices.astype(np.int32)
    edges = Edges(*map(torch.from_numpy, (offsets, partners, p.data)))
    return CompiledPairs(edges, d, 1), TorchPairs(Edges(*(part.to(device) for part in edges)))


def divergence(sums, y, narrowness, near, *, n_far=10, z=1e4, device="cpu"):
    per_total = torch.tensor(len(y) / z, dtype=torch.float64, device=device)
    at = torch.from_numpy(y).to(device)
    gradient = torch.full_like(at, torch.nan)
    around = Near(*(torch.from_numpy(part).to(device) for part in near), at)
    narrow = torch.from_numpy(narrowness).to(device)
    total = sums.write_divergence(at, narrow, around, Repulsion(n_far, 2**62 + 7, per_total), gradient)
    assert (total.shape, total.dtype) == ((), torch.float64)
    return gradient.cpu().numpy(), total.item()


def agree(found, expected):
    """To the rounding of float32: of each number, and where several cancel, of the largest ones."""
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("device", DEVICES)
@for_each("d", [1, 2, 3])
@for_each("n_far", [0, 10])
def test_the_gradient_of_the_divergence(device, d, n_far):
    y, narrowness, p = layout(500, d)
    y[100:200] = y[100]
    # as sparse as affinities are, and a cell without any
    p.data[np.random.default_rng(0).random(p.nnz) < 0.9] = 0
    p.data[p.indptr[7] : p.indptr[8]] = 0
    p.eliminate_zeros()
    compiled, regular = both(p, d, device)
    near = near_cells(y, 40)
    expected, kernels = divergence(compiled, y, narrowness, near, n_far=n_far)
    found, total = divergence(regular, y, narrowness, near, n_far=n_far, device=device)
    agree(found, expected)
    assert total == pytest.approx(kernels, rel=1e-5)
    again, _ = divergence(regular, y, narrowness, near, n_far=n_far, device=device)
    assert again.tobytes() == found.tobytes()
    # without a normalizer there is attraction alone
    agree(
        *(
            divergence(sums, y, narrowness, near, z=np.inf, device=where)[0]
            for sums, where in ((regular, device), (compiled, "cpu"))
        )
    )


@given(st.integers(0, 2**63 - 1), st.integers(2, 2**31 - 1), st.integers(0, 2**31 - 10))
def test_far_cells_are_drawn_as_the_compiled_loop_draws_them(key, n, first):
    found = drawn(slice(first, first + 4), n, 3, key, torch.device("cpu")).numpy()

    def mixed(x):
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return x ^ (x >> 31)

    states = [
        [key + i * 0x9E3779B97F4A7C15 + t * 0xD1342543DE82EF95 for t in (1, 2, 3)] for i in range(first, first + 4)
    ]
    expected = [[(mixed(state % 2**64) >> 32) * n >> 32 for state in row] for row in states]
    np.testing.assert_array_equal(found, expected)
    assert 0 <= found.min() <= found.max() < n


@pytest.mark.parametrize("device", DEVICES)
@for_each("d", [1, 2, 3])
def test_chords(device, d):
    y, _, p = layout(300, d)
    rng = np.random.default_rng(1)
    at, landmarks = torch.from_numpy(y), torch.from_numpy(y[:24].copy())
    # some landmarks are cells, and some distances are much longer on the surface
    decoded = torch.from_numpy(rng.exponential(3, size=(300, 24)).astype(np.float32))
    results = []
    for sums, where in zip(both(p, d, device), ("cpu", device), strict=True):
        gradient = torch.from_numpy(y[::-1].copy()).to(where)
        sums.add_chords(at.to(where), landmarks.to(where), decoded.to(where), 1.7, gradient)
        results.append(gradient.cpu().numpy())
    agree(results[1], results[0])


@pytest.mark.parametrize("device", DEVICES)
@for_each("d", [1, 2, 3])
@for_each("share", [0.0, 0.3, 1.0])
def test_gatherings(device, d, share):
    y, _, p = layout(300, d)
    y[10:40] = y[10]
    rng = np.random.default_rng(1)
    neighbors = np.array([np.delete(np.arange(300), i)[rng.choice(299, 10, replace=False)] for i in range(300)])
    neighbors[rng.random(neighbors.shape) < share] = -1
    near = torch.from_numpy(neighbors.astype(np.int32))
    compiled, regular = both(p, d, device)
    place, gain = (part.numpy() for part in compiled.gatherings(torch.from_numpy(y), near, 4.0))
    found = regular.gatherings(torch.from_numpy(y).to(device), near.to(device), 4.0)
    places, gains = (part.cpu().numpy() for part in found)
    np.testing.assert_allclose(gains, gain, rtol=1e-4)
    # where two neighbors have as many votes either is right
    assert np.isclose(places, place, rtol=1e-4, atol=1e-4).all(1).mean() > 0.95
    assert share < 1 or np.array_equal(places, y)


@pytest.mark.parametrize("device", DEVICES)
def test_nearest_others(device):
    y, _, p = layout(300)
    compiled, regular = both(p, 2, device)
    expected, distance = compiled.nearest_others(torch.from_numpy(y), 40)
    found, length = regular.nearest_others(torch.from_numpy(y).to(device), 40)
    torch.testing.assert_close(length.cpu(), distance)
    assert (found.dtype, expected.dtype) == (torch.int32, torch.int32)
    assert (found.cpu() == expected).float().mean() > 0.999
