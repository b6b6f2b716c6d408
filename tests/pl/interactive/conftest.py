"""Real Chromium, without a network."""

from __future__ import annotations

import shutil

import pytest

SIZE = {"width": 900, "height": 600}


@pytest.fixture(scope="package")
def browser():
    """Chromium with WebGL in software."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    args = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
    args.append("--enable-precise-memory-info")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=args)
        yield browser
        browser.close()


class Opened:
    """A page of a view, driven as a person would."""

    def __init__(self, page, path):
        self.page, self.faults, self.requests = page, [], []
        page.on("console", lambda message: message.type == "error" and self.faults.append(message.text))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_function("document.getElementById('view').scgeoae")
        page.evaluate("window.view = document.getElementById('view').scgeoae; view.ready?.then(() => null)")
        # seconds
        self.first_frame = page.evaluate("performance.now()") / 1000

    def do(self, script, argument=None):
        return self.page.evaluate(script, argument)

    def frames(self):
        """Wait until what was asked for is drawn."""
        self.do("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def reset(self):
        self.page.mouse.move(5, 5)
        self.page.click("text=Move")
        self.do("view.clear(), view.fit(), view.colorBy(view.manifest.colors[0].name)")
        self.page.wait_for_function("view.column.name === view.manifest.colors[0].name")
        self.frames()

    def box(self, view=0):
        """Return the left, top, width and height of a view."""
        box = self.page.locator(".view").nth(view).bounding_box()
        return box["x"], box["y"], box["width"], box["height"]

    def to_window(self, positions, view=0):
        """Return where (n, 2) positions on the map are in the window, by two of its points."""
        import numpy as np

        left, top, _, _ = self.box(view)
        script = f"view.views[{view}].scatter.toScreen({{}})"
        origin, diagonal = (np.array(self.do(script.format(point))) for point in ("[0, 0]", "[1, 1]"))
        return np.array([left, top]) + origin + np.asarray(positions, dtype=float) * (diagonal - origin)

    def drag(self, points):
        """Draw along (n, 2) points of the window with the mouse."""
        mouse = self.page.mouse
        mouse.move(*points[0])
        mouse.down()
        for point in points[1:]:
            mouse.move(*point, steps=4)
        mouse.up()
        self.frames()

    def pixels(self):
        """Return what is on the screen, (height, width, 3)."""
        import io

        import numpy as np
        from PIL import Image

        return np.asarray(Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")).astype(int)

    @property
    def selection(self):
        return self.do("Array.from(view.selection)")


@pytest.fixture(scope="package")
def open_page(browser, tmp_path_factory):
    """Write a view to a file and open it from disk."""
    contexts = []

    def open_(view, *, script="", **size):
        path = tmp_path_factory.mktemp("page") / "map.html"
        view.to_html(path)
        contexts.append(browser.new_context(offline=True, viewport=SIZE | size))
        contexts[-1].add_init_script(script)
        return Opened(contexts[-1].new_page(), path)

    yield open_
    for context in contexts:
        context.close()
