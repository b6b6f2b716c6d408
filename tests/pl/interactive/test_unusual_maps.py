"""Maps without a decoder or genes, missing values, many categories, and very few cells."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

import scgeoae as sg

pytestmark = pytest.mark.slow


@pytest.fixture
def ripped():
    """A plane that is cut, one side moved away, with an estimate of the metric at the cells only."""
    from anndata import AnnData

    x = np.random.default_rng(0).uniform(size=(600, 2))
    adata = AnnData(x.astype(np.float32))
    adata.obsm["X_umap"] = (x + 0.5 * (x[:, :1] > 0.5) * [1, 0]).astype(np.float32)
    sg.tl.distortion(adata, method="laplacian")
    return adata


def hover(page, row):
    at = page.do("row => view.map.scatter.cells.at(row)", row)
    page.page.mouse.move(*page.to_window([at])[0])
    page.frames()


def test_without_a_decoder(ripped, open_page):
    page = open_page(sg.pl.interactive(ripped, basis="umap"))
    row = 7
    hover(page, row)
    ellipse = page.page.locator(".indicatrix")
    rx, ry = (float(ellipse.get_attribute(name)) for name in ("rx", "ry"))
    a, b, c = ripped.obsm["umap_metric"][row].astype(float)
    small, large = np.linalg.eigvalsh([[a, b], [b, c]])
    assert rx / ry == pytest.approx(np.sqrt(large / small), rel=1e-3)
    assert page.page.locator(".compass").count() == 0

    page.page.click("text=Path")
    for cell in (3, 30):
        hover(page, cell)
        page.page.mouse.down()
        page.page.mouse.up()
    page.page.wait_for_function("view.status.textContent.includes('no stored decoder')")
    assert page.faults == []


def test_missing_values_and_many_categories(fitted, open_page):
    adata = fitted.copy()
    del adata.uns["bulk_labels_colors"]
    adata.obs["many"] = pd.Categorical([f"group {i % 300}" for i in range(adata.n_obs)])
    adata.obs["few"] = pd.Categorical(np.where(np.arange(adata.n_obs) % 2, "odd", None))
    adata.obs["share"] = np.where(np.arange(adata.n_obs) % 3 == 0, np.nan, np.linspace(0, 1, adata.n_obs))
    page = open_page(sg.pl.interactive(adata, color=["few", "many", "share"]))
    labels = page.page.locator(".categories button").all_text_contents()
    assert labels == ["odd350", "missing350"]

    def color_of(row):
        at = page.do("row => view.map.scatter.cells.at(row)", int(row))
        x, y = np.round(page.to_window([at])[0]).astype(int)
        return page.pixels()[y, x]

    z = adata.obsm["X_geoae"]
    distance = np.linalg.norm(z[:, None] - z[None], axis=2) + np.diag(np.full(len(z), np.inf))
    low, high = np.quantile(z, [0.05, 0.95], axis=0)
    alone = np.argsort(-np.where(((z > low) & (z < high)).all(1), distance.min(1), 0))
    even = next(row for row in alone if row % 2 == 0)
    assert np.ptp(color_of(even)) < 15  # gray

    page.do("view.colorBy('many').then(() => null)")
    page.frames()
    assert page.page.locator(".categories button").count() == 300
    chosen = page.do("view.coding.palette.slice(0, 300)")
    expected = [chosen[page.do("row => view.coding.codes[row]", int(row))] for row in alone[:5]]
    for row, color in zip(alone[:5], expected, strict=True):
        rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
        assert np.abs(color_of(row) - rgb).max() < 45  # cells are slightly transparent

    # the legend stays where it was scrolled to
    button = page.page.locator(".categories button").nth(200)
    button.scroll_into_view_if_needed()
    scrolled = page.do("document.querySelector('.categories').scrollTop")
    button.click()
    assert page.do("document.querySelector('.categories').scrollTop") == scrolled > 0
    assert button.get_attribute("aria-pressed") == "false"
    assert "300 groups are too many" in page.page.locator(".legend").text_content()

    page.do("view.colorBy('share').then(() => null)")
    page.frames()
    assert page.page.locator(".ramp .missing").text_content() == "missing234"
    assert np.ptp(color_of(next(row for row in alone if row % 3 == 0))) < 15
    assert page.faults == []


@pytest.mark.parametrize("n", [1, 700])
def test_cells_at_one_place(fitted, open_page, n):
    adata = fitted[:n].copy()
    adata.obsm["X_geoae"][:] = adata.obsm["X_geoae"][0]
    page = open_page(sg.pl.interactive(adata))
    hover(page, 0)
    ruler = page.page.locator(".ruler text").text_content()
    assert 0.1 <= float(re.search(r"[\d.]+", ruler)[0]) <= 10
    # a dot, not a disk that fills the view
    left, top, width, height = (round(side) for side in page.box())
    page.page.mouse.move(5, 5)
    page.frames()
    is_cell = page.pixels()[top : top + height, left : left + width].min(2) < 200
    is_cell[-120:] = False
    assert 0 < is_cell.sum() < 400


def test_pairs_that_a_umap_puts_far_apart(fitted, open_page):
    page = open_page(sg.pl.interactive(fitted, basis=["geoae", "umap"]))
    x, z = fitted.obsm["X_pca"].astype(float), fitted.obsm["X_umap"]
    nearest = np.argsort(((x[:, None] - x[None]) ** 2).sum(2) + np.diag(np.full(700, np.inf)), axis=1)[:, :10]
    apart = np.linalg.norm(z[:, None] - z[nearest], axis=2)
    is_far = apart > 5 * np.median(apart)
    pairs = {frozenset((row, int(nearest[row, k]))) for row, k in zip(*np.nonzero(is_far), strict=True)}
    page.do("view.select(Array.from({ length: 700 }, (_, row) => row))")
    page.frames()
    found = int(re.search(r"umap puts ([\d,]+) pairs", page.page.locator(".selected").text_content())[1])
    assert found == pytest.approx(len(pairs), rel=0.02)


def test_the_browser_stops_drawing(fitted, open_page):
    page = open_page(sg.pl.interactive(fitted))
    page.do("view.renderer.canvas.getContext('webgl').getExtension('WEBGL_lose_context').loseContext()")
    page.page.wait_for_selector(".failure")
    assert "Show it anew" in page.page.locator(".failure").text_content()


def test_three_cells(fitted, open_page):
    adata = fitted[[3, 30, 300]].copy()
    page = open_page(sg.pl.interactive(adata))
    page.page.click("text=Lasso")
    left, top, width, height = page.box()
    page.drag(
        [
            [left + 5, top + 5],
            [left + width - 5, top + 5],
            [left + width - 5, top + height - 5],
            [left + 5, top + height - 5],
        ]
    )
    assert page.selection == [0, 1, 2]
    assert page.faults == []


@pytest.mark.parametrize("activation", ["elu", "tanh", "softplus"])
def test_ambient_metrics_and_activations(small, open_page, activation):
    root = np.random.default_rng(0).normal(size=(8, 8))
    ambient = root @ root.T / 8 + np.eye(8)
    ambient = ambient.diagonal() if activation == "elu" else ambient
    sg.tl.geoae(small, ambient=ambient, activation=activation, n_steps=50, progress_bar=False)
    page = open_page(sg.pl.interactive(small))
    z = small.obsm["X_geoae"][:10]
    found = page.do("at => at.map(p => view.decoder.metric(view.decoder.jet(p)))", z.tolist())
    metric = sg.get.metric_tensors(small)[:10]
    np.testing.assert_allclose(found, metric[:, [0, 0, 1], [0, 1, 1]], rtol=1e-4, atol=1e-4 * metric.max())
    script = "([from, to]) => view.page('geodesic', { from, to }).then(({ length, straight }) => [length, straight])"
    expected = sg.tl.geodesic(small, 0, 1, genes=[])
    assert page.do(script, z[:2].tolist()) == pytest.approx([expected.length, expected.straight_length], rel=0.02)


def test_without_webgl(fitted, open_page):
    script = "HTMLCanvasElement.prototype.getContext = () => null"
    page = open_page(sg.pl.interactive(fitted), script=script)
    assert "needs WebGL" in page.page.locator(".failure").text_content()
    assert page.faults == []
