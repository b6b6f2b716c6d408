from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scgeoae.training.gradients import gradients


def find(y, neighbors, width, n_blocks=1):
    place, gain = np.empty_like(y), np.empty(len(y), dtype=np.float32)
    ends = np.linspace(0, len(y), n_blocks + 1).astype(int)
    for start, stop in pairwise(ends):
        gradients(y.shape[1]).gatherings(start, stop, y, neighbors, np.float32(width**-2), place, gain)
    return place, gain


def expected(y, neighbors, width):
    """The same, cell by cell, from the definition."""
    place, gain = [], []
    for i, there in enumerate(neighbors):
        row = there[there >= 0]
        kernel = 1 / (1 + np.square(y[row][:, None] - y[row]).sum(2) / width**2)
        votes = kernel.sum(1) - 1
        best = votes.argmax()
        own = (1 / (1 + np.square(y[row] - y[i]).sum(1) / width**2)).sum()
        counts = kernel[best] * (kernel[best] > 0.5)
        gain.append(votes[best] / own)
        place.append(counts @ y[row] / counts.sum())
    return np.array(place), np.array(gain)


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(2, 12), st.floats(0.1, 3))
def test_they_gather_where_the_definition_says(seed, d, k, width):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(40, d)).astype(np.float32)
    neighbors = np.stack([rng.permutation(np.delete(np.arange(40), i))[:k] for i in range(40)]).astype(np.int32)
    # some cells have fewer
    neighbors[::3, 2:] = -1
    place, gain = find(y, neighbors, width)
    places, gains = expected(y.astype(np.float64), neighbors, width)
    np.testing.assert_allclose(gain, gains, rtol=1e-4)
    # where two neighbors have as many votes either is right
    same = np.isclose(place, places, rtol=1e-3, atol=1e-4).all(1)
    assert same[np.setdiff1d(np.arange(40), np.arange(0, 40, 3))].mean() > 0.9


def test_neighbors_in_two_places():
    # seven of ten neighbors lie around 5, and three around the cell
    y = np.float32([0, *5 + np.linspace(-0.1, 0.1, 7), -0.1, 0, 0.1])[:, None]
    neighbors = np.tile(np.arange(1, 11, dtype=np.int32), (11, 1))
    place, gain = find(y, neighbors, 1.0)
    assert place[0, 0] == pytest.approx(5, abs=1e-3)
    # the others are 5 away, so that each of them counts 1/26
    assert gain[0] == pytest.approx((6 + 3 / 26) / (3 + 7 / 26), rel=0.02)


def test_a_cell_without_neighbors_stays():
    y = np.float32([[1, 2], [3, 4]])
    place, gain = find(y, np.full((2, 3), -1, dtype=np.int32), 1.0)
    np.testing.assert_array_equal(place, y)
    np.testing.assert_array_equal(gain, 0)


def test_every_number_of_blocks_finds_the_same_bits():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(100, 2)).astype(np.float32)
    neighbors = rng.integers(100, size=(100, 8)).astype(np.int32)
    for whole, parts in zip(find(y, neighbors, 0.5), find(y, neighbors, 0.5, n_blocks=7), strict=True):
        np.testing.assert_array_equal(whole, parts)
