"""The page in real Chromium, compared with Python."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from matplotlib.path import Path as Polygon

import scgeoae as sg
from scgeoae._anndata.map import read_map
from scgeoae.geometry import indicatrix_axes


@pytest.fixture(scope="module")
def both(fitted):
    """A map beside a UMAP whose torn edges are known."""
    adata = fitted.copy()
    sg.tl.distortion(adata, basis="umap", method="laplacian")
    return adata


@pytest.fixture(scope="module")
def _opened(both, open_page):
    colors = ["bulk_labels", "n_genes", "CD79A"]
    return open_page(sg.pl.interactive(both, color=colors, basis=["geoae", "umap"]))


@pytest.fixture
def page(_opened):
    _opened.reset()
    yield _opened
    assert _opened.faults == []


@pytest.fixture(scope="module")
def z(both):
    return both.obsm["X_geoae"]


def isolated(z, n):
    """Return the rows of the cells in the middle of the map that are farthest from others."""
    distance = np.linalg.norm(z[:, None] - z[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    low, high = np.quantile(z, [0.05, 0.95], axis=0)
    is_inside = ((z > low) & (z < high)).all(1)
    return np.argsort(-np.where(is_inside, distance.min(1), 0))[:n]


def test_opens_from_disk_and_loads_nothing(page):
    assert {url.split(":")[0] for url in page.requests} == {"file", "blob"}
    # the first view shows cells
    assert page.do("document.querySelectorAll('.view canvas').length") == 2
    assert (page.pixels() < 100).any()


def test_decoder_and_metric(page, both, z):
    model = read_map(both, "geoae").model
    at = z[::50] + np.float32(0.3)
    decoded = np.array(page.do("at => at.map(p => Array.from(view.decoder.decode(p)))", at.tolist()))
    found = page.do("at => at.map(p => view.decoder.metric(view.decoder.jet(p)))", at.tolist())
    with torch.no_grad():
        expected, metric = model.decode(at).numpy(), model.metric(at).numpy()
    np.testing.assert_allclose(decoded, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose(found, metric[:, [0, 0, 1], [0, 1, 1]], rtol=1e-4, atol=1e-4 * metric.max())


def steps_of_ruler(adata, basis):
    """How long small steps on the map are along its surface, at the median, over what the ruler says."""
    usual = np.median(np.linalg.det(sg.get.metric_tensors(adata, key=basis).astype(float)) ** 0.25)
    unit = read_map(adata, basis).unit
    # where the scale varies, the ruler itself measures small steps
    return usual / unit.per_length / (1 if unit.local is None else unit.local[1])


def test_the_indicatrix_under_the_mouse(page, both, z):
    row = isolated(z, 1)[0]
    mouse = np.round(page.to_window(z[row][None])[0])
    page.page.mouse.move(*mouse)
    page.frames()
    ellipse = page.page.locator(".indicatrix").first
    values = [float(ellipse.get_attribute(name)) for name in ("rx", "ry")]
    x, y, angle = map(float, re.findall(r"-?[\d.]+", ellipse.get_attribute("transform")))
    left, top, _, _ = page.box()
    np.testing.assert_allclose([x, y], mouse - [left, top], atol=0.51)

    (zero, one) = page.to_window([[0, 0], [1, 0]])
    pixels = (one - zero)[0]
    position = (mouse - zero) / pixels * [1, -1]
    metric = read_map(both, "geoae").model.metric(position[None]).detach().double()
    axes = indicatrix_axes(metric).numpy()[0] * steps_of_ruler(both, "geoae")
    ruler = page.page.locator(".ruler text").first.text_content()
    length = float(re.search(r"[\d.]+", ruler)[0])
    assert ruler == f"≈ {length:g} units of X_pca, here"
    np.testing.assert_allclose(values, length / 2 * np.linalg.norm(axes, axis=0) * pixels, rtol=2e-3)
    # the first axis is the longer one; the screen counts y downward
    expected = -np.degrees(np.arctan2(axes[1, 0], axes[0, 0]))
    assert abs((angle - expected + 90) % 180 - 90) < 2


@pytest.mark.slow
def test_hover_shows_the_same_cells_in_both_views(page, both, z):
    row = isolated(z, 1)[0]
    page.page.mouse.move(*page.to_window(z[row][None])[0])
    page.frames()
    x = both.obsm["X_pca"].astype(float)
    nearest = np.argsort(np.linalg.norm(x - x[row], axis=1))[1:11]
    for view, basis in enumerate(("X_geoae", "X_umap")):
        figure = page.page.locator("figure").nth(view)
        circles = [
            [[float(c.get_attribute(side)) for side in ("cx", "cy")] for c in figure.locator(f"circle.{name}").all()]
            for name in ("hovered", "neighbor")
        ]
        left, top, _, _ = page.box(view)
        expected = page.to_window(both.obsm[basis], view) - [left, top]
        np.testing.assert_allclose(circles[0], expected[[row]], atol=0.1)
        np.testing.assert_allclose(np.sort(circles[1], 0), np.sort(expected[nearest], 0), atol=0.1)


def test_genes_that_rise_fastest_to_each_side(page, both, z):
    row = isolated(z, 1)[0]
    page.page.mouse.move(*page.to_window(z[row][None])[0])
    page.frames()
    at = np.array(page.do("view.hovered.position"))
    # steps to both sides, and how far apart in the data they end
    step = 0.05
    decoded = sg.tl.decode(both, (at + step * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])).astype(np.float32))
    change = decoded.X[::2].astype(float) - decoded.X[1::2]
    metric = read_map(both, "geoae").model.metric(at[None])[0].detach()
    rates = change.T / (2 * step * np.sqrt(metric.diagonal().numpy())) * steps_of_ruler(both, "geoae")
    best = np.abs(rates).argmax(1)
    for side, axis, sign in (("right", 0, 1), ("left", 0, -1), ("up", 1, 1), ("down", 1, -1)):
        rate = np.where(best == axis, sign * rates[:, axis], -np.inf)
        order = np.argsort(-rate)[:3]
        assert page.page.locator(f".compass .{side} .gene").all_text_contents() == list(decoded.var_names[order])
        said = [float(text) for text in page.page.locator(f".compass .{side} small").all_text_contents()]
        length = float(re.search("over ([0-9.]+) units of X_pca", page.page.locator(".here h3").text_content())[1])
        np.testing.assert_allclose(said, rate[order] * length, rtol=0.05)


@pytest.mark.parametrize("view", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_lasso_selects_the_cells_inside(page, both, view):
    page.page.click("text=Lasso")
    left, top, width, height = page.box(view)
    share = np.array([[0.2, 0.3], [0.7, 0.25], [0.55, 0.5], [0.75, 0.72], [0.3, 0.8]])
    corners = np.round([left, top] + share * [width, height])
    page.drag(corners)
    at = page.to_window(both.obsm[["X_geoae", "X_umap"][view]], view)
    inside = Polygon(corners).contains_points(at)
    near = np.abs(Polygon(corners).contains_points(at, radius=1) ^ Polygon(corners).contains_points(at, radius=-1))
    found = np.zeros(both.n_obs, dtype=bool)
    found[page.selection] = True
    assert 50 < found.sum() < 600
    # the mouse stops at whole pixels, so cells on the line itself are left out
    np.testing.assert_array_equal(found[~near], inside[~near])
    assert page.page.locator(".selected h2").text_content() == f"{found.sum()} cells selected"

    # in both views, the others fade
    pixels = page.pixels()
    for other, basis in enumerate(("X_geoae", "X_umap")):
        rows = isolated(both.obsm[basis], 40)
        x, y = np.round(page.to_window(both.obsm[basis][rows], other)).astype(int).T
        darkness = 255 - pixels[y, x].min(1)
        lines_cross = other == 1
        assert np.median(darkness[found[rows]]) > 100
        assert np.median(darkness[~found[rows]]) < (100 if lines_cross else 40)


@pytest.mark.slow
def test_shift_adds_and_alt_removes(page):
    page.page.click("text=Lasso")
    left, top, width, height = page.box()

    def square(a, b):
        return np.round([left, top] + np.array([[a, a], [b, a], [b, b], [a, b]]) * [width, height])

    page.drag(square(0.1, 0.9))
    everything = page.selection
    page.drag(square(0.3, 0.6))
    inner = page.selection
    assert 0 < len(inner) < len(everything)
    page.page.keyboard.down("Shift")
    page.drag(square(0.1, 0.9))
    page.page.keyboard.up("Shift")
    assert page.selection == everything
    page.page.keyboard.down("Alt")
    page.drag(square(0.3, 0.6))
    page.page.keyboard.up("Alt")
    assert page.selection == sorted(set(everything) - set(inner))


@pytest.mark.slow
def test_torn_edges_of_what_is_selected(page, both):
    page.page.click("text=Lasso")
    left, top, width, height = page.box(1)
    page.drag(np.round([left, top] + np.array([[0.3, 0.2], [0.7, 0.2], [0.7, 0.5], [0.3, 0.5]]) * [width, height]))
    torn = both.obsp["umap_torn"].tocoo()
    is_selected = np.isin(np.arange(both.n_obs), page.selection)
    expected = ((is_selected[torn.row] | is_selected[torn.col]) & (torn.row < torn.col)).sum()
    assert expected > 0
    drawn = page.page.locator("figure").nth(1).locator(".torn").get_attribute("d")
    assert drawn.count("M") == expected
    assert f"umap tears {expected} pairs" in page.page.locator(".selected").text_content()


def two_cells(both):
    labels = both.obs["bulk_labels"]
    z = both.obsm["X_geoae"]
    alone = [row for row in isolated(z, 300) if labels.iloc[row] in ("CD14+ Monocyte", "CD19+ B")]
    first = alone[0]
    return first, next(row for row in alone if labels.iloc[row] != labels.iloc[first])


def test_path_between_two_cells(page, both, z):
    rows = [int(row) for row in two_cells(both)]
    page.page.click("text=Path")
    for row in rows:
        page.page.mouse.click(*page.to_window(z[row][None])[0])
    page.page.wait_for_selector(".path dl")
    expected = sg.tl.geodesic(both, *rows)
    found = page.do("({length: view.path.length, straight: view.path.straight, curve: view.path.curve})")
    assert found["length"] == pytest.approx(expected.length, rel=0.02)
    assert found["straight"] == pytest.approx(expected.straight_length, rel=1e-3)
    np.testing.assert_allclose(np.array(found["curve"])[[0, -1]], z[rows], rtol=1e-5)
    said = page.page.locator(".path dd").all_text_contents()
    with torch.no_grad():
        ends = read_map(both, "geoae").model.decode(z[rows])
    through = float(torch.linalg.vector_norm(ends[1] - ends[0]))
    np.testing.assert_allclose([float(text) for text in said], [found["length"], found["straight"], through], rtol=0.01)
    # the genes along it are those of the decoder at the points drawn
    genes = page.page.locator(".along .gene").all_text_contents()
    decoded = sg.tl.decode(both, np.array(found["curve"], dtype=np.float32)).to_df()
    change = (decoded.max() - decoded.min()).sort_values(ascending=False)
    assert genes == list(change.index[:6])
    along = np.array(page.do("Array.from(view.path.along)")).reshape(8, -1)[:6]
    np.testing.assert_allclose(along, decoded[genes].T, rtol=1e-3, atol=1e-3)

    page.page.keyboard.press("Escape")
    page.frames()
    assert page.page.locator(".path dl, .curve, .end").count() == 0


@pytest.mark.slow
def test_path_between_two_groups(page, both):
    page.page.click("text=Path")
    z = both.obsm["X_geoae"]
    medians, size = [], 30
    for row in two_cells(both):
        center = np.round(page.to_window(z[row][None])[0])
        corners = center + size * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        page.drag(corners)
        inside = Polygon(corners).contains_points(page.to_window(z))
        medians.append(np.median(z[inside], axis=0))
    page.page.wait_for_selector(".path dl")
    ends = np.array(page.do("view.ends.map(({position}) => position)"))
    np.testing.assert_allclose(ends, medians, atol=0.05)
    assert page.do("view.path.length") == pytest.approx(sg.tl.geodesic(both, *ends.astype(np.float32)).length, rel=0.02)


def choose(page, name):
    page.page.click("input[role=combobox]")
    page.page.keyboard.type(name)
    page.page.locator(f"[role=option]:has-text('{name}')").first.wait_for()
    page.page.keyboard.press("Enter")
    page.page.wait_for_function("name => view.column.name === name && !view.status.textContent", arg=name)
    page.frames()


@pytest.mark.parametrize(
    ("gene", "note"),
    [pytest.param("CST3", "Decoded expression", marks=pytest.mark.slow), ("CD79A", "Measured expression")],
)
def test_genes_color_the_cells(page, both, z, gene, note):
    choose(page, gene)
    assert note in page.page.locator(".legend .note").text_content()
    values = (
        sg.tl.decode(both, z, genes=[gene]).X[:, 0] if note.startswith("D") else both.raw[:, gene].X.toarray()[:, 0]
    )
    rows = isolated(z, 40)
    x, y = np.round(page.to_window(z[rows])).astype(int).T
    low, high = np.quantile(values, [0.01, 0.99])
    ink = 255 - 255 * colormaps["viridis"](np.clip((values[rows] - low) / (high - low), 0, 1))[:, :3]
    seen = 255 - page.pixels()[y, x]
    # the pixel at the center of a marker, on white, may be one that the marker covers in part
    covered = (seen * ink).sum(1) / (ink**2).sum(1)
    assert ((covered > 0.3) & (covered < 1)).all()
    assert np.abs(seen - covered[:, None] * ink).max() < 4


@pytest.mark.slow
def test_categories_can_be_hidden(page, both, z):
    rows = [row for row in isolated(z, 200) if both.obs["bulk_labels"].iloc[row] == "CD19+ B"][:10]
    x, y = np.round(page.to_window(z[rows])).astype(int).T
    assert (page.pixels()[y, x].min(1) < 230).all()
    button = page.page.locator(".categories button", has_text="CD19+ B")
    button.click()
    page.page.wait_for_function("view.isFiltered")
    page.frames()
    assert button.get_attribute("aria-pressed") == "false"
    page.page.mouse.move(5, 5)
    assert np.median(page.pixels()[y, x].min(1)) > 250
    # nor can they be selected
    page.page.click("text=Lasso")
    left, top, width, height = page.box()
    page.drag(
        np.round([left, top] + np.array([[0.02, 0.02], [0.98, 0.02], [0.98, 0.98], [0.02, 0.98]]) * [width, height])
    )
    assert "CD19+ B" not in set(both.obs["bulk_labels"].iloc[page.selection])
    button.click()
    page.page.wait_for_function("!view.isFiltered")


@pytest.mark.slow
def test_zoom_and_drag_keep_what_is_under_the_mouse(page, z):
    left, top, width, height = page.box()
    mouse = np.round([left + width / 2, top + height / 2])
    place = np.array(page.do("at => view.map.scatter.toMap(at)", (mouse - [left, top]).tolist()))
    page.page.mouse.move(*mouse)
    page.page.mouse.wheel(0, -400)
    page.page.wait_for_timeout(100)
    page.frames()
    assert page.do("view.map.scatter.plot.get('cameraView')[0]") > 1.2
    np.testing.assert_allclose(page.to_window(place[None])[0], mouse, atol=1)
    moved = mouse + np.array([60, -40])
    page.drag([mouse, moved])
    page.page.wait_for_timeout(100)
    np.testing.assert_allclose(page.to_window(place[None])[0], moved, atol=1)
    assert page.selection == []


@pytest.mark.slow
def test_rulers_follow_the_zoom_of_their_views(page, both, z):
    # away from the mouse, that of a map whose scale varies much says what its bar stands for
    said = page.page.locator("figure").nth(1).locator(".ruler").text_content()
    low, high = map(
        float, re.fullmatch(r"≈ ([\d.]+) to ([\d.]+) units of X_pcafor small steps, by place", said).groups()
    )
    bar = page.do("view.views[1].scatter.overlay.querySelector('.ruler .halo').getBBox().width")
    scale = np.linalg.det(sg.get.metric_tensors(both, key="umap").astype(float)) ** 0.25
    small_step = bar / page.do("view.views[1].scatter.pixelsPerUnit")
    np.testing.assert_allclose([low, high], small_step * np.quantile(scale, [0.1, 0.9]), rtol=0.05)

    row = isolated(z, 1)[0]
    tensors = [sg.get.metric_tensors(both, key=basis)[row] for basis in ("geoae", "umap")]
    for zoomed in (None, 0, 1):
        if zoomed is not None:
            mouse = page.to_window(both.obsm[["X_geoae", "X_umap"][zoomed]][[row]], zoomed)[0]
            page.page.mouse.move(*mouse)
            for _ in range(5):
                page.page.mouse.wheel(0, -300)
                page.page.wait_for_timeout(20)
            page.frames()
        page.page.mouse.move(*page.to_window(z[[row]])[0])
        page.frames()
        for view, metric in enumerate(tensors):
            figure = page.page.locator("figure").nth(view)
            said = float(re.search(r"[\d.e+-]+", figure.locator(".ruler text").text_content())[0])
            bar = [float(x) for x in re.findall(r"-?[\d.]+", figure.locator(".ruler .halo").get_attribute("d"))]
            right, up = bar[3] - bar[0], bar[2] - bar[1]
            pixels = page.do(f"view.views[{view}].scatter.pixelsPerUnit")
            expected = said / np.sqrt(metric.diagonal()) * steps_of_ruler(both, ("geoae", "umap")[view]) * pixels
            np.testing.assert_allclose([right, up], expected, rtol=0.05)
            assert 5 < right < 300
    # nor does it end anywhere
    page.page.mouse.move(*page.to_window(z[[row]])[0])
    for _ in range(60):
        page.page.mouse.wheel(0, 900)
    page.page.wait_for_timeout(200)
    assert np.ptp(page.to_window(z), axis=0).max() > 20


@pytest.mark.slow
def test_a_path_from_a_cell_to_itself(page, z):
    page.page.click("text=Path")
    for _ in range(2):
        page.page.mouse.click(*page.to_window(z[isolated(z, 1)])[0])
    page.page.get_by_text("Both ends are at the same place.").wait_for()
    page.page.keyboard.press("Escape")


@pytest.mark.slow
def test_a_view_that_changes_its_size_shows_the_whole_map(page, z):
    for width, height in ((700, 500), (1300, 500), (900, 600)):
        page.page.set_viewport_size({"width": width, "height": height})
        page.frames()
        left, top, wide, high = page.box()
        at = page.to_window(z) - [left, top]
        outside = int(((at < 0) | (at > [wide, high])).any(1).sum())
        assert outside < 5
        said = page.page.locator("figure").first.locator(".outside").all_text_contents()
        assert [int(text.split()[0]) for text in said] == ([outside] if outside else [])


@pytest.mark.slow
def test_a_click_selects_one_cell_and_escape_none(page, z):
    row = isolated(z, 1)[0]
    at = page.to_window(z[row][None])[0]
    # a hand needs more than a frame from one to the other
    page.page.mouse.move(*at)
    page.frames()
    page.page.mouse.click(*at)
    page.frames()
    assert page.selection == [row]
    page.page.keyboard.press("Escape")
    assert page.selection == []


@pytest.mark.slow
def test_png(page, tmp_path):
    from PIL import Image

    with page.page.expect_download() as download:
        page.page.click("text=Save PNG")
    assert download.value.suggested_filename == "geoae.png"
    download.value.save_as(tmp_path / "map.png")
    image = np.asarray(Image.open(tmp_path / "map.png").convert("RGB")).astype(int)
    _, _, width, height = page.box()
    assert image.shape[0] >= height
    assert image.shape[1] >= 2 * width
    # both views and the legend hold colors
    for part in np.array_split(image, 3, axis=1):
        assert (np.ptp(part, axis=2) > 60).sum() > 100
    # the ruler is there
    assert (image[-60:, :200].max(2) < 80).sum() > 50


@pytest.mark.slow
def test_png_of_a_dark_page(page, tmp_path):
    from PIL import Image

    page.page.emulate_media(color_scheme="dark")
    page.page.wait_for_function("view.dark")
    page.frames()
    with page.page.expect_download() as download:
        page.page.click("text=Save PNG")
    download.value.save_as(tmp_path / "map.png")
    page.page.emulate_media(color_scheme="light")
    page.page.wait_for_function("!view.dark")
    light = np.asarray(Image.open(tmp_path / "map.png").convert("L")) > 180
    _, _, width, _ = page.box()
    for view in range(2):
        left = int(14 + view * (width + 14))
        # the name of the view, and its ruler: thin letters and bars without a light halo
        assert 20 < light[:30, left : left + 60].sum() < 400
        assert 100 < light[-60:, left : left + 200].sum() < 1500


MODEL = """async () => {
  const text = document.getElementById("bundle").textContent;
  const bundle = await import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
  const raw = Uint8Array.from(atob(document.getElementById("buffer").textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([raw]).stream().pipeThrough(new DecompressionStream("gzip"));
  // as in a notebook, the buffer is a view that may start at any byte
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const shifted = new Uint8Array(bytes.length + 3);
  shifted.set(bytes, 3);
  const traits = {
    _manifest: { ...JSON.parse(document.getElementById("manifest").textContent), height: 220 },
    _buffer: new DataView(shifted.buffer, 3),
    selection: new DataView(new Uint32Array([3, 5]).buffer),
  };
  const listeners = {};
  window.sent = [];
  window.model = {
    get: (name) => traits[name],
    set: (name, value) => { traits[name] = value; },
    save_changes: () => { window.saved = new Uint32Array(traits.selection.buffer.slice(0)); },
    on: (name, listener) => { listeners[name] = listener; },
    off: (name) => { delete listeners[name]; },
    send: (content) => window.sent.push(content),
    listeners,
  };
  const element = document.createElement("div");
  element.id = "cell";
  element.style.cssText = "position: fixed; inset: 0 0 auto; z-index: 9";
  document.body.append(element);
  window.cleanup = bundle.default.render({ model, el: element });
  await element.scgeoae.ready;
}"""


@pytest.mark.slow
def test_the_widget_talks_to_a_kernel(page):
    page.do(MODEL)
    widget = "document.getElementById('cell').scgeoae"
    assert page.do("document.getElementById('cell').clientHeight") == 220
    # the selection of Python, and back
    assert page.do(f"Array.from({widget}.selection)") == [3, 5]
    page.do(f"{widget}.select([7, 2])")
    assert page.do("Array.from(saved)") == [2, 7]
    page.do("model.set('selection', new DataView(new Uint32Array([1]).buffer)); model.listeners['change:selection']()")
    assert page.do(f"Array.from({widget}.selection)") == [1]

    page.do(f"{widget}.colorBy('LYZ', 'gene').then(() => null), null")
    (question,) = [sent for sent in page.do("sent") if sent["ask"] == "expression"]
    assert question["gene"] == "LYZ"
    answer = """id => model.listeners["msg:custom"](
        { id, color: { name: "LYZ", kind: "number", dtype: "float32", range: [0, 1], source: "gene" } },
        [new DataView(new Float32Array(700).fill(0.5).buffer)])"""
    page.do(answer, question["id"])
    page.page.wait_for_function(f"{widget}.column.name === 'LYZ'")

    # an error is shown in the words of Python
    page.do(f"{widget}.colorBy('nothing', 'column').then(() => null), null")
    question = page.do("sent")[-1]
    assert (question["ask"], question["column"]) == ("obs", "nothing")
    page.do("id => model.listeners['msg:custom']({ id, error: 'There is no such column.' }, [])", question["id"])
    page.page.wait_for_function(f"{widget}.status.textContent === 'There is no such column.'")

    # columns are read anew, because they may have changed
    page.do(f"{widget}.colorBy('bulk_labels', 'column').then(() => null), null")
    question = page.do("sent")[-1]
    assert (question["ask"], question["column"]) == ("obs", "bulk_labels")
    answer = """id => model.listeners["msg:custom"](
        { id, color: { name: "bulk_labels", kind: "category", dtype: "uint8", categories: ["new"], palette: ["#123456"],
          source: "obs" } }, [new Uint8Array(700).buffer])"""
    page.do(answer, question["id"])
    page.page.wait_for_function(f"{widget}.column.categories?.[0] === 'new'")

    # after a restart of the kernel, there is what was handed over, and words
    page.do("model.send = () => { throw new Error('Cannot send'); }; null")
    page.do(f"{widget}.colorBy('bulk_labels', 'column').then(() => null)")
    assert "was the kernel restarted? Run the cell again." in page.do(f"{widget}.status.textContent")
    assert page.do(f"{widget}.column.categories.length") == 10
    page.page.locator("#cell input").click()
    assert page.page.locator("#cell [role=option]").first.text_content() == "bulk_labelscolumn"
    page.page.keyboard.press("Escape")
    page.do(f"{widget}.setMode('path')")
    page.do(f"[3, 400].forEach((row) => {widget}.map.scatter.handlers.click({widget}.map.scatter, null, row))")
    page.page.wait_for_selector("#cell .path dl")

    page.do("cleanup()")
    assert page.do("[document.getElementById('cell').children.length, Object.keys(model.listeners).length]") == [0, 0]
    page.do("document.getElementById('cell').remove()")
