"""How many cells of a type that the reference never saw are outliers: ``python benchmarks/outliers.py [--write]``.

Of each data set a fifth of the cells is held out, and of the rest one type at a time. Genes are chosen, scaled and
projected on components of the reference alone, as `scgeoae.tl.transform` does. PBMC 3k comes as components of all its
cells. No map is trained. The table goes into ``benchmarks/results/using_outliers.md``.

The form of the score and its constants were chosen with seeds 0 to 2 of all three data sets in view, so that none of
them is a test set; ``--first 3`` takes splits that were not looked at.
"""

from __future__ import annotations

import argparse
import warnings
from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd
import scanpy as sc
from reference_data import FOLDER, LABELS
from sklearn.metrics import roc_auc_score
from using_the_map import MIN_CELLS, RESULTS, fifth, table

from scgeoae.quality import outliers

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

N_GENES, MAX_VALUE, N_COMPONENTS = 2000, 10, 50


def components(known: AnnData, new: AnnData) -> tuple[NDArray, NDArray, tuple[float, int] | None]:
    """Return components of the known cells, the new ones on them, and what they were made of."""
    if not known.n_vars:
        return *(np.asarray(adata.obsm["X_pca"], dtype=np.float32) for adata in (known, new)), None
    known, new = (adata.copy() for adata in (known, new))
    for adata in (known, new):
        sc.pp.normalize_total(adata, target_sum=1e4)
        sc.pp.log1p(adata)
    sc.pp.filter_genes(known, min_cells=3)
    sc.pp.highly_variable_genes(known, n_top_genes=N_GENES)
    known = known[:, known.var["highly_variable"]].copy()
    sc.pp.scale(known, max_value=MAX_VALUE)
    sc.pp.pca(known, n_comps=N_COMPONENTS)
    y = (new[:, known.var_names].X.toarray() - known.var["mean"].to_numpy()) / known.var["std"].to_numpy()
    x = (np.minimum(y, MAX_VALUE) - known.X.mean(0)) @ known.varm["PCs"]
    total = known.uns["pca"]["variance"][0] / known.uns["pca"]["variance_ratio"][0]
    return known.obsm["X_pca"], x.astype(np.float32), (float(total), known.n_vars)


def measure(seeds: range) -> pd.DataFrame:
    rows = []
    for name, label in LABELS.items():
        adata = anndata.read_h5ad(FOLDER / f"{name}.h5ad")
        labels = adata.obs[label].astype(str).to_numpy()
        for kind, n in pd.Series(labels).value_counts().items():
            if n < MIN_CELLS:
                continue
            for seed in seeds:
                away = fifth(len(labels), seed) | (labels == kind)
                reference, x, made_of = components(adata[~away], adata[away])
                is_kind, row = labels[away] == kind, {"data": name, "left out": kind, "cells": n}
                for suffix, given in {"": made_of, ", in-sample": None}.items():
                    found = outliers(x, reference, made_of=given)
                    row |= {
                        f"AUROC{suffix}": roc_auc_score(is_kind, found.score),
                        f"flagged{suffix}": found.is_outlier[is_kind].mean(),
                        f"flagged among held-out others{suffix}": found.is_outlier[~is_kind].mean(),
                    }
                rows.append(row)
            print(
                name, kind, pd.DataFrame(rows[-len(seeds) :]).median(numeric_only=True).round(3).to_dict(), flush=True
            )
    return pd.DataFrame(rows).groupby(["data", "left out"], sort=False).median()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    text = f"`python benchmarks/outliers.py --write`, medians of {options.seeds} seeds. "
    text += (
        "In-sample: the same score, not corrected for the fact that the components were fitted to the reference "
        "cells.\n\n"
    )
    text += table(measure(range(options.first, options.first + options.seeds)).reset_index()) + "\n"
    print(text)
    if options.write:
        (RESULTS / "using_outliers.md").write_text(text)


if __name__ == "__main__":
    main()
