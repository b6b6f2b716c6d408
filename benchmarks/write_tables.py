"""Write the tables that compare embeddings: ``python benchmarks/write_tables.py``.

All numbers come from ``benchmarks/results/embeddings/*.csv``, which `compare_embeddings.py` wrote. Written are

- ``benchmarks/results/embeddings_{data}.md``: all measures of one data set
- the tables in ``README.md`` and ``docs/quality.md``, between ``<!-- table: NAME -->`` and ``<!-- /table -->``.
  NAME is a data set for its main measures, ``wins: DATA, DATA …`` for our default map beside the best rival at every
  measure, or ``beside METHOD at MEASURE, MEASURE …: DATA, DATA …`` for our default map beside one rival and the best.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from methods import OURS, RIVALS

from scgeoae.quality import MEASURES

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (ROOT / "README.md", ROOT / "docs" / "quality.md")
TABLE = re.compile(r"(<!-- table: (.+?) -->\n\n).*?(\n\n<!-- /table -->)", re.DOTALL)
TITLES = {
    "pbmc3k_pca": "PBMC 3k",
    "packer2019_amphid_neurons": "*C. elegans* neurons",
    "zilionis2019_mouse_lung": "mouse lung",
    "zheng2017_pbmc": "PBMC (Zheng)",
    "hao2021_pbmc": "PBMC (Hao)",
    "zeisel2015_brain": "mouse brain",
    "stoeckius2017_cord_blood": "cord blood",
    "near_pbmc3k_20000": "20,000 cells near PBMC 3k",
    "near_pbmc3k_68000": "68,000 cells near PBMC 3k",
    "atlas_20000": "atlas of 20,000 cells",
    "atlas_68000": "atlas of 68,000 cells",
}
MAIN = (
    *("seeds", "seconds", "kNN", "kNN_10", "AUC_RNX", "Trust", "KL_0.1", "KL_100", "density_preservation", "Spear"),
    *("Stress_scale_free", "label_distance_correlation", "silhouette", "purity", "CN", "VPres", "ISO"),
)
DEFAULT = "scgeoae"


class Results(NamedTuple):
    """What was measured on one data set."""

    name: str
    medians: pd.DataFrame
    """Over the seeds; methods as rows, measures as columns, NaN where a method has no value"""
    reasons: dict[str, str]
    """Why the other methods have no map"""


@cache
def read(name: str) -> Results:
    values = pd.read_csv(RESULTS / "embeddings" / f"{name}.csv")
    medians = values.groupby(["method", "measure"])["value"].median().unstack()
    medians.insert(0, "seeds", values.groupby("method")["seed"].nunique())
    methods = [method for method in (*RIVALS, *OURS) if method in medians.index]
    measures = [which for which in ("seeds", "seconds", *MEASURES) if which in medians]
    failed = pd.read_csv(RESULTS / "embeddings" / "failed.csv").query("data == @name and method not in @methods")
    reasons = dict(zip(failed["method"], failed["reason"], strict=True))
    return Results(name, medians.loc[methods, measures], reasons)


def title(name: str) -> str:
    of_genes = name.removesuffix("_scaled")
    return TITLES.get(of_genes, of_genes) + ", scaled genes" * (name != of_genes)


def lower_is_better(which: str) -> bool:
    return which == "seconds" or MEASURES[which].better == "lower"


def number(which: str, value: float) -> str:
    if pd.isna(value):
        return ""
    if which in ("seeds", "seconds"):
        return f"{value:.{int(which == 'seconds')}f}"
    return f"{value:.2g}" if which.startswith("KL_100") else f"{value:.4f}"


def rows(cells: list[list[str]]) -> str:
    """Return a Markdown table; the first row is its head."""
    head, *body = (f"| {' | '.join(row)} |" for row in cells)
    return "\n".join([head, "| --- " * len(cells[0]) + "|", *body])


def table(frame: pd.DataFrame) -> str:
    cells = [[str(name), *(number(c, value) for c, value in row.items())] for name, row in frame.iterrows()]
    return rows([[frame.index.name or "method", *frame.columns], *cells])


def of_one(results: Results, measures: tuple[str, ...]) -> str:
    """Return the table of one data set, with a dash for a method that has no map, and the reason below."""
    frame = results.medians[[which for which in measures if which in results.medians]]
    head, line, *body = table(frame).splitlines()
    missing = [f"| {method} |{' — |' * frame.shape[1]}" for method in results.reasons]
    n_rivals = sum(method in RIVALS for method in frame.index)
    lines = [head, line, *body[:n_rivals], *missing, *body[n_rivals:]]
    reasons = "; ".join(f"{method} ({reason})" for method, reason in results.reasons.items())
    return "\n".join(lines + ["", f"Without a map: {reasons}."] * bool(reasons))


def beside(results: Results, which: str) -> tuple[str, str] | None:
    """Return our default map and the best rival at one measure as text, and who is better, as far as it shows."""
    known = results.medians.get(which, pd.Series(dtype=float)).dropna()
    rivals = known[known.index.isin(RIVALS)]
    if DEFAULT not in known or rivals.empty:
        return None
    rival = rivals.idxmin() if lower_is_better(which) else rivals.idxmax()
    ours, theirs = f"{DEFAULT} {number(which, known[DEFAULT])}", f"{rival} {number(which, known[rival])}"
    if number(which, known[DEFAULT]) == number(which, known[rival]):
        return f"{ours}; {theirs}", "equal"
    if (known[DEFAULT] < known[rival]) == lower_is_better(which):
        return f"**{ours}**; {theirs}", "ours"
    return f"{ours}; **{theirs}**", "rival"


def beats(which: str, ours: float, theirs: float) -> bool:
    """Return whether our value is better than that of a rival, as far as it shows."""
    return (ours < theirs) == lower_is_better(which) and number(which, ours) != number(which, theirs)


def won_against(rival: str, every: list[Results], measures: list[str]) -> tuple[int, int]:
    """Return at how many measures and data sets our default map is better than a rival, as far as it shows."""
    better = [
        beats(which, ours, theirs)
        for results in every
        for which in measures
        if rival in results.medians.index and which in results.medians
        for ours, theirs in [results.medians.loc[[DEFAULT, rival], which]]
        if pd.notna(ours) and pd.notna(theirs)
    ]
    return sum(better), len(better)


def wins(every: list[Results], measures: list[str]) -> str:
    """Return our default map and the best rival for each measure and data set; the better of the two is bold."""
    n_rivals = [results.medians.index.isin(RIVALS).sum() for results in every]
    titles = [
        f"{title(results.name)}, {n} other method{'' if n == 1 else 's'}"
        for results, n in zip(every, n_rivals, strict=True)
    ]
    cells, who = [["measure", "what it is", *titles]], []
    for which in measures:
        found = [beside(results, which) for results in every]
        who += [better for _, better in filter(None, found)]
        if any(found):
            meaning = MEASURES[which].meaning if which in MEASURES else "CPU time on one thread"
            cells.append(
                [
                    f"{which} {'↓' if lower_is_better(which) else '↑'}",
                    meaning,
                    *(pair[0] if pair else "" for pair in found),
                ]
            )
    equal = f", and equal to the best in {who.count('equal')}" * ("equal" in who)
    count = (
        f"The default map is better than all of these methods in {who.count('ours')} of {len(who)} comparisons{equal}."
    )
    one_by_one = "; ".join(
        f"{rival} in {better} of {n}" for rival in RIVALS for better, n in [won_against(rival, every, measures)] if n
    )
    return f"{rows(cells)}\n\n{count} Compared one by one, it is better than {one_by_one}."


def summary(every: list[Results], rival: str, measures: list[str]) -> str:
    """Return our default map beside one rival and the best one, the data sets in their order in each cell."""
    cells = [["measure", "what it is", DEFAULT, rival, "the best of all other methods"]]
    n_best = 0
    for which in measures:
        texts: list[list[str]] = [[], [], []]
        for results in every:
            known = results.medians[which].dropna()
            others = known[known.index.isin(RIVALS)]
            best = others.idxmin() if lower_is_better(which) else others.idxmax()
            first = beats(which, known[DEFAULT], known[best])
            n_best += first
            texts[0].append(f"**{known[DEFAULT]:.2f}**" if first else f"{known[DEFAULT]:.2f}")
            texts[1].append(f"{known[rival]:.2f}")
            texts[2].append(f"{known[best]:.2f} ({best})")
        arrow = "↓" if lower_is_better(which) else "↑"
        cells.append([f"{which} {arrow}", MEASURES[which].meaning, *map(", ".join, texts)])
    better, n = won_against(rival, every, measures)
    count = f"{DEFAULT} is better than {rival} in {better} of these {n} comparisons, and best of all in {n_best}."
    return f"{rows(cells)}\n\n{count}"


def named(name: str) -> str:
    """Return the table of a marker."""
    head, _, data = name.partition(": ")
    every = [read(one) for one in data.split(", ")] if data else []
    if head == "wins":
        return wins(every, ["seconds", *MEASURES])
    if head.startswith("beside "):
        rival, _, measures = head.removeprefix("beside ").partition(" at ")
        return summary(every, rival, measures.split(", "))
    return of_one(read(name), MAIN)


def filled(text: str) -> str:
    """Return a page with its tables as the result files have them."""
    return TABLE.sub(lambda found: found[1] + named(found[2]) + found[3], text)


def page(name: str) -> str:
    """Return the page of one data set."""
    note = (
        "Medians over the seeds, seconds of CPU time on one thread. The measures are those of `sg.tl.evaluate`; CN,\n"
        "VPres, ISO and MSE are of the decoder."
    )
    results = read(name)
    return f"# Embeddings of {name}\n\n{note}\n\n{of_one(results, tuple(results.medians))}\n"


def pages() -> dict[Path, str]:
    """Return the text of each page that has tables."""
    names = sorted(path.stem for path in (RESULTS / "embeddings").glob("*.csv") if path.stem != "failed")
    of_data = {RESULTS / f"embeddings_{name}.md": page(name) for name in names}
    return of_data | {path: filled(path.read_text()) for path in PAGES}


def main() -> None:
    for path, text in pages().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
