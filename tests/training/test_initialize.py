from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist, squareform

import scgeoae as sg
from scgeoae.training import Settings, fit, initialize
from scgeoae.training.initialize import placed as place
from scgeoae.training.setup import check_init

from ..for_each import for_each


@pytest.fixture(scope="module")
def roll():
    """Points of a Swiss roll and, as the layout to start at, its exact coordinates."""
    adata = sg.datasets.swiss_roll(n_obs=600)
    return adata, adata.X, adata.obsm["X_true"]


def distance_correlation(adata, embedding):
    true = squareform(adata.obsp["geodesic_distances"], checks=False)
    return np.corrcoef(pdist(embedding), true)[0, 1]


def test_starts_at_the_layout(roll):
    _, x, flat = roll
    # a rate at which the one step of training does nothing
    fitted = fit(x, Settings(regularizer=None, n_steps=1, learning_rate=1e-9), init_pos=flat)
    assert np.corrcoef(pdist(fitted.embedding), pdist(flat))[0, 1] > 0.99
    assert fitted.error.mean() < 0.05
    # one unit of the map is one of the data
    assert np.median(pdist(fitted.embedding) / pdist(flat)) == pytest.approx(1, abs=0.1)


@pytest.mark.slow
def test_unrolls_the_swiss_roll(roll):
    adata, x, flat = roll
    fitted = fit(x, Settings(n_steps=300, learning_rate=2e-3), init_pos=flat)
    assert distance_correlation(adata, fitted.embedding) > 0.98
    # what it is for: from PCA the roll stays rolled up
    assert distance_correlation(adata, fit(x, Settings(n_steps=100)).embedding) < 0.5


def test_unit_and_pose_of_the_layout_do_not_matter(roll, monkeypatch):
    monkeypatch.setattr(initialize, "N_WARM_UP_STEPS", 100)
    _, x, flat = roll
    x = torch.from_numpy((x - x.mean(0)) / x.std())
    angle = 2.0
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = -1e3 * (flat @ rotation) + [7.0, -5e4]
    placed = place(check_init(flat, *flat.shape), x, x[:, :2])
    torch.testing.assert_close(place(check_init(moved, *flat.shape), x, x[:, :2]), placed, rtol=1e-3, atol=1e-3)
    assert placed.mean(0).numpy() == pytest.approx(0, abs=1e-4)

    settings = Settings(n_steps=1, learning_rate=1e-9, batch_size=64)
    maps = [fit(x.numpy()[:200], settings, init_pos=init[:200]).embedding for init in (flat, moved)]
    np.testing.assert_allclose(maps[1], maps[0], atol=0.02 * np.ptp(maps[0]))


def test_distances_between_near_neighbors_are_those_of_the_data():
    rng = np.random.default_rng(0)
    flat = rng.uniform(size=(500, 2))
    x = np.zeros((500, 4), np.float32)
    x[:, 1], x[:, 3] = 5 * flat.T
    placed = place(flat, torch.from_numpy(x), torch.from_numpy(x[:, [1, 3]]))
    np.testing.assert_allclose(placed, x[:, [1, 3]] - x[:, [1, 3]].mean(0), atol=1e-4)


def test_duplicates_have_a_scale_too():
    corners = np.repeat(np.array([[0.0, 0], [1, 0], [0, 1]]), 20, axis=0)
    x = torch.from_numpy(3 * (corners - corners.mean(0)))
    torch.testing.assert_close(place(corners, x, x), x)


@for_each(
    "init, sentence",
    [
        (np.zeros((50, 3)), r"`init_pos` to have shape \(50, 2\), one position for each cell, found \(50, 3\)"),
        (np.zeros(50), r"`init_pos` to have shape \(50, 2\), one position for each cell, found \(50,\)"),
        ([["a", "b"]] * 50, r"`init_pos` to be an array of numbers of shape \(50, 2\), found list"),
        (np.ones((50, 2)) * 1j, r"`init_pos` to be an array of numbers of shape \(50, 2\), found ndarray"),
        (np.full((50, 2), np.nan), r"`init_pos` to be finite, found NaN or infinite values in 50 of 50 rows"),
        (np.repeat(np.arange(50.0)[:, None], 2, 1), r"the positions of `init_pos` to fill 2 dimensions"),
    ],
)
def test_what_is_no_layout_is_refused(init, sentence):
    x = np.random.default_rng(0).normal(size=(50, 4))
    with pytest.raises(ValueError, match=sentence):
        fit(x, Settings(n_steps=1), init_pos=init)


@for_each("regularizer", ["neighborhood", "denoising", "topological", "unit_isometric"])
def test_every_kind_of_term_takes_part(regularizer, small, monkeypatch):
    monkeypatch.setattr(initialize, "N_WARM_UP_STEPS", 5)
    settings = Settings(regularizer=regularizer, n_steps=2, batch_size=16)
    init = small.X[:, :2] ** 3
    maps = [fit(small.X, settings, init_pos=init).embedding for _ in range(2)]
    assert np.isfinite(maps[0]).all()
    np.testing.assert_array_equal(*maps)


@for_each("power", [-1000, 0, 900])
def test_a_layout_may_have_any_unit(roll, power):
    _, x, flat = roll
    flat = flat[:100].astype(np.float64)
    starts = [
        place(check_init(init, 100, 2), torch.from_numpy(x[:100]), torch.from_numpy(x[:100, :2]))
        for init in (flat, np.ldexp(flat, power))
    ]
    assert torch.equal(*starts)
