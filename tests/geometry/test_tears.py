from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestNeighbors

from scgeoae.graphs import tears
from scgeoae.graphs.neighbors import both_ways

from ..for_each import for_each


def neighbors_of(x, k=15):
    lengths, neighbors = NearestNeighbors(n_neighbors=k).fit(x).kneighbors()
    return neighbors, lengths


@for_each("gap", [0.15, 0.3, 10.0])
@for_each("curved", [False, True])
def test_exactly_the_edges_across_a_rip_are_torn(gap, curved):
    x = np.random.default_rng(0).uniform(size=(2000, 2))
    right = x[:, 0] > 0.5
    z = x + gap * right[:, None] * [1, 0]
    if curved:
        # a map that magnifies smoothly beside the rip
        x = np.stack([np.cos(x[:, 0]), np.sin(x[:, 0]), x[:, 1] ** 2 / 3 + x[:, 1]], axis=1)
    neighbors, lengths = neighbors_of(x)
    found = tears(z, neighbors, lengths)
    i, j, _ = both_ways(neighbors, lengths)
    across = right[i] != right[j]
    assert set(zip(*found.stretch.nonzero(), strict=True)) == set(zip(i[across], j[across], strict=True))
    share = np.bincount(i, across, minlength=2000) / np.bincount(i, minlength=2000)
    np.testing.assert_allclose(found.share, share, rtol=1e-6)
    assert np.array_equal(found.broken, share >= 0.1)
    assert found.stretch.data.min() > found.fence
    assert abs(found.stretch - found.stretch.T).max() < 1e-5
    assert (found.stretch.dtype, found.share.dtype, found.broken.dtype) == (np.float32, np.float32, bool)


@for_each("name", ["stretched Swiss roll", "stereographic", "Mercator", "plate carrée"])
def test_smooth_charts_have_no_tears(chart, name):
    x, z, _ = chart(name)
    assert tears(z, *neighbors_of(x)).stretch.nnz == 0


def test_noise_is_no_tear(chart):
    x, z, _ = chart("plate carrée")
    noise = 0.1 * z.std() * np.random.default_rng(0).normal(size=z.shape)
    assert not tears(z + noise, *neighbors_of(x)).broken.any()


def test_a_cell_that_lost_all_its_neighbors():
    """It is measured by them, not by itself."""
    x = np.random.default_rng(0).uniform(size=(500, 2))
    z = x.copy()
    z[7] = [5, 5]
    found = tears(z, *neighbors_of(x))
    assert found.share[7] == 1
    assert found.stretch[7].nnz == found.stretch.nnz / 2


def test_unit_pose_and_order_do_not_matter():
    x = np.random.default_rng(0).uniform(size=(400, 2))
    z = x + (x[:, :1] > 0.5)
    found = tears(z, *neighbors_of(x))
    scaled = tears(1e4 * z[:, ::-1] + 3, *neighbors_of(x))
    np.testing.assert_allclose(scaled.stretch.toarray(), found.stretch.toarray(), rtol=1e-4)
    order = np.random.default_rng(1).permutation(400)
    permuted = tears(z[order], *neighbors_of(x[order]))
    np.testing.assert_allclose(permuted.stretch.toarray(), found.stretch[order][:, order].toarray(), rtol=1e-4)


def test_cells_at_one_place():
    x = np.repeat(np.random.default_rng(0).normal(size=(6, 2)), 20, axis=0)
    for z in (x, np.zeros_like(x), np.random.default_rng(1).normal(size=x.shape)):
        found = tears(z, *neighbors_of(x, 5))
        assert np.isfinite(found.stretch.data).all()
        assert np.isfinite(found.share).all()
    assert tears(x, *neighbors_of(x, 5)).stretch.nnz == 0
