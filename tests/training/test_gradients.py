from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import torch
from scipy import sparse
from scipy.spatial import KDTree

from scgeoae.training.gradients import gradients

from ..for_each import for_each


def layout(n=300, d=2, seed=0):
    """Positions, the inverse of widths that differ, and dense affinities whose sum is n."""
    rng = np.random.default_rng(seed)
    y = (rng.normal(size=(n, d)) * rng.choice([0.3, 2.0], size=(n, 1))).astype(np.float32)
    narrowness = (1 / rng.uniform(0.2, 1.5, n)).astype(np.float32)
    p = np.exp(-rng.uniform(0, 8, size=(n, n)))
    np.fill_diagonal(p, 0)
    p += p.T
    return y, narrowness, sparse.csr_matrix((n * p / p.sum()).astype(np.float32))


def exact(y, narrowness, p):
    """Return n times the gradient of KL(P‖Q) by autograd in float64, and the sums of kernels, (n,)."""
    n = len(y)
    z = torch.tensor(y, dtype=torch.float64, requires_grad=True)
    per_width = torch.tensor(narrowness, dtype=torch.float64)
    delta = z[:, None] - z
    w = 1 / (1 + delta.square().sum(2) * per_width[:, None] * per_width)
    w = w * (1 - torch.eye(n, dtype=torch.float64))
    p = torch.from_numpy(p.toarray().astype(np.float64)) / n
    divergence = (torch.xlogy(p, p) - p * (w / w.sum()).clamp(min=1e-300).log()).sum()
    (gradient,) = torch.autograd.grad(divergence, z)
    return n * gradient.numpy(), w.detach().sum(1).numpy()


def attraction(y, narrowness, p):
    delta = y[:, None].astype(np.float64) - y
    per_square = narrowness[:, None].astype(np.float64) * narrowness
    return np.einsum("ij,ijd->id", p.toarray() * per_square / (1 + np.square(delta).sum(2) * per_square), delta)


def near_cells(y, k):
    distance, near = KDTree(y).query(y, k + 1)
    return near[:, 1:].astype(np.int32), (np.square(distance[:, -1]) * (1 + 1e-5)).astype(np.float32)


def of_refined(y, narrowness, p, *, k, n_far=0, z=0.0, key=7, splits=(), n_threads=1, near=None):
    n, d = y.shape
    near, reach = near_cells(y, k) if near is None else near
    force, total = np.full_like(y, np.nan), np.full(n, np.nan, dtype=np.float32)
    per_total = np.float32(n / z if z else 0)
    ends = [0, *splits, n]

    def work(block):
        gradients(d).of_refined(
            *block, y, narrowness, p.indptr.astype(np.int64), p.indices.astype(np.int32), p.data, near, reach, y,
            n_far, key, per_total, force, total,
        )  # fmt: skip

    blocks = list(pairwise(ends))
    if n_threads == 1:
        list(map(work, blocks))
    else:
        with ThreadPoolExecutor(n_threads) as pool:
            list(pool.map(work, blocks))
    return force, total


@for_each("d", [1, 2, 3])
def test_the_force_is_the_gradient_of_the_divergence(d):
    y, narrowness, p = layout(d=d)
    gradient, kernels = exact(y, narrowness, p)
    force, total = of_refined(y, narrowness, p, k=len(y) - 1, z=kernels.sum())
    np.testing.assert_allclose(total, kernels, rtol=1e-5)
    assert np.linalg.norm(4 * force - gradient) < 1e-4 * np.linalg.norm(gradient)
    assert np.abs(4 * force - gradient).max() < 1e-4 * np.abs(gradient).max()
    # to every action there is a reaction
    assert np.abs(force.sum(0)).max() < 1e-4 * np.abs(force).sum()


@for_each("n, d", [(300, 2), (120, 1), (200, 3)])
def test_a_sample_of_far_cells_stands_for_all_of_them(n, d):
    y, narrowness, p = layout(n, d)
    gradient, kernels = exact(y, narrowness, p)
    near = near_cells(y, 40)
    n_keys = 400
    draws = [
        of_refined(y, narrowness, p, k=40, n_far=10, z=kernels.sum(), key=key, near=near)
        for key in np.random.default_rng(0).integers(2**63, size=n_keys)
    ]
    force = 4 * np.array([draw[0] for draw in draws], dtype=np.float64)
    total = np.array([draw[1] for draw in draws], dtype=np.float64)
    # of each cell: as many standard errors off as chance has it
    for found, expected in ((force, gradient), (total, kernels)):
        error = found.std(0, ddof=1) / np.sqrt(n_keys) + 1e-5 * np.abs(expected).max()
        off = (found.mean(0) - expected) / error
        assert np.abs(off).max() < 5
        assert np.sqrt(np.mean(off**2)) < 1.25
    # and of all: the normalizer, and how strong far cells push
    sums = total.sum(1)
    assert abs(sums.mean() - kernels.sum()) < 4 * sums.std(ddof=1) / np.sqrt(n_keys) + 1e-5 * kernels.sum()
    of_near = 4 * of_refined(y, narrowness, p, k=40, z=kernels.sum(), near=near)[0]
    far = gradient - of_near
    along = ((force - of_near) * far).sum((1, 2)) / np.square(far).sum()
    assert abs(along.mean() - 1) < 4 * along.std(ddof=1) / np.sqrt(n_keys) + 1e-3


def test_without_a_normalizer_there_is_attraction_alone():
    y, narrowness, p = layout(80)
    force, _ = of_refined(y, narrowness, p, k=79)
    np.testing.assert_allclose(force, attraction(y, narrowness, p), rtol=1e-4, atol=1e-5)


def test_any_split_and_any_number_of_threads_gives_the_same_bits():
    y, narrowness, p = layout(1000)
    near = near_cells(y, 40)
    whole = of_refined(y, narrowness, p, k=40, n_far=10, z=1e4, near=near)
    for splits, n_threads in (((500,), 1), ((1, 2, 3, 17, 640, 999), 1), (tuple(range(50, 1000, 50)), 2)):
        parts = of_refined(y, narrowness, p, k=40, n_far=10, z=1e4, near=near, splits=splits, n_threads=n_threads)
        for a, b in zip(whole, parts, strict=True):
            assert a.tobytes() == b.tobytes()
    other = of_refined(y, narrowness, p, k=40, n_far=10, z=1e4, near=near, key=8)[0]
    assert np.abs(other - whole[0]).max() > 0


def test_equal_places():
    y, narrowness, p = layout(200)
    y[50:150] = y[50]
    gradient, kernels = exact(y, narrowness, p)
    near = np.array([np.delete(np.arange(200), i) for i in range(200)], dtype=np.int32)
    reach = np.full(200, np.inf, dtype=np.float32)
    force, _ = of_refined(y, narrowness, p, k=199, z=kernels.sum(), near=(near, reach))
    assert np.linalg.norm(4 * force - gradient) < 1e-4 * np.linalg.norm(gradient)


@for_each("d", [1, 2, 3])
def test_the_force_of_chords_is_the_gradient_of_their_misfit(d):
    rng = np.random.default_rng(0)
    y, landmarks = (rng.normal(size=(n, d)).astype(np.float32) for n in (200, 24))
    ratio = rng.uniform(0.2, 3, size=(200, 24))
    length = np.linalg.norm(y[:, None] - landmarks, axis=2)
    decoded = (ratio * length).astype(np.float32)
    before = rng.normal(size=y.shape).astype(np.float32)
    force = before.copy()
    for block in ((0, 77), (77, 200)):
        gradients(d).of_chords(*block, y, landmarks, decoded, np.float32(1.7), force)
    z = torch.tensor(y, dtype=torch.float64, requires_grad=True)
    to = torch.tensor(landmarks, dtype=torch.float64)
    misfit = ((z[:, None] - to).square().sum(2).sqrt() - torch.from_numpy(decoded)).square().mean(1).sum()
    (expected,) = torch.autograd.grad(1.7 / 2 * misfit, z)
    np.testing.assert_allclose(force - before, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_chords_between_equal_and_nearly_equal_places():
    y = np.array([[0, 0], [1e-6, 0]], dtype=np.float32)
    force = np.zeros_like(y)
    gradients(2).of_chords(0, 2, y, y[:1].copy(), np.full((2, 1), 5, dtype=np.float32), np.float32(2), force)
    # the first is on the landmark; the second is pushed by four times the way between them, not by 5
    np.testing.assert_allclose(force, [[0, 0], [-8e-6, 0]], rtol=1e-5)
