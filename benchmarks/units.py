"""New cells in other units than the reference: ``python benchmarks/units.py [--write]``.

Some cells of a map are given to `scgeoae.tl.transform` again as somebody else might bring them. Where they land is
compared with where they lie. With ``--write`` into ``benchmarks/results/units.md``.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scanpy as sc
from reference_data import FOLDER

import scgeoae as sg

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData

RESULTS = Path(__file__).parent / "results"
N_NEW, TARGET = 100, 1e4
# Share of the width of the map within which a cell is on its place.
MAX_AWAY = 0.01


def normalized(counts: AnnData) -> AnnData:
    return sc.pp.normalize_total(counts, target_sum=TARGET, copy=True)


def log1p(counts: AnnData) -> AnnData:
    return sc.pp.log1p(normalized(counts), copy=True)


def regressed(counts: AnnData) -> AnnData:
    adata = log1p(counts)
    adata.obs["n_counts"] = np.asarray(counts.X.sum(1)).ravel()
    adata.X = adata.X.toarray()
    sc.pp.regress_out(adata, ["n_counts"])
    return adata


def scaled(adata: AnnData, **kwargs: bool) -> AnnData:
    adata = adata.copy()
    adata.X = adata.X.toarray() if hasattr(adata.X, "toarray") else adata.X
    sc.pp.scale(adata, max_value=10, **kwargs)
    return adata


def pearson(counts: AnnData) -> AnnData:
    adata = counts.copy()
    sc.experimental.pp.normalize_pearson_residuals(adata)
    # genes without a count have none
    adata.X = np.nan_to_num(np.asarray(adata.X))
    return adata


def with_raw(counts: AnnData, variable: pd.Index) -> AnnData:
    adata = log1p(counts)
    adata.raw = adata
    return scaled(adata[:, variable].copy())


REFERENCES: dict[str, Callable[[AnnData, pd.Index], AnnData]] = {
    "log1p": lambda counts, variable: log1p(counts)[:, variable].copy(),
    "log1p, all genes": lambda counts, variable: log1p(counts),
    "scaled": lambda counts, variable: scaled(log1p(counts)[:, variable]),
    "scaled, all genes in raw": with_raw,
    "scaled, not centered": lambda counts, variable: scaled(log1p(counts)[:, variable], zero_center=False),
    "regressed out, scaled": lambda counts, variable: scaled(regressed(counts[:, variable].copy())),
    "Pearson residuals": lambda counts, variable: pearson(counts[:, variable]),
}
NEW: dict[str, Callable[[AnnData, AnnData, np.ndarray, pd.Index], AnnData]] = {
    "counts": lambda counts, _, rows, __: counts[rows].copy(),
    "normalized": lambda counts, _, rows, __: normalized(counts[rows].copy()),
    "log1p": lambda counts, _, rows, __: log1p(counts[rows].copy()),
    "scaled like the reference": lambda _, reference, rows, __: reference[rows].copy(),
    "scaled separately": lambda counts, _, rows, variable: scaled(log1p(counts[rows].copy())[:, variable]),
    "regressed out": lambda counts, _, rows, variable: regressed(counts[:, variable].copy())[rows].copy(),
    "Pearson residuals": lambda counts, _, rows, variable: pearson(counts[rows][:, variable]),
}


def outcome(reference: AnnData, new: AnnData) -> tuple[str, float]:
    """Return what is said of new cells, and how far the farthest of them lands from its place on the map."""
    new = sc.AnnData(new.X.copy(), obs=new.obs[[]], var=new.var)
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())
    sc.settings._root_logger.addHandler(handler)  # noqa: SLF001
    try:
        sg.tl.transform(new, reference)
    except (KeyError, ValueError) as error:
        return f"refused: {str(error)[:60]}", np.nan
    finally:
        sc.settings._root_logger.removeHandler(handler)  # noqa: SLF001
    there = reference[new.obs_names].obsm["X_geoae"]
    away = np.linalg.norm(new.obsm["X_geoae"] - there, axis=1) / np.ptp(reference.obsm["X_geoae"], axis=0).max()
    is_warned = any("other units" in line or "were corrected" in line for line in said)
    return "warned" if is_warned else "", away.max()


def judge(said: str, away: float) -> str:
    if said.startswith("refused"):
        return "refused"
    place = "in place" if away < MAX_AWAY else f"up to {away:.0%} away"
    return f"{place}, {said}" if said else place


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    warnings.simplefilter("ignore")
    text = (
        "# New cells in other units than the reference\n\n"
        f"{N_NEW} cells of the reference, given to `sg.tl.transform` again as if they were new. *In place*: all cells "
        f"land within {MAX_AWAY:.0%} of the width of the map from their own positions. Rows: the matrix that the map "
        "was made from. Columns: the matrix of the new cells.\n"
    )
    for name in ("zilionis2019_mouse_lung", "packer2019_amphid_neurons"):
        counts = sc.read_h5ad(FOLDER / f"{name}.h5ad")
        counts = sc.AnnData(counts.X.astype(np.float32), obs=counts.obs[[]], var=counts.var[[]])
        sc.pp.filter_genes(counts, min_cells=3)
        found = sc.pp.highly_variable_genes(log1p(counts), n_top_genes=2000, inplace=False)
        variable = counts.var_names[found.highly_variable]
        rows = np.linspace(0, counts.n_obs - 1, N_NEW).astype(int)
        table = pd.DataFrame(index=list(REFERENCES), columns=list(NEW), dtype=object)
        for made_of, prepare in REFERENCES.items():
            reference = prepare(counts, variable)
            sc.pp.pca(reference)
            sg.tl.geoae(reference, progress_bar=False)
            for given, bring in NEW.items():
                said, away = outcome(reference, bring(counts, reference, rows, variable))
                table.loc[made_of, given] = judge(said, away)
                print(name, "|", made_of, "|", given, "|", said, "|", f"{away:.4f}", flush=True)
        text += f"\n## {name}\n\n{table.to_markdown()}\n"
    if write:
        (RESULTS / "units.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
