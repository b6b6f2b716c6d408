"""From thousands to a million cells, in real Chromium."""

from __future__ import annotations

import numpy as np
import pytest
from anndata import AnnData
from matplotlib.path import Path as Polygon

import scgeoae as sg

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pbmc(reference):
    adata = reference("pbmc3k_pca")
    sg.tl.geoae(adata, progress_bar=False)
    return adata


def repeated(adata, n):
    """Return n cells around those of a map, which its decoder knows."""
    rows = np.arange(n) % adata.n_obs
    z = adata.obsm["X_geoae"]
    noise = np.random.default_rng(0).normal(scale=np.ptp(z, axis=0) / 100, size=(n, 2))
    found = AnnData(obs=adata.obs.iloc[rows].reset_index(drop=True).rename(str))
    found.obsm["X_geoae"] = (z[rows] + noise).astype(np.float32)
    found.obsm["geoae_metric"] = adata.obsm["geoae_metric"][rows]
    found.uns["geoae"] = adata.uns["geoae"]
    return found


@pytest.mark.parametrize("n", [2526, 100_000, 1_000_000])
def test_loads_and_answers(pbmc, open_page, n):
    adata = pbmc if n == pbmc.n_obs else repeated(pbmc, n)
    page = open_page(sg.pl.interactive(adata, color="louvain"), width=1400, height=800)
    heap = page.do("performance.memory.usedJSHeapSize") / 2**20
    print(f"{n:,} cells: first frame after {page.first_frame:.1f} s, {heap:.0f} MiB of heap")  # noqa: T201
    assert page.first_frame < 60
    assert heap < 100 + n / 1e6 * 500

    z = adata.obsm["X_geoae"]
    page.page.click("text=Lasso")
    left, top, width, height = page.box()
    corners = np.round([left, top] + np.array([[0.2, 0.2], [0.5, 0.3], [0.4, 0.8]]) * [width, height])
    page.drag(corners)
    at = page.to_window(z)
    inside = Polygon(corners).contains_points(at)
    found = np.zeros(n, dtype=bool)
    found[page.selection] = True
    assert found.any()
    # but for cells on the line itself, within the rounding of the mouse
    assert (found ^ inside).sum() <= 1e-4 * n

    center = z[np.linalg.norm(z - np.median(z, axis=0), axis=1).argmin()]
    page.page.mouse.move(*page.to_window(center[None])[0])
    page.frames()
    assert page.page.locator(".indicatrix").count() == 1
    assert page.faults == []


def test_lengths_of_paths(pbmc, open_page):
    page = open_page(sg.pl.interactive(pbmc))
    z, labels = pbmc.obsm["X_geoae"], pbmc.obs["louvain"]
    medians = [np.median(z[labels == label], axis=0) for label in labels.cat.categories]
    script = "([from, to]) => view.page('geodesic', { from, to }).then(({ length, straight }) => [length, straight])"
    for start in medians[:4]:
        for end in medians[4:]:
            found = page.do(script, [start.tolist(), end.tolist()])
            expected = sg.tl.geodesic(pbmc, start, end, genes=[])
            assert found == pytest.approx([expected.length, expected.straight_length], rel=0.02)


def test_decoded_genes_of_many_cells_are_read_off_a_grid(fitted, open_page):
    adata = repeated(fitted, 30_000)
    page = open_page(sg.pl.interactive(adata, color="bulk_labels"))
    found = np.array(page.do("view.page('expression', { gene: 'CST3' }).then(({ buffers }) => Array.from(buffers[0]))"))
    expected = sg.tl.decode(adata, adata.obsm["X_geoae"], genes=["CST3"]).X[:, 0]
    assert np.sqrt(np.mean((found - expected) ** 2)) < 0.02 * expected.std()
