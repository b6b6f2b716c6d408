"""Check what `scgeoae.tl.residual` finds: on noise, on hidden splits of known size, and on real data.

``python benchmarks/residual.py noise power maps time pbmc3k_pca [--write]``; the tables go into
``benchmarks/results/residual_NAME.md``.

- ``noise``: how often noise around a plane in 50 dimensions stands out at 5%, on maps of six regions.
- ``power``: how often a split of one of six regions into two halves stands out, with all noise of standard deviation 1.
- ``maps``: the same on maps of five groups, of which one is split in a direction that the map does not show.
- the name of a reference data set: make a map of each of its regions, and compare what that shows with what the whole
  map shows.
- ``time``: seconds for 2,526 and 68,000 cells.
"""

from __future__ import annotations

import argparse
import time
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import anndata
import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn.neighbors import NearestNeighbors

import scgeoae as sg
from scgeoae._anndata.map import read_map
from scgeoae.quality.residual import hidden_structure, noise_sizes

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESULTS = Path(__file__).parent / "results"
N_FEATURES = 50
SIZES = (50, 200, 1000)
# Fewest cells of a region that gets a map of its own.
MIN_MAPPED = 50
N_REGIONS = 6
N_NOISE, N_POWER, N_MAPS = 17, 50, 8


def across(e: NDArray) -> tuple[NDArray, NDArray]:
    """Return (n, D) residuals without their first two dimensions, which are those of the surface."""
    frames = np.zeros((*e.shape, 2), dtype=np.float32)
    frames[:, [0, 1], [0, 1]] = 1
    e[:, :2] = 0
    return e.astype(np.float32), frames


@cache
def components_of_counts() -> NDArray:
    """Return principal components of 3,000 cells whose counts differ by chance alone, normalized and log1p as usual."""
    import scanpy as sc

    rng = np.random.default_rng(0)
    rates = rng.gamma(0.3, 1.0, 2000) * rng.gamma(8, 1 / 8, (3000, 1))
    counts = anndata.AnnData(rng.poisson(rates).astype(np.float32))
    sc.pp.normalize_total(counts, target_sum=1e3)
    sc.pp.log1p(counts)
    return sc.pp.pca(counts.X, n_comps=N_FEATURES)


NOISE = {
    "Gaussian": lambda n, rng: rng.normal(size=(n, N_FEATURES)),
    "Laplace": lambda n, rng: rng.laplace(size=(n, N_FEATURES)),
    "cells of different quality": lambda n, rng: rng.normal(size=(n, N_FEATURES)) * rng.gamma(4, 1 / 4, (n, 1)),
    "features of different size (1 to 2)": lambda n, rng: (
        rng.normal(size=(n, N_FEATURES)) * np.linspace(2, 1, N_FEATURES)
    ),
    "components of Poisson counts, some of 3,000 cells": lambda n, rng: rng.permutation(components_of_counts())[:n],
}


def noise() -> pd.DataFrame:
    rows, n_tests = [], N_NOISE * N_REGIONS
    for name, draw in NOISE.items():
        for n in SIZES[:2]:
            rng, found = np.random.default_rng(n), []
            for _ in range(N_NOISE):
                parts = [across(draw(n, rng)) for _ in range(N_REGIONS)]
                sizes = noise_sizes(parts)
                found += [hidden_structure(*part, noise=sizes, rng=rng).p_value <= 0.05 for part in parts]
            share = np.mean(found)
            rows.append((name, n, f"{100 * share:.1f} ± {100 * np.sqrt(share * (1 - share) / n_tests):.1f}"))
    return pd.DataFrame(rows, columns=["noise", "cells of a region", "stands out, %"])


def power() -> pd.DataFrame:
    rows = []
    for distance in (1, 2, 3, 4, 6):
        for n in SIZES:
            rng, found = np.random.default_rng(n), []
            for _ in range(N_POWER):
                parts = [across(rng.normal(size=(n, N_FEATURES))) for _ in range(N_REGIONS)]
                parts[0][0][: n // 2, 2] += distance
                found.append(hidden_structure(*parts[0], noise=noise_sizes(parts), rng=rng))
            shares = [len(each.directions) for each in found]
            rows.append(
                (
                    distance,
                    n,
                    f"{100 * np.mean([each.p_value <= 0.05 for each in found]):.0f}",
                    f"{np.mean(shares):.2f}",
                    f"{distance**2 / 4:.2f}",
                    f"{np.mean([each.variance for each in found]):.2f}",
                )
            )
    columns = ["distance, sd of the noise", "cells", "stands out, %", "mean number of directions"]
    return pd.DataFrame(rows, columns=[*columns, "variance of the split", "mean structured variance"])


def groups(distance: float, seed: int, *, n: int = 1000) -> anndata.AnnData:
    """Return five groups that are spread along a plane in 20 dimensions, one of them split across the plane."""
    rng = np.random.default_rng(seed)
    group = rng.integers(5, size=n)
    x = rng.normal(size=(n, 20))
    x[:, :2] *= 4
    angle = 2 * np.pi * group / 5
    x[:, 0] += 20 * np.cos(angle)
    x[:, 1] += 20 * np.sin(angle)
    x[:, 2] += distance * ((group == 2) * rng.choice([-0.5, 0.5], n))
    adata = anndata.AnnData(x.astype(np.float32))
    adata.obs["group"] = pd.Categorical(group.astype(str))
    return adata


def maps() -> pd.DataFrame:
    rows = []
    for distance in (0, 2, 4):
        first, found, others, structured = [], [], [], []
        for seed in range(N_MAPS):
            adata = groups(distance, seed)
            sg.tl.geoae(adata, progress_bar=False, random_state=seed)
            sg.tl.residual(adata, groupby="group", random_state=seed)
            table = adata.uns["geoae_residual"].set_index("region")
            stands_out = table["verdict"] == "structure"
            first.append(table.index[0] == "2" and stands_out["2"])
            found.append(stands_out["2"])
            others.append(stands_out.drop("2").any())
            structured.append(table.loc["2", "structured"])
        rows.append(
            (
                distance,
                *(f"{100 * np.mean(each):.0f}" for each in (found, first, others)),
                f"{100 * np.median(structured):.1f}",
                f"{100 * distance**2 / 4 / (50 + distance**2 / 4):.1f}",
            )
        )
    columns = ["distance", "split group stands out, % of maps", "and is first", "another group stands out"]
    return pd.DataFrame(rows, columns=[*columns, "structured, % of its variance", "planted, %"])


def recall(x: NDArray, z: NDArray, k: int = 10) -> float:
    """Return the share of the k nearest cells of the same region that are kept."""
    near = [NearestNeighbors(n_neighbors=k).fit(each).kneighbors(return_distance=False) for each in (x, z)]
    return float(np.mean([len(np.intersect1d(*pair)) / k for pair in zip(*near, strict=True)]))


def purity(labels: NDArray, z: NDArray, k: int = 10) -> float:
    near = NearestNeighbors(n_neighbors=k).fit(z).kneighbors(return_distance=False)
    return float((labels[near] == labels[:, None]).mean())


def embedded_again(adata: anndata.AnnData, rows: NDArray, finer: str | None) -> dict[str, float]:
    """Return what the map of all cells and one of these cells alone show of them."""
    own = adata[rows].copy()
    x = own.obsm["X_pca"]
    sg.tl.geoae(own, key_added="own", use_rep="X_pca", progress_bar=False)
    found = {"first two components": np.sort(np.linalg.eigvalsh(np.cov(x.T)))[-2:].sum() / x.var(0, ddof=1).sum()}
    for name, key in (("before", "geoae"), ("after", "own")):
        z = own.obsm[f"X_{key}"]
        e = x - read_map(own, key).model.decode(z).detach().numpy()
        found[f"shown {name}"] = 1 - e.var(0).sum() / x.var(0).sum()
        found[f"recall {name}"] = recall(x, z)
        if finer is not None:
            found[f"purity {name}"] = purity(own.obs[finer].astype(str).to_numpy(), z)
    return found


FINER = {"zilionis2019_mouse_lung": "minor_subset", "packer2019_amphid_neurons": "embryo_time_bin"}


def real(name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    from reference_data import LABELS, read

    adata = read(name)
    sg.tl.geoae(adata, use_rep="X_pca", progress_bar=False)
    tables = {}
    for groupby in (LABELS[name], None):
        sg.tl.residual(adata, groupby=groupby)
        table = adata.uns["geoae_residual"]
        column = adata.obs[groupby or "geoae_region"].astype(str).to_numpy()
        table = table[table["n_cells"] >= MIN_MAPPED].reset_index(drop=True)
        again = [embedded_again(adata, np.flatnonzero(column == region), FINER.get(name)) for region in table["region"]]
        tables[groupby or "regions found"] = pd.concat([table, pd.DataFrame(again)], axis=1)
    shown = pd.concat(tables, names=["regions", None]).reset_index("regions")
    columns = ["regions", "region", "n_cells", "shown", "hidden", "structured", "gain", "n_dimensions", "p_adjusted"]
    return shown[columns + [name for name in shown if name.endswith(("before", "after"))]], _correlations(tables)


def _correlations(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the rank correlations of what is known before regions are mapped with what their own maps gain."""
    rows = []
    for regions, table in tables.items():
        shown = table["shown after"] - table["shown before"]
        gained = {
            "variance shown": shown * table["variance"] * table["n_cells"],
            "share shown": shown,
            "recall": table["recall after"] - table["recall before"],
        }
        known = {
            "structured variance × cells": table["gain"],
            "structured share": table["structured"],
            "hidden variance × cells": table["hidden"] * table["variance"] * table["n_cells"],
            "hidden variance": table["hidden"] * table["variance"],
            "hidden share": table["hidden"],
            "variance of the first two components beyond the shown × cells": (
                (table["first two components"] - table["shown"]) * table["variance"] * table["n_cells"]
            ),
            "cells": table["n_cells"],
        }
        rows += [
            {"regions": f"{regions} ({len(table)})", "ranked by": how}
            | {f"gain of {what}": f"{spearmanr(value, gain).statistic:.2f}" for what, gain in gained.items()}
            for how, value in known.items()
        ]
    return pd.DataFrame(rows)


def near_pbmc(n: int) -> anndata.AnnData:
    """Return n cells drawn near those of PBMC 3k, or these themselves."""
    from reference_data import read

    adata = read("pbmc3k_pca")
    if n == adata.n_obs:
        return adata
    rng, x = np.random.default_rng(0), adata.obsm["X_pca"]
    drawn = x[rng.integers(len(x), size=n)] + 0.5 * rng.normal(size=(n, x.shape[1]))
    return anndata.AnnData(obsm={"X_pca": drawn.astype(np.float32)}, obs=pd.DataFrame(index=np.arange(n).astype(str)))


def seconds() -> pd.DataFrame:
    rows = []
    for n in (2526, 68_000):
        adata = near_pbmc(n)
        sg.tl.geoae(adata, use_rep="X_pca", n_steps=300, refine=False, progress_bar=False)
        taken = []
        for call in (sg.tl.residual, sg.get.card):
            start = time.perf_counter()
            call(adata)
            taken.append(f"{time.perf_counter() - start:.1f}")
        rows.append((f"{n:,}", *taken))
    return pd.DataFrame(rows, columns=["cells", "sg.tl.residual, s", "sg.get.card, s"])


STAGES = {"noise": noise, "power": power, "maps": maps, "time": seconds}


def main() -> None:
    from reference_data import LABELS
    from write_tables import rows

    stages = STAGES | {name: lambda name=name: real(name) for name in LABELS}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="+", choices=stages)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for stage in options.stages:
        found, texts = stages[stage](), []
        for table in found if isinstance(found, tuple) else (found,):
            cells = table.map(lambda value: f"{value:.3g}" if isinstance(value, float) else str(value))
            texts.append(rows([list(table.columns), *cells.to_numpy().tolist()]))
        print("\n\n".join(texts), flush=True)
        if options.write:
            text = "\n\n".join([f"# Hidden structure: {stage}", *texts])
            (RESULTS / f"residual_{stage}.md").write_text(text + "\n")


if __name__ == "__main__":
    main()
