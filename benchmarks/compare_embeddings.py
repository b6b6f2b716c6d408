"""Embeddings of the reference data side by side: ``python benchmarks/compare_embeddings.py [DATA ...]``.

Every method gets the same 50 principal components, in one run. Written into ``benchmarks/results``:

- ``embeddings_{data}.md``: medians over the seeds of all measures of `scgeoae.tl.evaluate`, and of
  the seconds of CPU time of the embedding alone, neighbors included, after a first run that
  compiles what compiles; then the cells that were left out, a fifth, placed afterwards
- ``embeddings_{data}.png``: the table as `scgeoae.pl.evaluation` draws it
- ``maps_{data}.png``: UMAP, t-SNE and the default map with indicatrices and areas
"""

from __future__ import annotations

import argparse
import time
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scanpy as sc
import torch
from reference_data import LABELS, read
from sklearn.decomposition import PCA

import scgeoae as sg
from scgeoae.quality import MEASURES, evaluate
from scgeoae.training import Settings, fit
from scgeoae.training.placement import Reference, place

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

RESULTS = Path(__file__).parent / "results"
VARIANTS = {
    "scgeoae": {},
    "scgeoae, refine=False": {"refine": False},
    "scgeoae, pure geometry": {"neighbors_weight": 0},
    "scgeoae, volume": {"regularizer": "volume"},
    "scgeoae, conformal": {"regularizer": "conformal"},
    "autoencoder": {"regularizer": None},
}


def pca(x: NDArray, seed: int) -> NDArray:
    return PCA(2, random_state=seed).fit_transform(x)


def umap(x: NDArray, seed: int, method: str = "umap") -> NDArray:
    import umap as umap_learn

    if method == "densmap":
        return umap_learn.UMAP(densmap=True, random_state=seed, n_jobs=1).fit_transform(x)
    adata = sc.AnnData(x)
    sc.pp.neighbors(adata, use_rep="X", random_state=seed)
    sc.tl.umap(adata, random_state=seed)
    return adata.obsm["X_umap"]


def tsne(x: NDArray, seed: int) -> NDArray:
    from openTSNE import TSNE

    return np.asarray(TSNE(random_state=seed, n_jobs=1).fit(x))


def pacmap(x: NDArray, seed: int) -> NDArray:
    from pacmap import PaCMAP

    return PaCMAP(random_state=seed).fit_transform(x)


def phate(x: NDArray, seed: int) -> NDArray:
    from phate import PHATE

    return PHATE(random_state=seed, n_jobs=1, verbose=0).fit_transform(x)


OTHERS = {
    "PCA": pca,
    "UMAP": umap,
    "densMAP": partial(umap, method="densmap"),
    "t-SNE": tsne,
    "PaCMAP": pacmap,
    "PHATE": phate,
}


def measure(adata: AnnData, name: str, seeds: range, only: list[str]) -> pd.DataFrame:
    """Return the medians over the seeds, measures as columns, of the methods in `only` or of all."""
    x, labels = np.asarray(adata.obsm["X_pca"]), pd.factorize(adata.obs[LABELS[name]])[0]
    rows: dict[str, list[dict[str, float]]] = {}
    maps = {}
    umap(x[:200], 0)
    for seed in seeds:
        for method, embed in OTHERS.items():
            if only and method not in only:
                continue
            start = time.process_time()
            maps[method, seed] = embed(x, seed)
            rows.setdefault(method, []).append({"seconds": time.process_time() - start})
        for method, settings in VARIANTS.items():
            if only and method not in only:
                continue
            start = time.process_time()
            fitted = fit(x, Settings(seed=seed, **settings))
            row = {"seconds": time.process_time() - start, "MSE": float(fitted.error.mean())}
            measures = sg.geometry.distortion(torch.from_numpy(fitted.metric))
            row |= {"CN": measures.cn, "VPres": measures.vpres, "ISO": measures.iso}
            maps[method, seed] = fitted.embedding
            rows.setdefault(method, []).append(row)
        print(f"{name}, seed {seed}", flush=True)
    found = evaluate(x, {f"{method} {seed}": z for (method, seed), z in maps.items()}, labels=labels, n_sample=len(x))
    for method, per_seed in rows.items():
        for seed, row in zip(seeds, per_seed, strict=True):
            row |= {which: estimate.value for which, estimate in found[f"{method} {seed}"].scores.items()}
    return pd.DataFrame({method: pd.DataFrame(per_seed).median() for method, per_seed in rows.items()}).T


def others_measured(name: str) -> pd.DataFrame:
    """Return the table of an earlier run."""
    rows = [line.strip("| \n").split(" | ") for line in (RESULTS / f"embeddings_{name}.md").open() if line[0] == "|"]
    end = next(i for i, row in enumerate(rows) if row[0] == "cells")
    header, _, *body = ([cell.strip(" |") for cell in row] for row in rows[:end])
    width = len(header)
    frame = pd.DataFrame([row + [""] * (width - len(row)) for row in body], columns=header).set_index(header[0])
    return frame.apply(pd.to_numeric, errors="coerce")


def left_out(adata: AnnData, seeds: range) -> pd.DataFrame:
    """Return medians for a fifth of the cells that the default map was not trained on, and for the others."""
    x = np.ascontiguousarray(adata.obsm["X_pca"], dtype=np.float32)
    rows = []
    for seed in seeds:
        unseen = np.zeros(len(x), dtype=bool)
        unseen[np.random.default_rng(seed).permutation(len(x))[: len(x) // 5]] = True
        settings = Settings(seed=seed)
        fitted = fit(x[~unseen], settings)
        model = fitted.model
        cells = model.standardize(x).numpy()
        known = Reference(cells[~unseen], model.to_latent(fitted.embedding).numpy())
        placed = place(
            model, cells[unseen], known, perplexity=settings.perplexity, divergence_weight=settings.tsne_weight
        )
        z = np.empty_like(fitted.embedding, shape=(len(x), 2))
        z[~unseen], z[unseen] = fitted.embedding, model.to_map(torch.from_numpy(placed)).numpy()
        error = (model.decode(z) - torch.from_numpy(x)).square().mean(1).numpy() / float(model.scale) ** 2
        found = evaluate(x, {"map": z}, n_sample=len(x), local_scores=True)["map"]
        columns = {"MSE": error, "kNN": found.neighborhood_preservation, "Trust": found.trust}
        rows += [
            {"cells": kind, **{which: column[rows_].mean() for which, column in columns.items()}}
            for kind, rows_ in {"trained on": ~unseen, "left out": unseen}.items()
        ]
    return pd.DataFrame(rows).groupby("cells", sort=False).median()


def draw(adata: AnnData, name: str) -> None:
    """Draw UMAP, t-SNE and the default map with their distortion."""
    for basis, embed in {"umap": umap, "tsne": tsne}.items():
        adata.obsm[f"X_{basis}"] = np.asarray(embed(np.asarray(adata.obsm["X_pca"]), 0), dtype=np.float32)
        sg.tl.distortion(adata, basis=basis, use_rep="X_pca", progress_bar=False)
    sg.tl.geoae(adata, use_rep="X_pca", progress_bar=False)
    bases = {"umap": "UMAP", "tsne": "t-SNE", "geoae": "scgeoae"}
    figure, axes = plt.subplots(2, 3, figsize=(18, 9.5), layout="constrained")
    for column, (basis, title) in enumerate(bases.items()):
        legend = {} if basis == "geoae" else {"legend_loc": "none"}
        shown = {"basis": basis, "show": False, "title": title}
        sg.pl.indicatrices(adata, color=LABELS[name], ax=axes[0, column], **shown, **legend)
        # one scale for all, or the least distorted would look as colorful as the most
        sg.pl.jacobian_heatmap(adata, ax=axes[1, column], vmax=0.5, **shown)
    figure.savefig(RESULTS / f"maps_{name}.png", dpi=70)
    plt.close(figure)


def draw_table(adata: AnnData, name: str) -> None:
    """Draw who wins what, of the embeddings that `draw` left."""
    adata.obsm["X_pca2"] = np.asarray(adata.obsm["X_pca"])[:, :2]
    sg.tl.evaluate(adata, basis=["geoae", "umap", "tsne", "pca2"], use_rep="X_pca", groupby=LABELS[name])
    ax = sg.pl.evaluation(adata, show=False)
    ax.figure.savefig(RESULTS / f"embeddings_{name}.png", dpi=80, bbox_inches="tight")
    plt.close(ax.figure)


def table(frame: pd.DataFrame) -> str:
    def cell(which: str, value: float) -> str:
        if np.isnan(value):
            return ""
        if which == "seconds":
            return f"{value:.1f}"
        return f"{value:.2g}" if which.startswith("KL_100") else f"{value:.4f}"

    lines = [
        f"| {frame.index.name or 'method'} | {' | '.join(frame.columns)} |",
        "| --- " * (len(frame.columns) + 1) + "|",
    ]
    lines += [f"| {method} | {' | '.join(cell(c, v) for c, v in row.items())} |" for method, row in frame.iterrows()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", metavar="DATA", help=f"of {', '.join(LABELS)}; by default all")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=[], metavar="METHOD", help="measure these, keep other rows")
    parser.add_argument("--figures", action="store_true", help="only draw")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    mpl.use("Agg")
    RESULTS.mkdir(exist_ok=True)
    seeds = range(options.seeds)
    for name in options.data or LABELS:
        adata = read(name)
        if not options.figures:
            medians = measure(adata, name, seeds, options.only)
            if options.only:
                known = others_measured(name)
                order = [m for m in (*OTHERS, *VARIANTS) if m in known.index or m in medians.index]
                medians = pd.concat([known.drop(index=medians.index, errors="ignore"), medians]).loc[order]
                medians.index.name = None
            medians = medians[["seconds", *(which for which in MEASURES if which in medians)]]
            text = "\n".join(
                [
                    f"# Embeddings of {name}",
                    "",
                    f"{adata.n_obs} cells, 50 components, medians of {len(seeds)} seeds, seconds of CPU time.",
                    "The measures are those of `sg.tl.evaluate`; CN, VPres, ISO and MSE are of the decoder.",
                    "",
                    table(medians),
                    "",
                    "A fifth of the cells left out and placed afterwards:",
                    "",
                    table(left_out(adata, seeds)),
                    "",
                ]
            )
            (RESULTS / f"embeddings_{name}.md").write_text(text)
            print(text, flush=True)
        draw(adata, name)
        draw_table(adata, name)


if __name__ == "__main__":
    main()
