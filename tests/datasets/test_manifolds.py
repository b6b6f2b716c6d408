from __future__ import annotations

import inspect

import numpy as np
import pytest
from scipy.sparse.csgraph import shortest_path
from sklearn.neighbors import kneighbors_graph

import scgeoae as sg

from ..for_each import for_each

DOWNLOADED = ("packer_celegans", "pbmc68k", "zilionis")
MAKERS = {name: getattr(sg.datasets, name) for name in sg.datasets.__all__ if name not in DOWNLOADED}


@for_each("name", MAKERS)
def test_slots(name):
    adata = MAKERS[name](n_obs=60)
    assert adata.shape == (60, 2 if name == "sine_curve" else 3)
    assert adata.obsm["X_true"].shape == (60, 1 if name == "sine_curve" else 2)
    d = adata.obsp["geodesic_distances"]
    assert np.array_equal(d, d.T)
    assert not d.diagonal().any()
    assert np.array_equal(adata.X, MAKERS[name](n_obs=60).X)
    assert not np.array_equal(adata.X, MAKERS[name](n_obs=60, random_state=1).X)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n == "torus_patch" else n for n in MAKERS])
def test_geodesics_are_shortest_paths_through_dense_points(name):
    """An independent computation: paths in a neighbor graph of many points are a bit too long."""
    adata = MAKERS[name](n_obs=2500)
    # paths of the graph avoid the opening of the sphere, great circles do not
    if name == "open_sphere":
        adata = MAKERS[name](n_obs=2500, opening=0.2)
    graph = kneighbors_graph(adata.X, 20, mode="distance")
    found = shortest_path(graph, directed=False, indices=range(30))
    true = adata.obsp["geodesic_distances"][:30]
    far = true > 0.3 * true.max()
    ratio = found[far] / true[far]
    assert 0.995 < np.median(ratio) < 1.06
    assert np.quantile(ratio, 0.01) > 0.985


@for_each("name", MAKERS)
def test_points_are_nowhere_farther_apart_than_the_chord(name):
    adata = MAKERS[name](n_obs=200)
    chord = np.linalg.norm(adata.X[:, None] - adata.X, axis=2)
    assert (adata.obsp["geodesic_distances"] >= chord - 1e-4).all()


@for_each("name", MAKERS)
def test_noise_moves_the_points_and_not_the_truth(name):
    clean, noisy = MAKERS[name](n_obs=500), MAKERS[name](n_obs=500, noise=0.1)
    assert np.std(noisy.X - clean.X) == pytest.approx(0.1, rel=0.1)
    assert np.array_equal(clean.obsp["geodesic_distances"], noisy.obsp["geodesic_distances"])


@for_each("name", [name for name in MAKERS if name != "sine_curve"])
def test_curvature_agrees_with_fitted_quadrics(name):
    """Curvatures agree with those of a quadric fitted to the nearest of many points."""
    adata = MAKERS[name](n_obs=2500)
    rng = np.random.default_rng(0)
    inner = np.flatnonzero(_is_inner(adata))
    for i in rng.choice(inner, 25, replace=False):
        near = np.argsort(np.linalg.norm(adata.X - adata.X[i], axis=1))[:40]
        p = adata.X[near].astype(float) - adata.X[i]
        frame = np.linalg.svd(p - p.mean(0))[2]
        u, v, w = (p @ frame.T).T
        design = np.stack([np.ones_like(u), u, v, u**2 / 2, u * v, v**2 / 2], axis=1)
        _, a, b, e, f, g = np.linalg.lstsq(design, w, rcond=None)[0]
        gaussian = (e * g - f**2) / (1 + a**2 + b**2) ** 2
        mean = ((1 + b**2) * e - 2 * a * b * f + (1 + a**2) * g) / (2 * (1 + a**2 + b**2) ** 1.5)
        size = float(adata.obs["mean_curvature"].iloc[i])
        assert abs(mean) == pytest.approx(size, rel=0.1, abs=0.02)
        assert gaussian == pytest.approx(adata.obs["gaussian_curvature"].iloc[i], abs=0.15 * max(size, 0.1))


def _is_inner(adata):
    """Points with neighbors on all sides: their mean is near."""
    near = kneighbors_graph(adata.X, 40)
    drift = np.linalg.norm(near @ adata.X / 40 - adata.X, axis=1)
    reach = np.sqrt((near @ (adata.X**2) / 40 - (near @ adata.X / 40) ** 2).sum(1))
    return drift < 0.2 * reach


def test_bad_arguments():
    for maker in MAKERS.values():
        assert all(p.kind == p.KEYWORD_ONLY for p in inspect.signature(maker).parameters.values())
        with pytest.raises(ValueError, match="`n_obs` to be an integer >= 1, found 0"):
            maker(n_obs=0)
        with pytest.raises(ValueError, match="`noise` to be a finite number >= 0, found -1"):
            maker(noise=-1)
    with pytest.raises(ValueError, match="`radius` > 0 and 0 < `angle`"):
        sg.datasets.sphere_patch(radius=0)
    with pytest.raises(ValueError, match="0 <= `opening` < π"):
        sg.datasets.open_sphere(opening=4)
    with pytest.raises(ValueError, match="`major` > `minor` > 0"):
        sg.datasets.torus_patch(minor=3)
    with pytest.raises(ValueError, match="`n_obs` to be at most 4941"):
        sg.datasets.torus_patch(n_obs=5000)


@pytest.mark.slow
@for_each("radius", [1, 5])
def test_trained_sphere_has_the_curvature_of_a_sphere(radius):
    adata = sg.datasets.sphere_patch(radius=radius)
    sg.tl.geoae(adata, strength=0.01, neighbors_weight=0, batch_size=128, n_steps=1000, progress_bar=False)
    sg.tl.curvature(adata)
    assert adata.obs["geoae_gaussian_curvature"].median() == pytest.approx(1 / radius**2, rel=0.1)


def test_trained_swiss_roll_has_none():
    adata = sg.datasets.swiss_roll()
    sg.tl.geoae(adata, neighbors_weight=0, batch_size=128, n_steps=500, progress_bar=False)
    sg.tl.curvature(adata)
    assert abs(adata.obs["geoae_gaussian_curvature"].median()) < 0.02
