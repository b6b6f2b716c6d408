"""The plot of a map: what is on its axes, beside what Scanpy draws of the same cells."""

from __future__ import annotations

import inspect

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from anndata import AnnData
from matplotlib.colors import Normalize, to_rgba
from matplotlib.offsetbox import AnchoredOffsetbox, AnchoredText, AuxTransformBox, TextArea
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar
from scipy import sparse

import scgeoae as sg
from scgeoae._anndata import map as maps
from scgeoae.pl import _scanpy

from ..checks.slots import fingerprints
from ..for_each import for_each

GROUPS = ["memory T cells", "B cells", "monocytes"]


@pytest.fixture(scope="module")
def cells():
    """400 cells in three round groups on a layout that nobody has measured, with 4 more far away. Do not change."""
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1, 2], [200, 120, 80])
    z = np.array([[0, 0], [9, 1], [3, 6]])[group] + rng.normal(size=(400, 2))
    z[:4] = [[90, 0], [-70, 3], [4, 60], [50, 50]]
    adata = AnnData(
        rng.poisson(1, size=(400, 3)).astype(np.float32), obs=pd.DataFrame(index=np.arange(400).astype(str))
    )
    adata.obs["group"] = pd.Categorical(np.array(GROUPS)[group])
    adata.obs["half"] = np.arange(400) % 2 == 0
    adata.obsm["X_umap"] = z.astype(np.float32)
    adata.obsm["X_solid"] = np.concatenate([z, rng.normal(size=(400, 1))], axis=1)
    adata.var["symbol"] = ["CD3E", "MS4A1", "LYZ"]
    adata.layers["log"] = np.log1p(adata.X)
    adata.obsp["connectivities"] = sparse.random(400, 400, 0.001, format="csr", random_state=0)
    adata.uns["neighbors"] = {"connectivities_key": "connectivities", "params": {}}
    return adata


def share(ax, z):
    """Share of the panel that the middle 95% of the cells fill, on each axis."""
    low, high = np.quantile(z, [0.025, 0.975], axis=0)
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    return np.prod(high - low) / ((right - left) * (top - bottom))


def is_outside(ax, z):
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    return (z[:, 0] < left) | (z[:, 0] > right) | (z[:, 1] < bottom) | (z[:, 1] > top)


def words(ax):
    return [a.txt.get_text() for a in ax.artists if isinstance(a, AnchoredText)]


def rulers(ax):
    return [a for a in ax.artists if isinstance(a, AnchoredOffsetbox) and not isinstance(a, AnchoredText)]


def bars(ax):
    """Text of the ruler, and lengths of its bars as drawn, in units of the map."""
    (ruler,) = rulers(ax)
    ax.figure.canvas.draw()
    per_pixel = np.ptp(ax.get_xlim()) / ax.get_window_extent().width
    text = [box.get_text() for box in ruler.findobj(TextArea)]
    return text, [box.get_window_extent().width * per_pixel for box in ruler.findobj(AuxTransformBox)]


def test_cells_are_where_scanpy_draws_them_and_as_it_colors_them(cells):
    for color in (None, "group", "half", "0"):
        ours = sg.pl.embedding(cells, "umap", color=color, show=False)
        theirs = sc.pl.umap(cells, color=color, show=False)
        np.testing.assert_array_equal(ours.collections[0].get_offsets(), theirs.collections[0].get_offsets())
        np.testing.assert_array_equal(ours.collections[0].get_facecolors(), theirs.collections[0].get_facecolors())
        labels = [(ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) for ax in (ours, theirs)]
        assert labels[0] == labels[1]


# every argument of Scanpy's; those in one call go together
CALLS = [
    {
        "color": "CD3E",
        "gene_symbols": "symbol",
        "use_raw": False,
        "sort_order": False,
        "frameon": True,
        "edges": True,
        "edges_width": 0.2,
        "edges_color": "red",
        "neighbors_key": "neighbors",
        "arrows": False,
        "arrows_kwds": {},
        "cmap": "magma",
        "size": 20,
        "colorbar_loc": "bottom",
        "vmin": 0,
        "vmax": "p99",
        "vcenter": 0.5,
        "add_outline": True,
        "outline_width": (0.3, 0.1),
        "outline_color": ("black", "white"),
        "title": "T cells",
        "marker": "o",
        "alpha": 0.5,
        "components": "2,1",
    },
    {
        "color": ["group", "0"],
        "groups": [GROUPS[0]],
        "palette": "Set2",
        "na_color": "0.9",
        "na_in_legend": False,
        "legend_fontsize": 6,
        "legend_fontweight": "normal",
        "legend_loc": "on data",
        "legend_fontoutline": 1,
        "ncols": 1,
        "hspace": 0.3,
        "wspace": 0.4,
        "layer": "log",
        "color_map": "viridis",
        "dimensions": [(0, 1)],
    },
    {"color": "0", "mask_obs": "half", "norm": Normalize(0, 3), "projection": "2d", "s": 3, "rasterized": True},
    {"scale_factor": 2.0, "size": 0.1},
]


def test_every_argument_of_scanpy_is_taken(cells):
    theirs = {*inspect.signature(sc.pl.umap).parameters, *inspect.signature(sc.pl.embedding).parameters}
    ours = {"adata", "basis", "ax", "show", "save", "return_fig", "kwargs"}
    assert theirs - ours - {name for call in CALLS for name in call} == set()
    for call in CALLS:
        assert sg.pl.embedding(cells, "umap", show=False, **call) is not None


def test_nothing_is_changed(cells):
    adata = cells.copy()
    before = fingerprints(adata)
    for color in ("group", "half", "0", None):
        sg.pl.embedding(adata, "umap", color=color, show=False)
        sg.pl.embedding(adata, "solid", color=color, projection="3d", show=False)
    # colors of groups are Scanpy's to store
    after = {name: value for name, value in fingerprints(adata).items() if not name.endswith("_colors']")}
    assert after == {name: value for name, value in before.items() if not name.endswith("_colors']")}


@for_each("size", [(3.2, 3), (6.4, 4.8), (9, 3)])
@for_each("color", ["group", "0"])
def test_a_circle_is_drawn_as_a_circle(cells, size, color):
    with plt.rc_context({"figure.figsize": size}):
        ax = sg.pl.embedding(cells, "umap", color=color, show=False)
    ax.figure.canvas.draw()
    right, up = ax.transData.transform([[1, 0], [0, 1]]) - ax.transData.transform([0, 0])
    assert right[0] == pytest.approx(up[1], rel=1e-6)


@for_each("size", [(3.2, 3), (9, 3)])
def test_color_bar_is_as_high_as_the_panel_and_beside_it(cells, size):
    with plt.rc_context({"figure.figsize": size}):
        axes = sg.pl.embedding(cells, "umap", color=["0", "1"], show=False)
    axes[0].figure.canvas.draw()
    for ax in axes:
        bar, panel = ax.collections[0].colorbar.ax.get_window_extent(), ax.get_window_extent()
        assert bar.height == pytest.approx(panel.height, abs=1)
        assert 0 < bar.x0 - panel.x1 < 0.05 * panel.width + 10


def test_a_few_cells_far_away_are_counted_and_not_shown(cells):
    z = cells.obsm["X_umap"]
    ax = sg.pl.embedding(cells, "umap", show=False)
    outside = is_outside(ax, z)
    assert outside[:4].all()
    assert outside.sum() <= 8
    assert words(ax) == [f"{outside.sum()} cells outside"]
    assert share(ax, z) > 0.45
    whole = sg.pl.embedding(cells, "umap", outliers=True, show=False)
    assert not is_outside(whole, z).any()
    assert words(whole) == []
    assert share(whole, z) < 0.05
    one = np.concatenate([np.random.default_rng(0).uniform(size=(99, 2)), [[9, 9]]])
    assert words(sg.pl.embedding(AnnData(obsm={"X_umap": one}, shape=(100, 0)), "umap", show=False)) == [
        "1 cell outside"
    ]


@for_each("seed", range(5))
def test_the_middle_fills_the_panel_whatever_lies_around_it(seed):
    rng = np.random.default_rng(seed)
    for z in (
        rng.standard_cauchy(size=(500, 2)),
        rng.normal(size=(500, 2)) * [2, 1],
        rng.uniform(size=(500, 2)),
        np.exp(2 * rng.normal(size=(500, 2))),
    ):
        adata = AnnData(obsm={"X_umap": z}, shape=(500, 0))
        ax = sg.pl.embedding(adata, "umap", show=False)
        assert share(ax, z) > 0.45
        assert is_outside(ax, z).mean() < 0.1
    # there is nothing around
    z = rng.uniform(size=(500, 2))
    ax = sg.pl.embedding(AnnData(obsm={"X_umap": z}, shape=(500, 0)), "umap", show=False)
    assert not is_outside(ax, z).any()


@for_each("z", [np.zeros((3, 2)), [[0, 0], [1, 0], [5, 0]], [[0, 0]], np.eye(2) * 1e12])
def test_cells_on_a_point_or_a_line(z):
    adata = AnnData(obsm={"X_umap": np.asarray(z, dtype=float)}, shape=(len(z), 0))
    ax = sg.pl.embedding(adata, "umap", show=False)
    assert not is_outside(ax, adata.obsm["X_umap"]).any()
    extent = ax.get_window_extent()
    assert 0.3 < extent.width / extent.height < 3.1


def test_panels_of_other_dimensions(cells):
    solid = cells.obsm["X_solid"]
    axes = sg.pl.embedding(cells, "solid", color=["group", "0"], components=["1,2", "3,2"], show=False)
    for ax, (x, y) in zip(axes, [(0, 1), (2, 1)] * 2, strict=True):
        assert (ax.get_xlabel(), ax.get_ylabel()) == (f"solid{x + 1}", f"solid{y + 1}")
        z = solid[:, [x, y]]
        np.testing.assert_allclose(np.sort(ax.collections[0].get_offsets(), axis=0), np.sort(z, axis=0))
        assert share(ax, z) > 0.45
    axes = sg.pl.embedding(cells, "solid", color="0", components="all", show=False)
    assert [ax.get_xlabel() + ax.get_ylabel() for ax in axes] == ["solid1solid2", "solid1solid3", "solid2solid3"]


def test_three_dimensions_have_one_scale(cells):
    z = cells.obsm["X_solid"]
    ax = sg.pl.embedding(cells, "solid", color="group", projection="3d", show=False)
    limits = np.array([ax.get_xlim(), ax.get_ylim(), ax.get_zlim()])
    lengths = np.ptp(limits, axis=1)
    # the box is as long on each axis as the limits are apart
    np.testing.assert_allclose(ax._box_aspect / ax._box_aspect[0], lengths / lengths[0])
    inside = ((z >= limits[:, 0]) & (z <= limits[:, 1])).all(1)
    assert not inside[:4].any()
    drawn = np.ma.filled(np.ma.concatenate(ax.collections[0]._offsets3d[:2]).astype(float), np.nan)
    n_drawn = np.isfinite(drawn).sum() // 2
    (text,) = [text.get_text() for text in ax.texts]
    assert text == f"{400 - n_drawn} cells outside"
    assert 380 < n_drawn <= inside.sum()
    whole = sg.pl.embedding(cells, "solid", projection="3d", outliers=True, show=False)
    assert [text.get_text() for text in whole.texts] == []


def notes(ax):
    return [note.txt.get_text() for note in ax.artists if isinstance(note, AnchoredText)]


def with_rare_types(cells, names):
    """The cells with a category more for each name, in turns for the four cells that are far away."""
    adata = cells.copy()
    adata.obs["type"] = adata.obs["group"].cat.add_categories([*names, "$unused$"])
    for i in range(4):
        adata.obs.iloc[i, adata.obs.columns.get_loc("type")] = names[i % len(names)]
    return adata


@for_each("names", [["$rare$"], ["a", "b"], ["a", "b", "c", "d"]])
def test_groups_that_are_all_outside_are_named(cells, names):
    adata = with_rare_types(cells, names)
    words = {1: "$rare$", 2: "a and b", 4: "a, b, c and 1 more group"}[len(names)]
    ax = sg.pl.embedding(adata, "umap", color="type", legend_loc="on data", show=False)
    (note,) = notes(ax)
    # as it is, and not as a formula
    assert note.replace("\n", " ").endswith(f"outside: all of {words}")
    # no label where none of its cells are
    assert {text.get_text() for text in ax.texts} == {*GROUPS}
    for color, groups in ((None, None), ("half", None), ("symbol_0", None), ("type", GROUPS)):
        adata.obs["symbol_0"] = np.arange(400)
        (note,) = notes(sg.pl.embedding(adata, "umap", color=color, groups=groups, show=False))
        assert note.endswith(" cells outside")
    whole = sg.pl.embedding(adata, "umap", color="type", legend_loc="on data", outliers=True, show=False)
    assert notes(whole) == []
    assert {text.get_text() for text in whole.texts} == {*GROUPS, *names}


def test_each_panel_names_its_own_groups(cells):
    adata = with_rare_types(cells, ["rare"])
    drawn = sg.pl.embedding(adata, "umap", color=["half", "type"], dimensions=[(0, 1), (1, 0)], show=False)
    named = ["rare" in " ".join(notes(ax)) for ax in drawn]
    # Scanpy draws one panel for each where there are as many colors as pairs of dimensions
    assert named == [False, True]
    drawn = sg.pl.embedding(adata, "umap", color=["type", "half"], components=["1,2", "2,1", "1,2"], show=False)
    titles = [ax.get_title() for ax in drawn]
    assert ["rare" in " ".join(notes(ax)) for ax in drawn] == [title.startswith("type") for title in titles]
    (solid,) = sg.pl.embedding(adata, "solid", color="type", projection="3d", show=False).texts
    assert solid.get_text().replace("\n", " ").endswith("outside: all of rare")


def test_few_cells_are_not_huge(cells):
    sizes = [sg.pl.embedding(cells[:n], "umap", show=False).collections[0].get_sizes()[0] for n in (1, 40, 200, 400)]
    np.testing.assert_allclose(sizes[:3], sizes[3], rtol=0.3)
    assert sg.pl.embedding(cells[:40], "umap", size=900, show=False).collections[0].get_sizes()[0] == 900


def test_edges_of_the_box_are_in_units_of_the_data(small):
    sg.tl.geoae(small, n_components=3, n_steps=20, hidden=(8,), progress_bar=False)
    ax = sg.pl.embedding(small, projection="3d", show=False)
    lengths = np.ptp([ax.get_xlim(), ax.get_ylim(), ax.get_zlim()], axis=1) / sg.get.scores(small)["chord"]
    (note,) = ax.texts
    text = note.get_text().split("\n")[-1]
    said = [float(number) for number in text.removeprefix("edges: ≈ ").removesuffix(" units of X").split(" × ")]
    np.testing.assert_allclose(said, lengths, rtol=0.06)
    ax.figure.canvas.draw()
    labels = [axis.label.get_window_extent() for axis in (ax.xaxis, ax.yaxis, ax.zaxis)]
    assert not any(note.get_window_extent().overlaps(label) for label in labels)
    # distances in the plane of two of them are too short for a ruler
    assert rulers(sg.pl.embedding(small, show=False)) == []


def test_ruler_is_as_long_as_it_says(fitted):
    ax = sg.pl.embedding(fitted, show=False)
    (text,), (length,) = bars(ax)
    assert isinstance(rulers(ax)[0], AnchoredSizeBar)
    said = float(text.split()[1])
    assert length / sg.get.scores(fitted)["chord"] == pytest.approx(said, rel=0.02)
    assert text == f"≈ {said:g} units of X_pca, ± {100 * sg.get.scores(fitted)['chord_spread']:.0f}%"
    assert rulers(sg.pl.embedding(fitted, ruler=False, show=False)) == []
    assert rulers(sg.pl.embedding(fitted, "X_pca", show=False)) == []


def test_three_bars_where_the_scale_varies(small, monkeypatch):
    sg.tl.geoae(small, regularizer="conformal", n_steps=60, hidden=(16,), progress_bar=False)
    # the length of a small step in the data, over its length on the map, from the tensors themselves
    scale = np.linalg.det(sg.get.metric_tensors(small).astype(float)) ** 0.25
    low, middle, high = np.quantile(scale, [0.1, 0.5, 0.9])
    for bound, n_bars in ((high / low * 0.99, 3), (high / low * 1.01, 1)):
        monkeypatch.setattr(maps, "UNIFORM", bound)
        text, lengths = bars(sg.pl.embedding(small, show=False))
        assert len(lengths) == n_bars
    monkeypatch.setattr(maps, "UNIFORM", 1.0)
    text, lengths = bars(sg.pl.embedding(small, show=False))
    assert text[1:] == ["for small steps", "where enlarged", "typical", "where reduced"]
    said = float(text[0].split()[1])
    # each is as long as the length in the data is drawn there, along the surface
    np.testing.assert_allclose(lengths, said / np.array([low, middle, high]), rtol=0.03)
    text, lengths = bars(sg.pl.embedding(small, scale_factor=10, show=False))
    said = float(text[0].split()[1])
    np.testing.assert_allclose(lengths, 10 * said / np.array([low, middle, high]), rtol=0.03)


def test_ruler_of_a_part_of_the_map_is_that_of_the_part(small):
    sg.tl.geoae(small, equal_room=1, n_steps=60, hidden=(16,), progress_bar=False)
    # the scale varies over the map, and hardly over a tenth of the cells
    small.obsm["geoae_metric"] *= np.linspace(1, 100, small.n_obs)[:, None].astype(np.float32)
    area = np.linalg.det(sg.get.metric_tensors(small).astype(float)) ** 0.5
    small.obs["geoae_log_area"] = np.log10(area / area.mean())
    part = small[np.argsort(area)[:6]].copy()
    text, lengths = bars(sg.pl.embedding(part, show=False))
    scale = 10 ** np.quantile(np.log10(np.sort(area)[:6]) / 2, [0.1, 0.5, 0.9])
    expected = float(text[0].split()[1]) / scale
    np.testing.assert_allclose(lengths, expected, rtol=0.03)


def corner_boxes(ax):
    """The notes in the corners, and the ruler below, as they are drawn."""
    ax.figure.canvas.draw()
    return [note.get_window_extent() for note in ax.artists if isinstance(note, AnchoredOffsetbox)]


def with_layout(fitted, z):
    adata = fitted[: len(z)].copy()
    adata.obsm["X_geoae"] = z.astype(np.float32)
    return adata


@for_each("log_area", [0.0, 1.0])
@for_each("free", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_notes_hide_no_cells_if_there_is_room(fitted, free, log_area):
    rng = np.random.default_rng(0)
    z = rng.uniform(size=(600, 2))
    # no cells in one corner, which has room for a ruler
    z = z[~(np.abs(z - free) < [0.85, 0.5]).all(1)]
    z[0] = 9
    adata = with_layout(fitted, z)
    adata.obs["geoae_log_area"] = np.where(np.arange(len(z)) % 2, log_area, 0)
    with plt.rc_context({"figure.figsize": (3.2, 3)}):
        ax = sg.pl.embedding(adata, show=False)
    (ruler,) = (r.get_window_extent() for r in rulers(ax))
    boxes = corner_boxes(ax)
    assert len(boxes) == 2
    assert not boxes[0].overlaps(boxes[1])
    ruler = rulers(ax)[0].get_window_extent()
    at = ax.transData.transform(z)
    hidden = (at >= ruler.min).all(1) & (at <= ruler.max).all(1)
    assert hidden.sum() == 0
    assert ax.get_window_extent().contains(*((ruler.min + ruler.max) / 2))


@for_each("log_area", [0.0, 1.0])
@for_each("n_colors", [1, 3])
def test_ruler_is_below_the_axes_if_cells_are_in_all_corners(fitted, log_area, n_colors):
    z = np.random.default_rng(0).uniform(size=(700, 2))
    adata = with_layout(fitted, z)
    adata.obs["geoae_log_area"] = np.where(np.arange(len(z)) % 2, log_area, 0)
    color = ["bulk_labels"] * n_colors
    with plt.rc_context({"figure.figsize": (3.2, 3)}):
        drawn = sg.pl.embedding(adata, color=color, ncols=2, legend_loc="none", show=False)
    axes = drawn if n_colors > 1 else [drawn]
    axes[0].figure.canvas.draw()
    titles = [ax.title.get_window_extent() for ax in axes]
    for ax in axes:
        (ruler,) = corner_boxes(ax)
        assert ruler.y1 <= ax.get_window_extent().y0 + 1
        assert ruler.y0 >= 0
        assert not ruler.overlaps(ax.xaxis.label.get_window_extent())
        assert not any(ruler.overlaps(title) for title in titles)


@for_each("style", ["default", "dark_background"])
@for_each("frameon", [True, False])
def test_text_stands_out_from_its_ground(cells, fitted, style, frameon):
    ground, ink = ((0, 0, 0), (1, 1, 1)) if style == "dark_background" else ((1, 1, 1), (0, 0, 0))
    with plt.style.context(style):
        far = with_layout(fitted, np.concatenate([fitted.obsm["X_geoae"][1:], [[1e4, 0]]]))
        for log_area in (0, 1):
            far.obs["geoae_log_area"] = log_area * np.arange(700)
            ax = sg.pl.embedding(far, frameon=frameon, show=False)
            (ruler,), (note,) = rulers(ax), [a for a in ax.artists if isinstance(a, AnchoredText)]
            for box in (ruler, note):
                assert to_rgba(box.patch.get_facecolor())[:3] == ground
            colors = [box._text.get_color() for box in ruler.findobj(TextArea)]
            colors += [bar.get_facecolor() for box in ruler.findobj(AuxTransformBox) for bar in box.get_children()]
            assert {to_rgba(color)[:3] for color in (*colors, note.txt._text.get_color())} == {ink}
        ax = sg.pl.embedding(cells, "umap", color="group", legend_loc="on data", frameon=frameon, show=False)
        outlines = [label.get_path_effects()[0]._gc["foreground"] for label in ax.texts]
        assert {to_rgba(color)[:3] for color in outlines} == {ground}
        assert {to_rgba(label.get_color())[:3] for label in ax.texts} == {ink}
        solid = sg.pl.embedding(cells, "solid", projection="3d", show=False)
        assert {to_rgba(text.get_color())[:3] for text in solid.texts} == {ink}


@for_each("size", [(3.2, 3), (6.4, 4.8)])
def test_labels_on_the_cells_are_not_cut(cells, size):
    with plt.rc_context({"figure.figsize": size}):
        ax = sg.pl.embedding(cells, "umap", color="group", legend_loc="on data", show=False)
    ax.figure.canvas.draw()
    border = ax.get_window_extent()
    assert len(ax.texts) == 3
    for label in ax.texts:
        extent = label.get_window_extent()
        assert border.x0 <= extent.x0 <= extent.x1 <= border.x1
        assert border.y0 <= extent.y0 <= extent.y1 <= border.y1
    # one that is inside stays in the middle of its group
    (label,) = [label for label in ax.texts if label.get_text() == GROUPS[0]]
    middle = np.median(cells.obsm["X_umap"][:200], axis=0)
    assert label.get_position()[1] == pytest.approx(middle[1], abs=1e-4)


def test_legends_end_before_the_next_panel_and_the_figure_do(cells, fitted):
    several = sg.pl.embedding(cells, "umap", color=["group", "0", "group"], show=False)
    placed = fitted[:50].copy()
    sg.tl.transform(placed, fitted, use_rep="X_pca")
    for axes in (
        [sg.pl.embedding(cells, "umap", color="group", show=False)],
        several,
        sg.pl.transform(placed, fitted, color=["bulk_labels", "bulk_labels"], show=False),
    ):
        figure = axes[0].figure
        figure.canvas.draw()
        for i, ax in enumerate(axes):
            legend = ax.get_legend()
            if legend is None:
                continue
            extent = legend.get_window_extent()
            assert extent.x1 <= figure.bbox.x1
            for other in axes[i + 1 :]:
                assert extent.x1 <= other.get_window_extent().x0
                assert not extent.overlaps(other.yaxis.label.get_window_extent())


def test_cells_are_smaller_in_a_small_panel(cells):
    sizes = []
    for size in ((3.2, 3), (6.4, 4.8), (12.8, 9.6)):
        with plt.rc_context({"figure.figsize": size}):
            ax = sg.pl.embedding(cells, "umap", show=False)
            sizes.append(ax.collections[0].get_sizes()[0])
            given = sg.pl.embedding(cells, "umap", size=7, show=False)
            assert given.collections[0].get_sizes()[0] == 7
    # as large as Scanpy's in a figure of default size
    assert sizes[1] == pytest.approx(300, rel=0.01)
    assert sizes[2] == pytest.approx(300)
    assert sizes[0] == pytest.approx(300 * 3.2 * 3 / 6.4 / 4.8, rel=0.01)


def test_cells_are_as_large_as_in_other_plots_of_the_map(fitted):
    with plt.rc_context({"figure.figsize": (3.2, 3)}):
        drawn = [plot(fitted, show=False) for plot in (sg.pl.embedding, sg.pl.indicatrices, sg.pl.jacobian_heatmap)]
        given = [plot(fitted, size=7, show=False) for plot in (sg.pl.indicatrices, sg.pl.jacobian_heatmap)]
    sizes = [ax.collections[0].get_sizes()[0] for ax in drawn]
    np.testing.assert_allclose(sizes, 120_000 / 700 * 3.2 * 3 / 6.4 / 4.8, rtol=0.01)
    assert [ax.collections[0].get_sizes()[0] for ax in given] == [7, 7]


def drawn_of(n):
    rng = np.random.default_rng(0)
    adata = AnnData(obsm={"X_umap": rng.normal(size=(n, 2)).astype(np.float32)}, shape=(n, 0))
    adata.obs["value"] = rng.normal(size=n)
    return adata


@for_each("n, is_image", [(4000, False), (6000, True)])
def test_vector_files_stay_small(n, is_image, tmp_path):
    adata = drawn_of(n)
    for given in ({}, {"rasterized": not is_image}):
        path = tmp_path / "map.svg"
        sg.pl.embedding(adata, "umap", color="value", save=path, return_fig=True, **given)
        # one for each cell, and a few for the color bar
        assert (path.read_text().count("<use") < 200) == given.get("rasterized", is_image)
        if not given:
            assert path.stat().st_size <= 1e6


def test_many_cells_are_an_image_in_other_plots_too(fitted, monkeypatch):
    assert not sg.pl.indicatrices(fitted, show=False).collections[0].get_rasterized()
    monkeypatch.setattr(_scanpy, "MAX_VECTOR_MARKS", 699)
    assert sg.pl.indicatrices(fitted, show=False).collections[0].get_rasterized()


@pytest.mark.slow
@for_each("color", ["value", None])
@for_each("plot", [sg.pl.embedding, sc.pl.embedding])
def test_vector_files_of_many_cells(color, plot, tmp_path):
    figure = plot(drawn_of(100_000), "umap", color=color, return_fig=True, show=False)
    figure.savefig(tmp_path / "map.svg")
    assert ((tmp_path / "map.svg").stat().st_size <= 1e6) == (plot is sg.pl.embedding)


def test_what_cannot_be_drawn(cells):
    with pytest.raises(KeyError, match=r"Did not find 'X_tsne' in adata.obsm, which has 'X_umap', 'X_solid'\."):
        sg.pl.embedding(cells, "tsne")
    with pytest.raises(KeyError, match=r"Did not find 'X_geoae' in adata.obsm, .*; run sg\.tl\.geoae\(adata\) first"):
        sg.pl.embedding(cells)
    adata = cells.copy()
    adata.obsm["X_line"] = adata.obsm["X_umap"][:, :1]
    for basis, projection, least in (("line", "2d", 2), ("umap", "3d", 3)):
        with pytest.raises(ValueError, match=f"an embedding of {least} dimensions or more"):
            sg.pl.embedding(adata, basis, projection=projection)
    assert not plt.get_fignums()


@pytest.mark.slow
@for_each("name", ["pbmc3k_pca", "packer2019_amphid_neurons", "zilionis2019_mouse_lung"])
@for_each("scaled", [False, True])
def test_the_middle_fills_the_panel_of_real_data(reference, name, scaled):
    adata = reference(name)
    if scaled and adata.n_vars:
        adata = adata[:, adata.var["highly_variable"]].copy()
        adata.X = adata.X.toarray()
        sc.pp.scale(adata)
        sc.pp.pca(adata, n_comps=50)
    elif scaled:  # it has components alone
        adata.obsm["X_pca"] = (adata.obsm["X_pca"] / adata.obsm["X_pca"].std(0)).astype(np.float32)
    sg.tl.geoae(adata, use_rep="X_pca", progress_bar=False)
    with plt.rc_context({"figure.figsize": (3.2, 3)}):
        ax = sg.pl.embedding(adata, show=False)
    assert share(ax, adata.obsm["X_geoae"]) >= 0.45
    assert is_outside(ax, adata.obsm["X_geoae"]).mean() < 0.05
