"""What a map is good for, on the reference data: ``python benchmarks/using_the_map.py [part …] [--seeds 3] [--write]``.

Parts, all by default, each a table in ``benchmarks/results/using_{part}.md`` with ``--write``:

- ``transform``: a fifth of the cells left out, placed, and compared with a map of all cells after rigid alignment
- ``roundtrip``: positions decoded and encoded again
- ``pseudotime``: amphid neurons from the earliest cells, against the recorded embryo time, beside `scanpy.tl.dpt`
- ``markers``: genes of `scgeoae.tl.rank_genes_by_jacobian` among the markers of a Wilcoxon test
- ``adopt``: left-out cells placed on a UMAP, beside `scanpy.tl.ingest`

Where there are genes, components are computed of the cells that are not left out, and the others are projected.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import scanpy as sc
import torch
from reference_data import LABELS, read
from scipy.stats import hypergeom, spearmanr

import scgeoae as sg
from scgeoae.geometry import procrustes
from scgeoae.quality import evaluate

if TYPE_CHECKING:
    from anndata import AnnData

RESULTS = Path(__file__).parent / "results"
MIN_CELLS = 20


def split(adata: AnnData, left_out: np.ndarray) -> tuple[AnnData, AnnData]:
    """Return the cells that are known, with components of their own, and those that are left out."""
    known, new = adata[~left_out].copy(), adata[left_out].copy()
    if adata.n_vars:
        sc.pp.pca(known, n_comps=50)
        del new.obsm["X_pca"]
    return known, new


def mapped(adata: AnnData, seed: int) -> AnnData:
    sg.tl.geoae(adata, use_rep="X_pca", random_state=seed, progress_bar=False)
    return adata


def fifth(n: int, seed: int) -> np.ndarray:
    unseen = np.zeros(n, dtype=bool)
    unseen[np.random.default_rng(seed).permutation(n)[: n // 5]] = True
    return unseen


def transform(seeds: range) -> pd.DataFrame:
    rows = []
    for name in LABELS:
        adata = read(name)
        x = np.asarray(adata.obsm["X_pca"], dtype=np.float32)
        for seed in seeds:
            unseen = fifth(len(x), seed)
            known, new = split(adata, unseen)
            mapped(known, seed)
            sg.tl.transform(new, known, use_rep=None if adata.n_vars else "X_pca")
            whole = torch.from_numpy(mapped(adata.copy(), seed).obsm["X_geoae"]).double()
            z = np.empty((len(x), 2), dtype=np.float32)
            z[~unseen], z[unseen] = known.obsm["X_geoae"], new.obsm["X_geoae"]
            # the alignment is that of the cells that were trained on
            aligned, seen = torch.from_numpy(z).double(), torch.from_numpy(~unseen)
            aligned -= aligned[seen].mean(0)
            aligned = aligned @ procrustes(aligned[seen], whole[seen] - whole[seen].mean(0))
            pairs = zip(aligned[~seen].T.numpy(), whole[~seen].T.numpy(), strict=True)
            trust = evaluate(x, {"map": z}, n_sample=len(x), local_scores=True)["map"].trust
            rows.append(
                {
                    "data": name,
                    "correlation": min(np.corrcoef(a, b)[0, 1] for a, b in pairs),
                    "Trust, trained on": trust[~unseen].mean(),
                    "left out": trust[unseen].mean(),
                    "outliers": float(new.obs["geoae_outlier"].mean()),
                }
            )
    return pd.DataFrame(rows).groupby("data", sort=False).median()


def roundtrip(seeds: range) -> pd.DataFrame:
    rows = []
    for name in LABELS:
        adata = read(name)
        for seed in seeds:
            mapped(adata, seed)
            model, z = sg.get.model(adata), torch.from_numpy(adata.obsm["X_geoae"])
            away = (model.encode(model.decode(z)) - z).norm(dim=1) / (z.amax(0) - z.amin(0)).norm()
            rows.append({"data": name, "median": float(away.median()), "95%": float(away.quantile(0.95))})
    return pd.DataFrame(rows).groupby("data", sort=False).median()


def pseudotime(seeds: range) -> pd.DataFrame:
    adata = read("packer2019_amphid_neurons")
    time = adata.obs["embryo_time"].to_numpy()
    adata.obs["stage"] = adata.obs["embryo_time_bin"].astype(str)
    first = adata.obs["stage"].iloc[time.argmin()]
    earliest = np.flatnonzero(adata.obs["stage"] == first)
    sc.pp.neighbors(adata, use_rep="X_pca")
    sc.tl.diffmap(adata)
    rows = []
    for seed in seeds:
        mapped(adata, seed)
        found = {}
        z = adata.obsm["X_geoae"]
        # scanpy's begins at one cell
        middle = earliest[np.square(z[earliest] - np.median(z[earliest], axis=0)).sum(1).argmin()]
        sg.tl.pseudotime(adata, adata.obs_names[middle])
        found["scgeoae, from the middle one"] = spearmanr(adata.obs["geoae_pseudotime"], time)[0]
        sg.tl.pseudotime(adata, first, groupby="stage")
        found[f"scgeoae, from all {len(earliest)} of {first} minutes"] = spearmanr(adata.obs["geoae_pseudotime"], time)[
            0
        ]
        for name, root in {"dpt, from the middle one": middle, "dpt, from the earliest": time.argmin()}.items():
            adata.uns["iroot"] = root
            sc.tl.dpt(adata)
            found[name] = spearmanr(adata.obs["dpt_pseudotime"], time)[0]
        rows.append(found)
    figure, axes = plt.subplots(1, 3, figsize=(16, 4.2), layout="constrained")
    titles = {
        "embryo_time": "embryo time, minutes",
        "geoae_pseudotime": "sg.tl.pseudotime",
        "dpt_pseudotime": "sc.tl.dpt",
    }
    for ax, (column, title) in zip(axes, titles.items(), strict=True):
        sg.pl.embedding(adata, color=column, title=title, ax=ax, show=False)
    figure.savefig(RESULTS / "using_pseudotime.png", dpi=80)
    plt.close(figure)
    return pd.DataFrame(rows).median().rename("Spearman").rename_axis("pseudotime").to_frame()


def markers(seeds: range, n_top: int = 50) -> pd.DataFrame:
    adata = read("packer2019_amphid_neurons")
    terminal = ["ADL", "ASG", "AWA", "AWB", "AWC"]
    genes = adata.var_names[(adata.varm["PCs"] != 0).any(1)]
    tested = adata[:, genes].copy()
    sc.tl.rank_genes_groups(tested, "cell_type", method="wilcoxon", groups=terminal)
    rows = []
    for seed in seeds:
        mapped(adata, seed)
        for direction in ("steepest", "into"):
            given = None if direction == "steepest" else direction
            sg.tl.rank_genes_by_jacobian(adata, "cell_type", groups=terminal, direction=given)
            for kind in terminal:
                frame = sc.get.rank_genes_groups_df(adata, kind, key="geoae_rank_genes")
                ours = frame[frame["scores"] > 0]["names"][:n_top]
                theirs = sc.get.rank_genes_groups_df(tested, kind)["names"][:n_top]
                shared = len(set(ours) & set(theirs))
                chance = hypergeom.sf(shared - 1, len(genes), n_top, n_top)
                symbols = adata.var["gene_short_name"].astype(str)[ours[:5]]
                rows.append(
                    {"direction": direction, "type": kind, "shared": shared, "p": chance, "first": ", ".join(symbols)}
                )
    frame = pd.DataFrame(rows)
    found = frame.groupby(["direction", "type"], sort=False)[["shared", "p"]].median()
    return found.join(frame.groupby(["direction", "type"], sort=False)["first"].first())


def adopt(seeds: range) -> pd.DataFrame:
    rows = []
    name = "pbmc3k_pca"
    adata = read(name)
    for seed in seeds:
        unseen = fifth(adata.n_obs, seed)
        whole = adata.copy()
        sc.pp.neighbors(whole, use_rep="X_pca", random_state=seed)
        sc.tl.umap(whole, random_state=seed)
        z = whole.obsm["X_umap"]
        diameter = np.linalg.norm(np.ptp(z, axis=0))
        known, new = adata[~unseen].copy(), adata[unseen].copy()
        known.obsm["X_umap"] = z[~unseen]
        sg.tl.adopt(known, basis="X_umap", random_state=seed, progress_bar=False)
        sg.tl.transform(new, known, key="umap", use_rep="X_pca")
        ours = np.linalg.norm(new.obsm["X_umap"] - z[unseen], axis=1) / diameter
        # ingest has no map to adopt: it makes its own of the known cells, and that is compared with itself
        theirs = ingest(adata, known, unseen, seed)
        rows.append({"median": np.median(ours), "90%": np.quantile(ours, 0.9), "ingest, median": np.median(theirs)})
        rows[-1]["ingest, 90%"] = np.quantile(theirs, 0.9)
    draw_adopted(known, new, z[unseen])
    return pd.DataFrame(rows).median().rename(name).to_frame().T.rename_axis("data")


def ingest(adata: AnnData, known: AnnData, unseen: np.ndarray, seed: int) -> np.ndarray:
    """Return how far `scanpy.tl.ingest` places left-out cells from where the given UMAP has them, in its diameters.

    It places a cell at its neighbors' positions by UMAP's transform, which wants the UMAP model of the known cells;
    their positions are those of the map that is given.
    """
    from anndata import AnnData

    x = np.asarray(adata.obsm["X_pca"], dtype=np.float32)
    reference, query = AnnData(x[~unseen]), AnnData(x[unseen])
    for data in (reference, query):
        data.obsm["X_pca"] = data.X
    sc.pp.neighbors(reference, use_rep="X", random_state=seed)
    sc.tl.umap(reference, random_state=seed)
    target = known.obsm["X_umap"]
    reference.obsm["X_umap"] = target
    sc.tl.ingest(query, reference, embedding_method="umap")
    full = adata.copy()
    sc.pp.neighbors(full, use_rep="X_pca", random_state=seed)
    sc.tl.umap(full, random_state=seed)
    z = full.obsm["X_umap"]
    return np.linalg.norm(query.obsm["X_umap"] - z[unseen], axis=1) / np.linalg.norm(np.ptp(z, axis=0))


def draw_adopted(known: AnnData, new: AnnData, truth: np.ndarray) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(13, 5), layout="constrained")
    sg.pl.transform(new, known, basis="umap", color="louvain", title="left-out cells, placed", ax=axes[0], show=False)
    placed = new.copy()
    placed.obsm["X_umap"] = truth
    sg.pl.transform(placed, known, basis="umap", color="louvain", title="where UMAP has them", ax=axes[1], show=False)
    figure.savefig(RESULTS / "using_adopt.png", dpi=80)
    plt.close(figure)


PARTS = {f.__name__: f for f in (transform, roundtrip, pseudotime, markers, adopt)}


def table(frame: pd.DataFrame) -> str:
    rows = [[f"{value:.3g}" if isinstance(value, float) else str(value) for value in row] for row in frame.to_numpy()]
    return "\n".join("| " + " | ".join(row) + " |" for row in [list(frame.columns), ["---"] * frame.shape[1], *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=list(PARTS), metavar="part")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in args.parts:
        frame = PARTS[name](range(args.seeds))
        text = f"`python benchmarks/using_the_map.py {name} --write`, medians of {args.seeds} seeds\n\n"
        text += table(frame.reset_index()) + "\n"
        print(text, flush=True)
        if args.write:
            (RESULTS / f"using_{name}.md").write_text(text)


if __name__ == "__main__":
    main()
