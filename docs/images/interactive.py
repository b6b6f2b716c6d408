"""Draw interactive.png, of docs/interactive.md, in Chromium by playwright."""

import tempfile
from pathlib import Path

import numpy as np
import scanpy as sc
from PIL import Image
from playwright.sync_api import sync_playwright

import scgeoae as sg

HERE = Path(__file__).parent
ARGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]

adata = sc.datasets.pbmc68k_reduced()
sg.tl.geoae(adata)
sg.tl.distortion(adata, basis="umap")
view = sg.pl.interactive(adata, color="bulk_labels", basis=["geoae", "umap"])


def middle(group: str) -> int:
    """Return the row of the cell in the middle of a group."""
    rows = np.flatnonzero(adata.obs["bulk_labels"] == group)
    z = adata.obsm["X_geoae"][rows]
    return int(rows[np.linalg.norm(z - np.median(z, axis=0), axis=1).argmin()])


with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
    view.to_html(Path(folder, "map.html"))
    browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGS)
    page = browser.new_page(viewport={"width": 1100, "height": 600}, device_scale_factor=1.5)
    page.goto(Path(folder, "map.html").as_uri())
    page.wait_for_function("document.getElementById('view').scgeoae")
    page.evaluate("window.view = document.getElementById('view').scgeoae; view.ready.then(() => null)")

    def place(group: str) -> list[float]:
        """Return where the middle of a group is in the window."""
        box = page.locator(".view").first.bounding_box()
        x, y = page.evaluate(
            "row => view.map.scatter.toScreen(view.map.scatter.cells.at(row))",
            middle(group),
        )
        return [box["x"] + x, box["y"] + y]

    page.click("text=Path")
    page.mouse.click(*place("CD14+ Monocyte"))
    page.mouse.click(*place("CD19+ B"))
    page.wait_for_selector(".path dl")
    page.mouse.move(*place("CD4+/CD25 T Reg"))
    page.wait_for_timeout(500)
    page.screenshot(path=HERE / "interactive.png")

image = Image.open(HERE / "interactive.png").convert("RGB")
image.quantize(128, dither=Image.Dither.NONE).save(HERE / "interactive.png", optimize=True)
