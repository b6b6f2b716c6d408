"""Arrows and curves on the map, and what is written beside them, as it is rendered."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import scanpy as sc

import scgeoae as sg

from ..for_each import for_each

GROUPS = ["CD14+ Monocyte", "CD19+ B", "CD34+", "CD56+ NK", "Dendritic"]
SMALL, LARGE = (3.2, 3.0), (6.4, 4.8)


def written(ax):
    """Return the labels with their boxes in pixels, after the figure is drawn."""
    ax.figure.canvas.draw()
    return {text.get_text(): text.get_window_extent() for text in ax.texts if text.get_text()}


def assert_readable(ax, curves):
    """No label overlaps another one, the ruler, or a curve, and none is cut off."""
    boxes = list(written(ax).values())
    everything = [*boxes, *(artist.get_window_extent() for artist in ax.artists)]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for k, other in enumerate(everything) if k != i)
        assert not box.count_contains(ax.transData.transform(np.concatenate(curves)))
        assert (box.min >= ax.bbox.min - 1).all()
        assert (box.max <= ax.bbox.max + 1).all()


def arrows(ax):
    """Return start and tip of each arrow."""
    return [(np.array(text.xyann), np.array(text.xy)) for text in ax.texts if not text.get_text()]


def compass(fitted, group, **kwargs):
    return sg.pl.gene_compass(fitted, "bulk_labels", group, show=False, **kwargs)


@for_each("size, groups", [(SMALL, GROUPS), (LARGE, GROUPS[:2])])
def test_names_of_a_compass_are_readable(fitted, size, groups):
    with plt.rc_context({"figure.figsize": size}):
        for group in groups:
            ax = compass(fitted, group)
            lines = [start + np.linspace(0, 1, 60)[:, None] * (tip - start) for start, tip in arrows(ax)]
            assert_readable(ax, lines)


@for_each("group", GROUPS[-2:])
def test_arrows_point_where_the_decoded_gene_rises(fitted, group):
    """The gradient in the ambient metric, from differences of what is decoded 1e-2 to each side."""
    ax = compass(fitted, group)
    names = [text.get_text().split("\n") for text in ax.texts if text.get_text()]
    z = fitted.obsm["X_geoae"][fitted.obs["bulk_labels"] == group].astype(float)
    step = 1e-2
    sides = [sg.tl.decode(fitted, z + shift) for shift in step * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])]
    x = [side.obsm["X_pca"].astype(float) for side in sides]
    jacobian = np.stack([x[0] - x[1], x[2] - x[3]], axis=2) / (2 * step)
    inverse = np.linalg.inv(np.einsum("nda,ndb->nab", jacobian, jacobian))

    def gradient(gene):
        y = [side.to_df()[gene].to_numpy(dtype=float) for side in sides]
        slope = np.stack([y[0] - y[1], y[2] - y[3]], axis=1) / (2 * step)
        return np.einsum("nab,nb->na", inverse, slope).mean(0)

    drawn = [tip - start for start, tip in arrows(ax)]
    leading = [gradient(members[0]) for members in names]
    # one factor for all: lengths can be compared
    factors = [np.linalg.norm(arrow) / np.linalg.norm(g) for arrow, g in zip(drawn, leading, strict=True)]
    assert np.ptp(factors) < 0.05 * np.mean(factors)
    for members, arrow, g in zip(names, drawn, leading, strict=True):
        unit = arrow / np.linalg.norm(arrow)
        assert unit @ g > 0.99 * np.linalg.norm(g)
        for gene in members[1:]:
            other = gradient(gene)
            assert unit @ other > np.cos(np.radians(21)) * np.linalg.norm(other)


@for_each("n_genes", [1, 40])
def test_all_names_are_written_on_arrows_that_can_be_told_apart(fitted, n_genes):
    ax = compass(fitted, "CD34+", n_genes=n_genes)
    assert sum(len(text.get_text().split("\n")) for text in ax.texts if text.get_text()) == n_genes
    directions = np.array([(tip - start) / np.linalg.norm(tip - start) for start, tip in arrows(ax)])
    angles = np.degrees(np.arccos(np.clip(directions @ directions.T, -1, 1)))
    assert len(directions) <= min(n_genes, 360 / 20)
    assert (angles[~np.eye(len(directions), dtype=bool)] >= 20).all()


def test_dashes_point_where_the_gene_falls(fitted):
    ax = compass(fitted, "Dendritic")
    dashed = [line for line in ax.lines if line.is_dashed()]
    assert len(dashed) == len(arrows(ax))
    for line, (start, tip) in zip(dashed, arrows(ax), strict=True):
        first, last = line.get_xydata()
        np.testing.assert_allclose(first, start)
        backward = (last - start) / np.linalg.norm(last - start)
        np.testing.assert_allclose(backward, -(tip - start) / np.linalg.norm(tip - start), atol=1e-6)


def test_labels_of_a_compass_in_a_panel_that_a_layout_changes(fitted):
    _, (ax, other) = plt.subplots(1, 2, figsize=(7, 3), layout="constrained")
    other.set_ylabel("a label\nof three\nlines")
    compass(fitted, "Dendritic", ax=ax, legend_loc="none")
    assert_readable(ax, [np.array(arrow) for arrow in arrows(ax)])


@pytest.fixture(scope="module")
def paths(fitted):
    ends = [("CD14+ Monocyte", "CD19+ B"), ("CD56+ NK", "CD19+ B"), ("CD34+", "Dendritic")]
    return [sg.tl.geodesic(fitted, *pair, groupby="bulk_labels", genes=[]) for pair in ends]


@for_each("size, n_paths", [(SMALL, 1), (SMALL, 3), (LARGE, 2)])
def test_lengths_and_ends_of_geodesics_are_readable(fitted, paths, size, n_paths):
    with plt.rc_context({"figure.figsize": size}):
        ax = sg.pl.geodesics(fitted, paths[:n_paths], color="bulk_labels", show=False)
        assert_readable(ax, [path.coordinates for path in paths[:n_paths]])
    # an end that is shared is named once
    lengths = [f"{path.length:.3g} units\n(straight: {path.straight_length:.3g})" for path in paths[:n_paths]]
    assert sorted(written(ax)) == sorted([*lengths, *{n for p in paths[:n_paths] for n in (p.source, p.target)}])
    assert ax.get_xlabel().endswith("lengths along the surface,\nin units of X_pca")


def test_each_length_is_nearest_to_its_own_curve(fitted, paths):
    ax = sg.pl.geodesics(fitted, paths, straight=False, show=False)
    boxes = written(ax)
    curves = [ax.transData.transform(path.coordinates) for path in paths]
    for i, path in enumerate(paths):
        box = boxes[f"{path.length:.3g} units"]
        away = [np.linalg.norm(curve - np.clip(curve, box.min, box.max), axis=1).min() for curve in curves]
        assert np.argmin(away) == i


def test_legends_do_not_reach_into_the_next_panel(fitted, paths):
    colors = ["bulk_labels", "louvain", "phase"]
    # two columns: the last panel is in a row of its own
    panels = sg.pl.geodesics(fitted, paths[:1], color=colors, ncols=2, show=False)
    figure = panels[0].figure
    figure.canvas.draw()
    left, right, below = (ax.get_tightbbox() for ax in panels)
    assert left.x1 < right.x0
    assert below.x1 < right.x0
    assert left.x0 >= 0
    as_scanpy = sc.pl.embedding(fitted, "geoae", color=colors, ncols=2, show=False)
    for ax, same in zip(panels, as_scanpy, strict=True):
        assert ax.bbox.width == pytest.approx(same.bbox.width, rel=0.02)


def test_a_figure_that_was_given_keeps_its_size(fitted):
    figure, (ax, _) = plt.subplots(1, 2, figsize=(6, 3))
    compass(fitted, "Dendritic", ax=ax)
    assert tuple(figure.get_size_inches()) == (6, 3)
