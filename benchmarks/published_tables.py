"""Reproduce tables of published methods: ``python benchmarks/published_tables.py [a ...]``.

a: Gropp, Atzmon & Lipman 2020, *Isometric Autoencoders*, Table 2; b: Nazari, *Geometric Encoder
Regularization*, Table 1; c: Lee, Kwon & Park 2021, *Neighborhood Reconstructing Autoencoders*,
denoising; d: the effect of each regularizer on curvature. Each table is printed and written to
``benchmarks/results/published_{letter}.md``, with its figure beside it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from published import cross_regularization, curvature_effect, denoising, isometry

TABLES = {
    "a": isometry.table,
    "b": cross_regularization.table,
    "c": denoising.table,
    "d": curvature_effect.table,
}
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"of {', '.join(TABLES)}; by default all")
    chosen = parser.parse_args().tables or list(TABLES)
    unknown = set(chosen) - set(TABLES)
    if unknown:
        parser.error(f"no table {', '.join(sorted(unknown))}; there are {', '.join(TABLES)}")
    RESULTS.mkdir(exist_ok=True)
    for letter in chosen:
        text = TABLES[letter](RESULTS)
        (RESULTS / f"published_{letter}.md").write_text(text)
        print(text)


if __name__ == "__main__":
    main()
