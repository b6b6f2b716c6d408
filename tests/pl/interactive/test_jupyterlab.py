"""The view in a real JupyterLab, in a real browser: it appears, answers the mouse, and hands back a selection."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest

import scgeoae as sg

MAKE = """import anndata, scgeoae as sg
adata = anndata.read_h5ad("map.h5ad")
view = sg.pl.interactive(adata, color="bulk_labels", basis=["geoae", "umap"])
view"""
CELLS = [MAKE, 'print("selected", view.selection.tolist())']
SECONDS = 90
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("jupyterlab") is None, reason="JupyterLab is not installed"),
]


def notebook() -> str:
    cells = [
        {"cell_type": "code", "id": f"cell{i}", "source": code, "metadata": {}, "outputs": [], "execution_count": None}
        for i, code in enumerate(CELLS)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return json.dumps({"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5})


@pytest.fixture
def lab(fitted, tmp_path):
    """The address of a running JupyterLab, in whose folder there is a notebook."""
    fitted.write_h5ad(tmp_path / "map.h5ad")
    (tmp_path / "view.ipynb").write_text(notebook())
    own = {
        name: str(tmp_path / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR")
    }
    # the kernel imports the package that is tested
    path = os.pathsep.join([str(Path(sg.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    options = [
        "--no-browser",
        "--allow-root",
        "--port=0",
        "--IdentityProvider.token=",
        f"--ServerApp.root_dir={tmp_path}",
    ]
    options += ["--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    log = tmp_path / "log.txt"
    with log.open("w") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            stdout=out,
            stderr=out,
            env=os.environ | own | {"PYTHONPATH": path},
        )
        try:
            yield address_in(log)
        finally:
            server.terminate()
            server.wait(SECONDS)


def address_in(log: Path) -> str:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if found := re.search(r"http://127\.0\.0\.1:\d+/lab", log.read_text()):
            urllib.request.urlopen(found[0]).close()
            return found[0]
        time.sleep(0.2)
    pytest.fail(log.read_text())


def test_a_view_in_jupyterlab(lab, browser, tmp_path):
    page = browser.new_page(viewport={"width": 1300, "height": 900})
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(f"{lab}/tree/view.ipynb")
    page.set_default_timeout(1000 * SECONDS)
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    view = page.locator(".jp-OutputArea .scgeoae")
    view.wait_for()
    page.wait_for_function("document.querySelector('.scgeoae').parentElement.scgeoae?.ready")
    page.evaluate("document.querySelector('.scgeoae').parentElement.scgeoae.ready.then(() => null)")
    view.get_by_role("button", name="Lasso").click()
    box = view.locator("figure").first.bounding_box()
    corners = [(0.03, 0.15), (0.97, 0.15), (0.97, 0.97), (0.03, 0.97), (0.03, 0.16)]
    page.mouse.move(*at(box, corners[0]))
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*at(box, corner), steps=25)
    page.mouse.up()
    view.get_by_text("cells selected").wait_for()
    page.screenshot(path=tmp_path / "lab.png")

    # Python has the same cells
    asking = page.locator(".jp-CodeCell").nth(1)
    asking.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    output = asking.locator(".jp-OutputArea-output").filter(has_text=re.compile(r"\[\d"))
    rows = json.loads(output.inner_text().removeprefix("selected"))
    script = "Array.from(document.querySelector('.scgeoae').parentElement.scgeoae.selection)"
    assert sorted(page.evaluate(script)) == rows
    # a lasso around nearly all that is shown
    assert 500 < len(rows) <= 700

    # another kernel does not know the view, which says so and computes by itself
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.get_by_text("Restart Kernel…", exact=True).click()
    page.get_by_role("button", name="Confirm Kernel Restart").click()
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    script = "document.querySelector('.scgeoae').parentElement.scgeoae"
    page.evaluate(f"{script}.colorBy('louvain', 'column').then(() => null)")
    assert "was the kernel restarted? Run the cell again." in view.locator(".status").inner_text()
    page.evaluate(f"{script}.setMode('path')")
    page.evaluate(f"[3, 400].forEach((row) => {script}.map.scatter.handlers.click({script}.map.scatter, null, row))")
    view.get_by_text("Straight line on the map").wait_for()
    # the styles of JupyterLab leave it on one line
    assert view.get_by_text("Straight line on the map").bounding_box()["height"] < 25
    assert not faults


def at(box: dict[str, float], corner: tuple[float, float]) -> tuple[float, float]:
    return box["x"] + corner[0] * box["width"], box["y"] + corner[1] * box["height"]
