"""The tables that compare embeddings have the numbers of the result files."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
FAILED = "data,method,reason\ndots,UMAP,needs more\nlines,PCA,another reason\n"


@pytest.fixture
def tables(monkeypatch):
    if not (ROOT / "benchmarks").is_dir():
        pytest.skip("not a clone")
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return import_module("write_tables")


@pytest.fixture
def dots(tables, monkeypatch, tmp_path):
    """Results of three seeds on one data set, of which PCA wins Trust and ties at kNN, and ours wins Stress."""
    (tmp_path / "embeddings").mkdir()
    values = {
        "scgeoae": {"kNN": [0.5, 0.1, 0.30001], "Trust": [0.8, 0.7, 0.9], "Stress": [1, 1, 2], "CN": [0, 0.25, 1]},
        "t-SNE": {"kNN": [0.2, 0.2, 0.9], "Trust": [0.1, 0.1, 0.1], "Stress": [9, 8, 7]},
        "PCA": {"kNN": [0.3, 0.3, 0.3], "Trust": [0.85, 0.1, 0.95], "Stress": [3, 2, 4]},
    }
    rows = [
        (method, seed, which, value)
        for method, measures in values.items()
        for which, of_seeds in measures.items()
        for seed, value in enumerate(of_seeds)
    ]
    path = tmp_path / "embeddings" / "dots.csv"
    pd.DataFrame(rows, columns=["method", "seed", "measure", "value"]).to_csv(path, index=False)
    (tmp_path / "embeddings" / "failed.csv").write_text(FAILED)
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    return tables


def test_the_pages_are_what_the_result_files_say(tables):
    pages = tables.pages()
    assert {path.relative_to(ROOT).as_posix() for path, text in pages.items() if path.read_text() != text} == set()
    assert set(tables.PAGES) < set(pages)
    assert set(tables.RESULTS.glob("embeddings_*.md")) == set(pages) - set(tables.PAGES)


def test_an_edited_number_is_noticed(tables):
    for path in tables.PAGES:
        text = path.read_text()
        edited = re.sub(r"(<!-- table: (?:.|\n)*?\d\.\d)(\d)", lambda m: m[1] + str(9 - int(m[2])), text, count=1)
        assert edited != text
        assert tables.filled(edited) == text


def test_a_table_has_medians_in_the_order_of_the_methods(dots):
    assert dots.page("dots").splitlines()[5:] == [
        "| method | seeds | kNN | Trust | Stress | CN |",
        "| --- | --- | --- | --- | --- | --- |",
        "| PCA | 3 | 0.3000 | 0.8500 | 3.0000 |  |",
        "| t-SNE | 3 | 0.2000 | 0.1000 | 8.0000 |  |",
        "| UMAP | — | — | — | — | — |",
        "| scgeoae | 3 | 0.3000 | 0.8000 | 1.0000 | 0.2500 |",
        "",
        "Without a map: UMAP (needs more).",
    ]


def test_the_winner_is_bold(dots):
    text = dots.named("wins: dots")
    assert text.startswith("| measure | what it is | dots, 2 other methods |")
    assert [[line.split(" | ")[0], line.split(" | ")[-1]] for line in text.splitlines()[2:5]] == [
        ["| kNN ↑", "scgeoae 0.3000; PCA 0.3000 |"],
        ["| Trust ↑", "scgeoae 0.8000; **PCA 0.8500** |"],
        ["| Stress ↓", "**scgeoae 1.0000**; PCA 3.0000 |"],
    ]
    assert text.splitlines()[-1] == (
        "The default map is better than all of these methods in 1 of 3 comparisons, and equal to the best in 1. "
        "Compared one by one, it is better than PCA in 1 of 3; t-SNE in 3 of 3."
    )


def test_a_summary_has_one_rival_and_the_best(dots):
    assert dots.named("beside t-SNE at kNN, Trust, Stress: dots, dots").splitlines() == [
        "| measure | what it is | scgeoae | t-SNE | the best of all other methods |",
        "| --- | --- | --- | --- | --- |",
        f"| kNN ↑ | {dots.MEASURES['kNN'].meaning} | 0.30, 0.30 | 0.20, 0.20 | 0.30 (PCA), 0.30 (PCA) |",
        f"| Trust ↑ | {dots.MEASURES['Trust'].meaning} | 0.80, 0.80 | 0.10, 0.10 | 0.85 (PCA), 0.85 (PCA) |",
        f"| Stress ↓ | {dots.MEASURES['Stress'].meaning} | **1.00**, **1.00** | 8.00, 8.00 | 3.00 (PCA), 3.00 (PCA) |",
        "",
        "scgeoae is better than t-SNE in 6 of these 6 comparisons, and best of all in 2.",
    ]
