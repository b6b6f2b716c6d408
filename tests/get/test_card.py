"""The card of a map: true, the same each time, and Markdown."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pandas as pd
import pytest

import scgeoae as sg

markdown_it = pytest.importorskip("markdown_it")


def run(adata, **kwargs):
    sg.tl.geoae(adata, **({"n_steps": 10, "hidden": (8,), "progress_bar": False} | kwargs))
    return adata


def parse(text):
    """Return the tables, as lists of rows of text, by the heading before them, and all other text."""
    tokens = markdown_it.MarkdownIt("commonmark").enable("table").parse(text)
    tables, prose, heading = {}, [], None
    for before, token in itertools.pairwise(tokens):
        if token.type == "inline":
            plain = "".join(part.content for part in token.children)
            if before.type == "heading_open":
                heading = plain
            elif before.type in ("th_open", "td_open"):
                tables[heading][-1][-1].append(plain)
            else:
                prose.append(plain)
        elif token.type == "table_open":
            tables.setdefault(heading, []).append([])
        elif token.type == "tr_open":
            tables[heading][-1].append([])
    return tables, "\n".join(prose)


def test_tables_are_tables(fitted):
    tables, prose = parse(sg.get.card(fitted, groupby="bulk_labels"))
    assert "|" not in prose
    assert list(tables) == ["Scores", "Regions that are distorted most", "Settings", "Data, model and versions"]
    for table in itertools.chain.from_iterable(tables.values()):
        assert len(table) > 1
        assert len({len(row) for row in table}) == 1


def test_scores_and_caption(fitted):
    scores = sg.get.scores(fitted)
    tables, prose = parse(sg.get.card(fitted))
    held_out, others = (dict(row[:2] for row in table[1:]) for table in tables["Scores"])
    assert set(held_out) == {"MSE_held_out", "MSE_encoder_held_out"}
    shown = held_out | others
    assert shown == {name: f"{value:.3g}" for name, value in scores.items()}
    assert "Map of 700 cells" in prose
    assert f"within ± {100 * scores['chord_spread']:.0f}%" in prose
    assert "preserve lengths" in prose


def test_worst_regions(fitted):
    metric = sg.get.metric_tensors(fitted).astype(np.float64)
    logs = np.log(np.linalg.eigvalsh(metric)) / 2
    off = np.exp(
        np.sqrt(pd.Series(((logs - np.median(logs)) ** 2).mean(1)).groupby(fitted.obs["louvain"].to_numpy()).mean())
    )
    worst = off.sort_values(ascending=False)[:5]
    (table,) = parse(sg.get.card(fitted, groupby="louvain"))[0]["Regions that are distorted most"]
    assert [row[0] for row in table[1:]] == worst.index.tolist()
    assert [row[2] for row in table[1:]] == [f"{value:.2f}" for value in worst]


def test_settings_that_differ_come_first(small):
    tables, prose = parse(sg.get.card(run(small, perplexity=7, regularizer={"volume": 0.5, "curvature": 0.01})))
    differing = {row[0]: row[1:] for row in tables["Settings"][0][1:]}
    assert differing["perplexity"] == ["7", "25"]
    assert differing["hidden"] == ["[8]", "[128, 128]"]
    assert differing["regularizer.volume"] == ["0.5", "isometric"]
    assert "tsne_weight" not in differing
    assert {row[0] for row in tables["Settings"][1]} > set(differing)
    assert "preserve relative areas" in prose


def test_the_plain_autoencoder(small):
    tables, prose = parse(sg.get.card(run(small, regularizer=None)))
    assert ["regularizer", "none", "isometric"] in tables["Settings"][0]
    assert "without a geometric regularizer" in prose


def test_defaults(fitted):
    tables, prose = parse(sg.get.card(fitted))
    assert len(tables["Settings"]) == 1
    assert "Every setting that has a fixed default was left at it." in prose


def test_versions_then_and_now(small):
    run(small)
    small.uns["geoae"]["params"]["environment"]["versions"]["numpy"] = "0.1"
    versions = {row[0]: row[1:] for row in parse(sg.get.card(small))[0]["Data, model and versions"][1]}
    assert versions["numpy"] == ["0.1", np.__version__]


def test_equal_maps_have_equal_cards_without_paths(small):
    card = sg.get.card(run(small.copy()))
    assert card == sg.get.card(run(small))
    assert not re.search(r"/(home|root|tmp|work|usr)|\.py\b|0x[0-9a-f]+", card)
    other = run(small.copy(), random_state=1)
    digests = [re.findall(r"digest of the weights \| (\S+)", each) for each in (card, sg.get.card(other))]
    assert digests[0] != digests[1]


def test_names_are_shown_as_they_are(small):
    run(small)
    names = ["CD4|CD8", "*T* `cells` <b> $x$ _a_ b__c__", "__a__", "CD4_T_1", "[a](b)\nc"]
    small.obs["side"] = np.resize(names, 60)
    card = sg.get.card(small, groupby="side")
    (table,) = parse(card)[0]["Regions that are distorted most"]
    assert {row[0] for row in table[1:]} == {" ".join(name.split()) for name in names}
    # as plain text, too, where Markdown allows it
    assert "# Map card of X_geoae\n" in card
    assert "| CD4_T_1 |" in card


def test_the_data_now(small):
    def now(adata):
        return {row[0]: row[1] for row in parse(sg.get.card(adata))[0]["Data, model and versions"][0]}

    run(small, use_rep="X")
    assert now(small)["representation now"] == "unchanged"
    assert "cells here" not in now(small)
    assert now(small[:40].copy())["cells here"] == "40 of 60"
    small.X = small.X + 1
    assert now(small)["representation now"] == "changed since the map was made"
    small.obsm["X_pca"] = small.X.copy()
    run(small, use_rep="X_pca")
    del small.obsm["X_pca"]
    assert now(small)["representation now"] == "no longer there"


def test_other_embeddings_and_evaluation(small):
    small.obsm["X_umap"] = small.X[:, :2] * [1, 3]
    quick = {"n_steps": 10, "hidden": (8,), "progress_bar": False}
    sg.tl.distortion(small, **quick)
    table = sg.tl.evaluate(small, basis="umap", measures=["kNN_10", "Spear"])
    tables, prose = parse(sg.get.card(small, key="X_umap"))
    assert "Embedding X_umap of 60 cells, measured against X" in prose
    (found,) = tables["Neighbors"]
    assert [row[:2] for row in found[1:]] == [[row.measure, f"{row.value:.3g}"] for row in table.itertuples()]
    assert tables["Regions that are distorted most"][0][0][-1] == "torn edges, %"


def test_without_held_out_cells(small):
    few = run(small[:15].copy(), n_neighbors=3)
    assert "With 20 cells or more, sg.tl.geoae(adata) holds out" in parse(sg.get.card(few))[1]
    small.obsm["X_umap"] = small.X[:, :2].copy()
    sg.tl.distortion(small, method="laplacian")
    prose = parse(sg.get.card(small, key="umap"))[1]
    assert 'sg.tl.distortion(adata, basis="umap", method="decoder")' in prose
    assert "graph Laplacian" in prose


def test_errors(small):
    with pytest.raises(KeyError, match=r"run sg.tl.geoae\(adata\) first"):
        sg.get.card(small)
    with pytest.raises(KeyError, match=r"Did not find 'type' in adata\.obs"):
        sg.get.card(run(small), groupby="type")
