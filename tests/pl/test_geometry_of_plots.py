from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scgeoae.pl._notes import hidden_in_corners
from scgeoae.pl._ruler import round_length
from scgeoae.pl._tissot import occupied_tiles, places_on_grid
from scgeoae.pl._view import data_box


@given(st.floats(1e-12, 1e12))
def test_round_length(length):
    rounded = round_length(length)
    assert rounded <= length * (1 + 1e-6)
    assert rounded > length / 2.6
    assert f"{rounded:e}"[0] in "125"


@given(st.integers(0, 1000), st.integers(1, 12))
def test_each_occupied_tile_has_its_most_central_cell(seed, n_tiles):
    z = np.random.default_rng(seed).normal(size=(80, 2))
    box = data_box(z, outliers=True)
    width = box.longest / n_tiles
    chosen, counts = occupied_tiles(z, box, width)
    tiles = np.floor((z - box.low) / width).astype(int)
    assert {tuple(t) for t in tiles} == {tuple(t) for t in tiles[chosen]}
    assert len(np.unique(tiles[chosen], axis=0)) == len(chosen)
    offset = np.abs((z - box.low) / width - tiles - 0.5)
    distance = np.linalg.norm(offset, axis=1)
    for i in chosen:
        assert distance[i] == distance[(tiles == tiles[i]).all(1)].min()
    assert counts.tolist() == [(tiles == tiles[i]).all(1).sum() for i in chosen]


def test_tile_centers_cover_the_box():
    box = data_box(np.array([[0.0, 0.0], [10.0, 4.0]]), outliers=True)
    centers, cells, width = places_on_grid(box, 10)
    assert (cells, width) == (None, 1)
    assert len(centers) == 40
    np.testing.assert_allclose(centers.min(0), [0.5, 0.5])
    np.testing.assert_allclose(centers.max(0), [9.5, 3.5])


def test_box_keeps_ordinary_cells_and_drops_outliers():
    z = np.random.default_rng(0).normal(size=(2000, 2))
    assert data_box(z).holds(z).mean() > 0.98
    z[0] = [1e5, -1e5]
    box = data_box(z)
    assert not box.holds(z)[0]
    assert box.holds(z).mean() > 0.98


def test_ruler_hides_the_fewest_cells():
    _, ax = plt.subplots()
    ax.set(xlim=(0, 10), ylim=(-1, 1))
    corners = {"lower left": (1, -0.95), "lower right": (9, -0.95), "upper left": (1, 0.95), "upper right": (9, 0.95)}
    z = np.repeat(list(corners.values()), [0, 1, 2, 3], axis=0)
    size = (0.5, 0.12)
    assert hidden_in_corners(ax, z, size) == dict(zip(corners, range(4), strict=True))
    # a text counts as all cells
    text = ax.text(*corners["lower left"], "B cells")
    assert hidden_in_corners(ax, z, size, [text])["lower left"] == 6
