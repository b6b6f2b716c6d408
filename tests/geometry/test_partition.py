from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import KDTree

from scgeoae.graphs import partition
from scgeoae.graphs.neighbors import others_in_tree
from scgeoae.graphs.partition import Partition

from ..for_each import for_each


def positions(kind, n, d, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, d))
    if kind == "half on one place":
        z[: n // 2] = z[0]
    elif kind == "on one place":
        z[:] = z[0]
    elif kind == "on a line":
        z = z[:, :1] * rng.normal(size=d)
    elif kind == "one far outlier":
        z[n // 3] += 1e6
    elif kind == "on a grid":
        z = z.round()
    elif kind == "groups of other density":
        z = z * 10.0 ** rng.integers(-4, 2, size=(n, 1))
    return z.astype(np.float32)


KINDS = [
    "random", "half on one place", "on one place", "on a line", "one far outlier", "on a grid",
    "groups of other density",
]  # fmt: skip


def check(z, k, cells=None):
    """Compare with a tree: neighbors have the same distances, and where these are equal any is right."""
    found, distance = Partition(torch.from_numpy(z)).nearest_others(
        k, None if cells is None else torch.from_numpy(cells)
    )
    found, rows = found.numpy(), np.arange(len(z)) if cells is None else cells
    assert (found.shape, found.dtype, distance.dtype) == ((len(rows), k), np.int32, torch.float32)
    expected = others_in_tree(KDTree(z), rows, k)[1]
    np.testing.assert_allclose(distance.numpy(), expected, rtol=1e-5, atol=1e-30)
    own = np.linalg.norm(z[rows, None].astype(np.float64) - z[found], axis=2)
    np.testing.assert_allclose(own, expected, rtol=1e-5, atol=1e-30)
    assert (found != rows[:, None]).all()
    assert all(len(set(row)) == k for row in found)


@for_each("kind", KINDS)
@for_each("n, k", [(2, 1), (5, 4), (42, 40), (64, 5), (65, 15), (700, 40), (1300, 15)])
@for_each("d", [1, 2, 3])
def test_the_nearest_are_those_of_a_tree(kind, n, k, d):
    z = positions(kind, n, d)
    check(z, k)
    check(z, k, np.random.default_rng(1).choice(n, min(n, 20), replace=False))


@given(st.integers(0, 2**32 - 1), st.integers(2, 300), st.integers(1, 4), st.sampled_from(KINDS), st.integers(1, 9))
def test_any_cells_leaves_and_blocks(seed, n, d, kind, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partition, "LEAF_SIZE", size)
        patch.setattr(partition, "N_COMPARED", 1)
        patch.setattr(partition, "TABLE_SIZE", 10_000)
        check(positions(kind, n, d, seed), min(n - 1, 12))


def test_few_cells_need_a_second_look():
    # groups of other density, as on a map
    rng = np.random.default_rng(0)
    kind = rng.integers(20, size=20_000)
    z = 5 * rng.normal(size=(20, 2))[kind] + rng.lognormal(size=(20, 1))[kind] * rng.normal(size=(20_000, 2))
    leaves = Partition(torch.from_numpy(z.astype(np.float32)))
    _, _, is_certain = leaves._compare(leaves.leaves, 40, partition.N_COMPARED)
    # 0.98
    assert is_certain.float().mean() > 0.9


def test_a_search_among_positions_that_are_not_finite_ends():
    z = positions("random", 300, 2)
    z[5], z[9, 0] = np.nan, np.inf
    near, _ = Partition(torch.from_numpy(z)).nearest_others(10)
    assert near.shape == (300, 10)


def test_the_order_keeps_near_cells_together():
    z = positions("random", 5000, 2)
    order = Partition(torch.from_numpy(z)).order.numpy()
    np.testing.assert_array_equal(np.sort(order), np.arange(5000))
    step = np.linalg.norm(np.diff(z[order], axis=0), axis=1)
    assert np.median(step) < 0.2 * np.median(np.linalg.norm(np.diff(z, axis=0), axis=1))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@for_each("kind", KINDS)
def test_on_cuda(kind):
    z = torch.from_numpy(positions(kind, 30_000, 2))
    runs = [Partition(z.cuda()).nearest_others(40) for _ in range(2)]
    for first, second in zip(*runs, strict=True):
        assert torch.equal(first, second)
    torch.testing.assert_close(runs[0][1].cpu(), Partition(z).nearest_others(40)[1])
