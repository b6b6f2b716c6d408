from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import scgeoae as sg
from scgeoae.quality import MEASURES
from scgeoae.quality.measures import OPENPROBLEMS

from ..for_each import for_each

BETTER = {"kNN": "higher", "Trust": "higher", "KL_0.1": "lower", "Stress": "lower", "CN": "lower"}
VALUES = {
    "umap": {"kNN": 0.45, "Trust": 0.9, "KL_0.1": 0.034, "Stress": 13.65},
    "geoae": {"kNN": 0.5, "Trust": 0.9, "KL_0.1": 0.0032, "Stress": 0.31, "CN": 0.05},
    "pca": {"kNN": 0.3, "Trust": 0.8, "KL_0.1": 0.0015, "Stress": 0.38},
}


@pytest.fixture
def stored() -> AnnData:
    """A table as `sg.tl.evaluate` stores it."""
    rows = [
        (basis, name, value, 0.0, BETTER[name], "X_pca", 2526, 2526)
        for basis, values in VALUES.items()
        for name, value in values.items()
    ]
    adata = AnnData(np.zeros((3, 2), dtype=np.float32))
    columns = ["basis", "measure", "value", "error", "better", "use_rep", "n_sample", "n_cells"]
    adata.uns["evaluation"] = pd.DataFrame(rows, columns=columns)
    return adata


def rows(ax):
    return [t.get_text() for t in ax.get_yticklabels()]


def columns(ax):
    return [t.get_text() for t in ax.get_xticklabels()]


def written(ax):
    """Text and weight by row and column."""
    shape = len(rows(ax)), len(columns(ax))
    found = np.full(shape, None, dtype=object)
    for text in ax.texts:
        x, y = text.get_position()
        if y >= 0:
            found[int(y), int(x)] = (text.get_text(), text.get_fontweight())
    return found


def test_what_is_written(stored):
    ax = sg.pl.evaluation(stored, sort=None, show=False)
    assert rows(ax) == ["umap", "geoae", "pca"]
    assert columns(ax) == ["kNN ↑", "Trust ↑", "KL_0.1 ↓", "Stress ↓", "CN ↓"]
    cells = written(ax)
    assert [text for text, _ in cells[0]] == ["0.450", "0.900", "0.0340", "13.65", "–"]
    assert [text for text, _ in cells[1]] == ["0.500", "0.900", "0.0032", "0.31", "0.050"]
    # of two that are equal both are best, and what stands alone is not
    bold = [[weight == "bold" for _, weight in row] for row in cells]
    assert bold == [
        [False, True, False, False, False],
        [True, True, False, True, False],
        [False, False, True, False, False],
    ]
    assert ax.get_xlabel() == "compared with X_pca, on all 2,526 cells"


def test_colors_are_places_between_worst_and_best(stored):
    ax = sg.pl.evaluation(stored, sort=None, show=False)
    (image,) = ax.images
    colors = image.get_array()
    np.testing.assert_allclose(colors[:, 0], [0.75, 1, 0])
    np.testing.assert_allclose(colors[:, 1], [1, 1, 0])
    np.testing.assert_allclose(colors[:, 2], [0, (0.034 - 0.0032) / (0.034 - 0.0015), 1])
    assert colors.mask[:, 4].all()
    assert image.get_clim() == (0, 1)
    (bar,) = [a for a in ax.figure.axes if a is not ax]
    assert [t.get_text() for t in bar.get_yticklabels()] == ["worst", "best"]
    assert bar.get_ylabel() == "within a column"


def test_groups_of_measures(stored):
    ax = sg.pl.evaluation(stored, show=False)
    headings = {t.get_text(): t.get_position()[0] for t in ax.texts if t.get_position()[1] < 0}
    assert headings == {"neighbors": 0.5, "density": 2, "distances": 3, "decoder": 4}
    assert sorted(line.get_xdata()[0] for line in ax.lines) == [1.5, 2.5, 3.5]


def test_order_of_rows(stored):
    # mean ranks 1.75 (1, 1.5, 2, 1), 2.25 and 2.25, the latter as stored
    assert rows(sg.pl.evaluation(stored, show=False)) == ["geoae", "pca", "umap"]
    assert rows(sg.pl.evaluation(stored, sort="KL_0.1", show=False)) == ["pca", "geoae", "umap"]
    assert rows(sg.pl.evaluation(stored, sort="kNN", show=False)) == ["geoae", "umap", "pca"]


def test_some_measures(stored):
    ax = sg.pl.evaluation(stored, measures=["Stress", "kNN"], show=False)
    assert columns(ax) == ["Stress ↓", "kNN ↑"]
    assert columns(sg.pl.evaluation(stored, measures="kNN", show=False)) == ["kNN ↑"]
    # one that a single embedding has does not order them
    assert rows(sg.pl.evaluation(stored, measures=["CN"], show=False)) == ["umap", "geoae", "pca"]


def test_one_embedding_alone(stored):
    table = stored.uns["evaluation"]
    stored.uns["evaluation"] = table[table["basis"] == "geoae"]
    ax = sg.pl.evaluation(stored, show=False)
    assert ax.images[0].get_array().mask.all()
    assert {weight for _, weight in written(ax)[0]} == {"normal"}
    # no color bar where nothing is colored
    assert ax.figure.axes == [ax]


@for_each(
    "values, texts",
    [
        ([1.3e-8, 4.26e-9], ["1.3e-8", "4.3e-9"]),
        ([0.0, 0.0], ["0", "0"]),
        ([-0.2, 0.5], ["-0.200", "0.500"]),
        ([12345.6, 1.0], ["12346", "1"]),
        ([0.5, 1e-6], ["0.5000", "0.0000"]),
    ],
)
def test_numbers_of_a_column_look_alike(stored, values, texts):
    table = stored.uns["evaluation"]
    stored.uns["evaluation"] = table[(table["measure"] == "kNN") & (table["basis"] != "pca")].assign(value=values)
    ax = sg.pl.evaluation(stored, sort=None, show=False)
    assert [text for text, _ in written(ax)[:, 0]] == texts


@for_each(
    "font_size, n_rows, names",
    [(10, 15, [name for name in MEASURES if name not in OPENPROBLEMS]), (14, 2, ["Stress", "kNN"])],
)
def test_a_table_has_room_for_its_numbers_and_headings(stored, font_size, n_rows, names):
    values = {"KL_100": 1e-8, "Stress": 12.5, "silhouette": -0.1234}
    rows = [
        (f"embedding {i}", name, values.get(name, 0.5) + i / 100, 0, MEASURES[name].better, "X_pca", 700, 700)
        for i in range(n_rows)
        for name in names
    ]
    stored.uns["evaluation"] = pd.DataFrame(rows, columns=stored.uns["evaluation"].columns)
    # as after sc.set_figure_params
    with plt.rc_context({"font.size": font_size, "axes.grid": True}):
        ax = sg.pl.evaluation(stored, show=False)
        ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert not any(box.overlaps(other) for i, box in enumerate(boxes) for other in boxes[:i])
    assert not any(line.get_visible() for line in (*ax.get_xgridlines(), *ax.get_ygridlines()))
    # 20 measures took 15 inches
    assert ax.figure.get_figwidth() < 11 * font_size / 10


def test_a_sample_is_told(stored):
    table = stored.uns["evaluation"]
    table["n_cells"] = 68_000
    # the decoder is measured at all cells
    table["n_sample"] = np.where(table["measure"] == "CN", 68_000, 3000)
    expected = "compared with X_pca;\nneighbors among all 68,000 cells, from 3,000 of them"
    assert sg.pl.evaluation(stored, show=False).get_xlabel() == expected
    # as with local_scores=True
    table["n_sample"] = np.where(table["measure"] == "Stress", 3000, 68_000)
    expected = "compared with X_pca, on all 68,000 cells;\ndistances between 3,000 of them"
    assert sg.pl.evaluation(stored, show=False).get_xlabel() == expected


def test_a_missing_value_is_no_sample(stored):
    table = stored.uns["evaluation"]
    table.loc[table["measure"] == "Spear", ["value", "n_sample"]] = [np.nan, 0]
    n = table["n_cells"].max()
    assert sg.pl.evaluation(stored, show=False).get_xlabel() == f"compared with X_pca, on all {n:,} cells"


def test_of_what_was_measured(fitted):
    adata = fitted.copy()
    table = sg.tl.evaluate(adata, groupby="bulk_labels", key_added="mine")
    stored = set(adata.uns)
    ax = sg.pl.evaluation(adata, key="mine", show=False)
    assert set(adata.uns) == stored
    assert len(columns(ax)) == table["measure"].nunique()
    assert sorted(rows(ax)) == ["geoae", "umap"]
    # numbers lie within their cells
    ax.figure.canvas.draw()
    width = np.diff(ax.transData.transform([(0, 0), (1, 0)])[:, 0])[0]
    for text in ax.texts:
        if text.get_position()[1] >= 0:
            assert text.get_window_extent().width < width


def test_options(stored, tmp_path):
    _, mine = plt.subplots()
    ax = sg.pl.evaluation(stored, ax=mine, show=False, save=tmp_path / "x.png")
    assert ax is mine
    assert (tmp_path / "x.png").stat().st_size > 5_000
    assert sg.pl.evaluation(stored, show=True) is None


@for_each(
    "kwargs, error, message",
    [
        ({"key": "spam"}, KeyError, r"adata\.uns\['spam'\]; run sg\.tl\.evaluate\(adata, key_added='spam'\) first"),
        ({"key": "other"}, ValueError, r"adata\.uns\['other'\] is not a table of sg\.tl\.evaluate"),
        ({"key": "double"}, ValueError, r"adata\.uns\['double'\] is damaged: it does not have one row for each"),
        ({"measures": ["spam"]}, KeyError, r"Did not find 'spam' in adata\.uns\['evaluation'\], which has 'kNN'"),
        ({"measures": ["purity"]}, KeyError, "labels need `groupby`"),
        ({"measures": []}, ValueError, "found an empty list"),
        ({"sort": "CN"}, ValueError, "`sort` to be None or one of 'rank', 'kNN', .* found 'CN'"),
    ],
)
def test_refused(stored, kwargs, error, message):
    stored.uns["other"] = {"a": 1}
    stored.uns["double"] = pd.concat([stored.uns["evaluation"]] * 2)
    with pytest.raises(error, match=message):
        sg.pl.evaluation(stored, show=False, **kwargs)


def test_nothing_stored():
    with pytest.raises(KeyError, match=r"run sg\.tl\.evaluate\(adata\) first"):
        sg.pl.evaluation(AnnData(np.zeros((3, 2))), show=False)
