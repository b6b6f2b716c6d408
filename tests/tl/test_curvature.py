from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.collections import QuadMesh

import scgeoae as sg

from ..for_each import for_each

COLUMNS = ["geoae_gaussian_curvature", "geoae_mean_curvature", "geoae_extrinsic_curvature"]


@pytest.fixture(scope="module")
def curved(fitted):
    return sg.tl.curvature(fitted, copy=True)


def test_columns(curved, fitted):
    assert [name for name in curved.obs if name not in fitted.obs] == COLUMNS
    assert {str(curved.obs[name].dtype) for name in COLUMNS} == {"float32"}
    assert np.isfinite(curved.obs[COLUMNS]).all(axis=None)
    assert (curved.obs[COLUMNS[1:]] >= 0).all(axis=None)


def test_mean_curvature_agrees_with_finite_differences(curved):
    """The Laplace-Beltrami operator of the decoder is 2 H."""
    model = sg.get.model(curved).double()
    z = torch.from_numpy(curved.obsm["X_geoae"][:20]).double()
    h = 1e-3 * float(curved.obsm["X_geoae"].std())
    e = torch.eye(2, dtype=torch.float64)

    def d(f, a):
        return lambda z: (f(z + h * e[a]) - f(z - h * e[a])) / (2 * h)

    a = torch.stack([d(model.decode, i)(z) for i in range(2)], dim=-1)
    s = torch.stack([torch.stack([d(d(model.decode, i), j)(z) for j in range(2)], -1) for i in range(2)], -1)
    g = torch.linalg.inv(a.mT @ a)
    laplacian = torch.einsum("nab,nxab->nx", g, s)
    normal = laplacian - torch.einsum("nxa,nab,nyb,ny->nx", a, g, a, laplacian)
    np.testing.assert_allclose(curved.obs["geoae_mean_curvature"][:20], normal.norm(dim=1) / 2, rtol=1e-3)


def test_unit_of_length(small):
    scaled = small.copy()
    scaled.X = 8 * scaled.X  # a power of two, so that training sees the same bits
    for adata in (small, scaled):
        sg.tl.geoae(adata, n_steps=60, progress_bar=False)
        sg.tl.curvature(adata)
    ratio = small.obs[COLUMNS].median() / scaled.obs[COLUMNS].median()
    np.testing.assert_allclose(ratio, [64, 8, 64], rtol=1e-4)


def test_three_dimensions_have_no_gaussian_curvature(small):
    sg.tl.geoae(small, n_components=3, n_steps=5, progress_bar=False)
    sg.tl.curvature(small)
    assert COLUMNS[0] not in small.obs
    assert np.isfinite(small.obs[COLUMNS[1:]]).all(axis=None)


def test_before_the_map(reduced):
    with pytest.raises(KeyError, match=r"run sg\.tl\.geoae\(adata\) first"):
        sg.tl.curvature(reduced)


@for_each("kind", ["gaussian", "mean", "extrinsic"])
def test_heatmap(curved, kind):
    ax = sg.pl.curvature_heatmap(curved, kind=kind, background=True, show=False)
    (mesh,) = [c for c in ax.collections if isinstance(c, QuadMesh)]
    assert mesh.norm.vmin == (-mesh.norm.vmax if kind == "gaussian" else 0)
    (bar,) = [a for a in ax.figure.axes if a is not ax]
    assert bar.get_ylabel().lower().startswith(f"{kind} curvature (1/unit")
    np.testing.assert_allclose(np.sort(ax.collections[0].get_array()), np.sort(curved.obs[f"geoae_{kind}_curvature"]))
    alone = sg.pl.curvature_heatmap(curved, kind=kind, show=False)
    assert not [c for c in alone.collections if isinstance(c, QuadMesh)]
    assert alone.collections[0].norm.vmax == mesh.norm.vmax


def test_heatmap_of_nothing(fitted, curved):
    with pytest.raises(KeyError, match=r"'geoae_gaussian_curvature'.*run sg\.tl\.curvature\(adata\) first"):
        sg.pl.curvature_heatmap(fitted, show=False)
    with pytest.raises(ValueError, match="`kind` to be 'gaussian', 'mean' or 'extrinsic', found 'spam'"):
        sg.pl.curvature_heatmap(curved, kind="spam", show=False)
