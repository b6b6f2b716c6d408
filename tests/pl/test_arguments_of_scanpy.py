"""What `scanpy.pl.embedding` takes, in every plot that draws over it."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from anndata import AnnData
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver
from matplotlib.transforms import Affine2D

import scgeoae as sg

from ..for_each import for_each

QUICK = {"n_steps": 60, "hidden": (16,), "progress_bar": False}


@pytest.fixture(scope="module")
def drawable():
    """60 cells with all that a plot may ask for. Do not change."""
    rng = np.random.default_rng(0)
    t = rng.uniform(-1, 1, size=(60, 2))
    x = np.concatenate([3 * t, t[:, :1] ** 2, 0.01 * rng.normal(size=(60, 5))], axis=1)
    adata = AnnData(x.astype(np.float32))
    adata.obs["side"] = np.where(t[:, 0] > 0, "right", "left")
    sg.tl.geoae(adata, **QUICK)
    sg.tl.curvature(adata)
    sg.tl.distortion(adata, basis="geoae", n_neighbors=5)
    placed = adata.copy()
    sg.tl.transform(placed, adata)
    adata.obs["geoae_outlier"] = placed.obs["geoae_outlier"]
    sg.tl.evaluate(adata, basis="geoae")
    sg.tl.density(adata)
    sg.tl.stability(adata, n_fits=4, progress_bar=False)
    sg.tl.project_vectors(adata, np.ones((60, 8)), key_added="velocity")
    adata.obs["side"] = adata.obs["side"].astype("category")
    return adata


def curve(adata):
    return sg.tl.geodesic(adata, "left", "right", groupby="side", genes=["0", "1"])


OVER_CELLS = {
    "broken_neighborhoods": lambda adata, **kwargs: sg.pl.broken_neighborhoods(adata, basis="geoae", **kwargs),
    "curvature_heatmap": sg.pl.curvature_heatmap,
    "decoded_genes": lambda adata, **kwargs: sg.pl.decoded_genes(adata, "0", **kwargs),
    "gene_compass": lambda adata, **kwargs: sg.pl.gene_compass(adata, "side", "left", **kwargs),
    "geodesics": lambda adata, **kwargs: sg.pl.geodesics(adata, curve(adata), **kwargs),
    "indicatrices": sg.pl.indicatrices,
    "jacobian_heatmap": sg.pl.jacobian_heatmap,
    "transform": lambda adata, **kwargs: sg.pl.transform(adata, adata, **kwargs),
}
PLOTS = OVER_CELLS | {
    "embedding": sg.pl.embedding,
    "evaluation": sg.pl.evaluation,
    "density": sg.pl.density,
    "stability": sg.pl.stability,
    "vectors": sg.pl.vectors,
    "gap": lambda adata, **kwargs: sg.pl.gap(adata, sg.tl.gap(adata, "left", "right", "side"), **kwargs),
    "geodesic_genes": lambda adata, **kwargs: sg.pl.geodesic_genes(adata, curve(adata), **kwargs),
}
HEATMAPS = ("curvature_heatmap", "decoded_genes", "jacobian_heatmap")


def places(ax):
    """Where the cells are, in any order."""
    return np.sort(np.asarray(ax.collections[0].get_offsets()), axis=0)


def bounds(ax):
    norm = ax.collections[0].norm
    return norm.vmin, norm.vmax


def test_all_plots_are_here():
    # the interactive view is a page, not a figure
    assert sorted(PLOTS) == sorted({*sg.pl.__all__} - {"interactive"})


@for_each("name", OVER_CELLS)
@for_each(
    "moving",
    [
        {"dimensions": (1, 0)},
        {"dimensions": [(0, 1), (1, 0)]},
        {"components": "2,1"},
        {"components": ["1,2", "2,1"]},
        {"scale_factor": 2},
        {"projection": "3d"},
        {"transform": Affine2D().scale(2)},
        {"offsets": np.zeros((1, 2))},
    ],
)
def test_cells_are_not_moved_from_under_what_is_drawn_over_them(drawable, name, moving):
    (argument,) = moving
    with pytest.raises(ValueError, match=f"Expected `{argument}` to be .* draw the cells alone with sg.pl.embedd"):
        OVER_CELLS[name](drawable, show=False, **moving)


SAME = [
    {"dimensions": (0, 1)},
    {"components": ["1,2"], "projection": "2d", "scale_factor": None},
    {"dimensions": np.array([0, 1])},
    {"dimensions": [(0, 1)]},
    {"components": "1,2"},
]


@for_each("name", OVER_CELLS)
def test_cells_stay_where_they_are(drawable, name):
    plain = OVER_CELLS[name](drawable, show=False)
    np.testing.assert_allclose(places(plain), np.sort(drawable.obsm["X_geoae"], axis=0), atol=1e-6)
    # all other plots pass them on in the same way
    for same in SAME if name == "indicatrices" else SAME[:2]:
        ax = OVER_CELLS[name](drawable, show=False, **same)
        np.testing.assert_array_equal(places(ax), places(plain))
        assert (ax.get_xlim(), ax.get_ylim()) == (plain.get_xlim(), plain.get_ylim())
        assert (ax.get_xlabel(), ax.get_ylabel()) == (plain.get_xlabel(), plain.get_ylabel())


def test_arrows_of_velocities_start_at_the_cells(drawable):
    adata = drawable.copy()
    adata.obsm["Delta_geoae"] = np.ones((60, 2), dtype=np.float32)
    ax = sg.pl.indicatrices(adata, arrows=True, show=False)
    (arrows,) = [c for c in ax.collections if isinstance(c, Quiver)]
    np.testing.assert_allclose(arrows.XY, adata.obsm["X_geoae"], atol=1e-6)


@for_each("name", PLOTS)
def test_the_figure_is_returned_and_not_shown(drawable, name, monkeypatch, tmp_path):
    monkeypatch.setattr(plt, "show", lambda: pytest.fail("shown"))
    figure = PLOTS[name](drawable, return_fig=True, show=True, save=tmp_path / "map.png")
    assert isinstance(figure, Figure)
    assert (tmp_path / "map.png").stat().st_size > 5000
    axes = PLOTS[name](drawable, return_fig=False, show=False)
    first = axes[0] if isinstance(axes, list) else axes
    assert first.get_title() == figure.axes[0].get_title()
    assert first.get_xlabel() == figure.axes[0].get_xlabel()


def test_the_figure_of_axes_that_were_given(drawable):
    figure, ax = plt.subplots()
    assert sg.pl.indicatrices(drawable, ax=ax, return_fig=True) is figure
    both = sg.pl.indicatrices(drawable, side="both", return_fig=True)
    assert [ax.get_title() for ax in both.axes] == ["decoder", "encoder"]


@for_each(
    "name, column, factors",
    [
        ("jacobian_heatmap", "geoae_log_area", True),
        ("curvature_heatmap", "geoae_gaussian_curvature", False),
    ],
)
def test_largest_color(drawable, name, column, factors):
    sizes = np.abs(drawable.obs[column].to_numpy(float))
    # areas are given as factors and drawn as logarithms
    given, drawn = (10**sizes, np.log10) if factors else (sizes, float)
    for vmax, limit in (
        (1.5, 1.5),
        ("p75", np.percentile(given, 75)),
        ("p99.5", np.percentile(given, 99.5)),
        (lambda values: 2 * values.max(), 2 * given.max()),
    ):
        limit = drawn(limit)  # noqa: PLW2901
        assert bounds(PLOTS[name](drawable, vmax=vmax, show=False)) == pytest.approx((-limit, limit))


def test_both_sides_share_the_larger_percentile(drawable):
    factors = [10 ** np.abs(drawable.obs[f"geoae_log_area{side}"].to_numpy(float)) for side in ("", "_encoder")]
    limit = np.log10(max(np.percentile(factor, 80) for factor in factors))
    for ax in sg.pl.jacobian_heatmap(drawable, side="both", vmax="p80", show=False):
        assert bounds(ax) == pytest.approx((-limit, limit))


def test_a_wrong_argument_leaves_no_figure(drawable):
    with pytest.raises(ValueError, match="Expected `side`"):
        sg.pl.jacobian_heatmap(drawable, side="left")
    with pytest.raises(ValueError, match="Expected `n_tiles`"):
        sg.pl.indicatrices(drawable, side="both", n_tiles=0)
    assert not plt.get_fignums()


def test_colors_of_decoded_genes(drawable):
    decoded = sg.tl.decode(drawable, drawable.obsm["X_geoae"], genes=["0", "1"]).to_df()
    default, given = (
        sg.pl.decoded_genes(drawable, ["0", "1"], show=False, **kwargs)
        for kwargs in ({}, {"vmin": "p10", "vmax": np.max, "vcenter": "p50"})
    )
    for gene, plain, ax in zip(["0", "1"], default, given, strict=True):
        values = decoded[gene].to_numpy()
        assert bounds(plain) == pytest.approx(tuple(np.percentile(values, [1, 99])), rel=1e-5)
        assert bounds(ax) == pytest.approx((np.percentile(values, 10), values.max()), rel=1e-5)
        (background,) = [c for c in ax.collections if isinstance(c, QuadMesh)]
        for drawn in (ax.collections[0], background):
            assert drawn.norm.vcenter == pytest.approx(np.percentile(values, 50), rel=1e-5)


def test_percentiles_of_the_color_of_the_cells(drawable):
    ax = sg.pl.indicatrices(drawable, color="0", vmin="p5", vmax="p95", show=False)
    assert bounds(ax) == pytest.approx(tuple(np.percentile(drawable.X[:, 0], [5, 95])))


@for_each("name", HEATMAPS)
def test_color_bar_is_that_of_the_cells_whatever_lies_under_them(drawable, name):
    plain, outlined = (PLOTS[name](drawable, add_outline=outline, show=False) for outline in (False, True))
    bars = [[a for a in ax.figure.axes if a is not ax] for ax in (plain, outlined)]
    assert [len(found) for found in bars] == [1, 1]
    assert bars[0][0].get_ylim() == bars[1][0].get_ylim() == pytest.approx(bounds(plain))
