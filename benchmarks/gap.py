"""Measure `sg.tl.gap`: its size, its power and its verdicts. ``python benchmarks/gap.py WHAT``.

`plane` draws pairs of groups in 50 dimensions, with noise in all of them, and asks about them with the plane of their
first two principal components as the map. It gives the same places along the same bridges to Hartigan's dip test
(``pip install diptest``) and to Silverman's test. Samples that ``benchmarks/maps/gap/plane.csv`` holds are not drawn
again. `maps` makes the default maps of such pairs in ``benchmarks/maps/gap``; maps that exist are not made again.
`simulated` asks about each of these maps. `real` asks about PBMC 3k and the amphid neurons. `cost` takes the time.
Tables go into ``benchmarks/results``.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import torch
from reference_data import read
from scipy.ndimage import gaussian_filter1d
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

import scgeoae as sg
from scgeoae.quality.gaps import between, judge

RESULTS = Path(__file__).parent / "results"
MAPS = Path(__file__).parent / "maps" / "gap"
D = 50
# Bins and samples of Silverman's test.
N_GRID, N_SMOOTHED = 512, 100
PAIRS = {
    "pbmc3k_pca": (
        "louvain",
        [("1", "4"), ("1", "6"), ("4", "6"), ("1", "2"), ("4", "2"), ("2", "3"), ("1", "3"), ("1", "5")],
    ),
    "packer2019_amphid_neurons": (
        "cell_type",
        [
            ("ADL_parent", "ADL"),
            ("Neuroblast_ASG_AWA", "ASG_AWA"),
            ("ASG_AWA", "AWA"),
            ("ASG_AWA", "ASG"),
            ("AWC", "AWB"),
        ],
    ),
}
# Whether there is a valley in the population.
KINDS = {
    "one Gaussian, cut in two": False,
    "one Gaussian, k-means": False,
    "two Gaussians, 1 sd": False,
    "two Gaussians, 2 sd": False,
    "flat, 8 sd long": False,
    "arc of 225°": False,
    "two Gaussians, 4 sd": True,
    "two Gaussians, 10 sd, bridge of 2%": True,
    "arc of 225°, radius 4 sd": False,
}


def simulate(kind: str, n: int, seed: int) -> anndata.AnnData:
    """Draw two groups in 50 dimensions, turned at random, with noise of standard deviation 1 in all of them."""
    rng = np.random.default_rng([seed, n, list(KINDS).index(kind)])
    x, label = rng.normal(size=(n, D)), np.arange(n) % 2
    if kind.startswith("one"):
        label = (x[:, 0] > 0).astype(int)
    elif kind.startswith("flat"):
        x[:, 0] += 8 * rng.uniform(size=n)
        label = (x[:, 0] > np.median(x[:, 0])).astype(int)
    elif kind.startswith("arc"):
        angle = np.radians(225) * rng.uniform(size=n)
        radius = 4 if "radius 4" in kind else 6
        x[:, :2] += radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        label = (angle > np.radians(225) / 2).astype(int)
    else:
        apart = float(kind.split()[2])
        x[:, 0] += apart * label
        if "bridge" in kind:
            cells = rng.permutation(n)[: round(0.02 * n)]
            share = rng.uniform(size=len(cells))
            x[cells, 0] = apart * share
            label[cells] = share > 0.5
    x @= np.linalg.qr(rng.normal(size=(D, D)))[0]
    if kind.endswith("k-means"):
        label = KMeans(2, n_init=3, random_state=seed).fit_predict(x)
    return anndata.AnnData(x.astype(np.float32), obs=pd.DataFrame({"group": np.array(["A", "B"])[label]}))


def path_of(kind: str, n: int, seed: int) -> Path:
    return MAPS / f"{list(KINDS).index(kind)}_{n}_{seed}.h5ad"


def make_maps(kinds: list[str], sizes: list[int], seeds: range, seconds: float) -> None:
    MAPS.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    for seed in seeds:
        for n in sizes:
            for kind in kinds:
                path = path_of(kind, n, seed)
                if not path.exists() and time.monotonic() - start < seconds:
                    adata = simulate(kind, n, seed)
                    sg.tl.geoae(adata, use_rep="X", progress_bar=False)
                    adata.write_h5ad(path)


def ask(adata: anndata.AnnData, *pair: object, groupby: str, **kwargs: object) -> dict[str, object]:
    start = time.perf_counter()
    found = sg.tl.gap(adata, *pair, groupby=groupby, **kwargs)
    fields = ("verdict", "p_value", "depth", "n_between", "n_expected", "width", "length", "power", "detectable")
    more = ("bridge", "on_map", "p_on_map", "depth_on_map")
    return {name: getattr(found, name) for name in fields + more} | {
        "p_straight": found.bridges.loc["straight", "p_value"],
        "p_cells": found.bridges.loc["cells", "p_value"],
        "seconds": time.perf_counter() - start,
    }


def simulated() -> pd.DataFrame:
    rows = []
    for path in sorted(MAPS.glob("*.h5ad")):
        kind, n, seed = map(int, path.stem.split("_"))
        found = ask(anndata.read_h5ad(path), "A", "B", groupby="group")
        rows.append({"kind": list(KINDS)[kind], "cells": n, "seed": seed, **found})
    return pd.DataFrame(rows)


def real() -> pd.DataFrame:
    rows = []
    for data, (groupby, pairs) in PAIRS.items():
        adata = read(data)
        sg.tl.geoae(adata, use_rep="X_pca", progress_bar=False)
        keys = ["geoae"]
        if data == "pbmc3k_pca":
            # the UMAP that comes with these cells
            sg.tl.distortion(adata, basis="umap_scater", use_rep="X_pca", progress_bar=False)
            keys.append("umap_scater")
        for key in keys:
            for a, b in pairs:
                found = ask(adata, a, b, groupby=groupby, key=key)
                rows.append({"data": data, "map": key, "pair": f"{a}, {b}", **found})
    return pd.DataFrame(rows)


def silverman(places: np.ndarray, rng: np.random.Generator) -> float:
    """Return the p-value of Silverman's test of one mode (1981), on a grid.

    The statistic is the smallest bandwidth with which a Gaussian kernel density has one mode. It is compared with
    samples from that density, shrunk to the variance of the data.
    """
    span = np.ptp(places)
    edges = np.linspace(places.min() - span / 2, places.max() + span / 2, N_GRID + 1)
    step = edges[1] - edges[0]

    def n_modes(x: np.ndarray, bandwidth: float) -> int:
        density = gaussian_filter1d(np.histogram(x, edges)[0].astype(float), bandwidth / step, mode="constant")
        rises = np.sign(np.diff(density[density > 1e-9 * density.max()]))
        return 1 + np.count_nonzero((rises[:-1] < 0) & (rises[1:] > 0))

    low, high = step, span
    while high > 1.01 * low:
        middle = np.sqrt(low * high)
        low, high = (low, middle) if n_modes(places, middle) == 1 else (middle, high)
    shrink = 1 / np.sqrt(1 + high**2 / places.var())
    more = 0
    for _ in range(N_SMOOTHED):
        x = rng.choice(places, len(places))
        x = x.mean() + shrink * (x - x.mean() + high * rng.normal(size=len(x)))
        more += n_modes(x, high) > 1
    return more / N_SMOOTHED


def plane(kinds: list[str], sizes: list[int], seeds: range, path: Path) -> None:
    """Ask about the same populations with the plane of the first two principal components as the map."""
    from diptest import diptest

    path.parent.mkdir(parents=True, exist_ok=True)
    columns = ["kind", "cells", "seed"]
    done = set(pd.read_csv(path)[columns].itertuples(index=False, name=None)) if path.exists() else set()
    for seed in seeds:
        for n in sizes:
            for kind in kinds:
                if (kind, n, seed) in done:
                    continue
                adata = simulate(kind, n, seed)
                x = adata.X.astype(np.float64)
                pca = PCA(2, svd_solver="covariance_eigh").fit(x)
                label = (adata.obs["group"] == "B").to_numpy().astype(int)
                rng = np.random.default_rng(seed)
                found = between(lambda x=x: [(0, x)], pca.transform(x), pca.inverse_transform, label, rng)
                row = {"kind": kind, "cells": n, "seed": seed, "verdict": judge(found)}
                row |= {"p_value": found.chosen.valley.p_value, "depth": found.chosen.depth.depth}
                row |= {"p_on_map": found.on_map.valley.p_value, "length": found.chosen.length}
                for name, bridge in found.bridges.items():
                    places = bridge.u[~np.isnan(bridge.u)]
                    row |= {f"p_{name}": bridge.valley.p_value, f"dip_{name}": diptest(places)[1]}
                    row[f"silverman_{name}"] = silverman(places, rng)
                table = pd.DataFrame([row])
                table.to_csv(path, mode="a", header=not path.exists(), index=False, float_format="%.4g")


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the share of p-values of 5% or less, with its Monte-Carlo error, and that of each verdict."""
    rows = []
    for kind in KINDS:
        for n, own in runs[runs["kind"] == kind].groupby("cells"):
            share = np.mean(own["p_value"] <= 0.05)
            shares = own["verdict"].value_counts(normalize=True).reindex(["gap", "bridge", "torn"], fill_value=0)
            of = {name: np.mean(own[f"p_{name}"] <= 0.05) for name in ("straight", "cells")}
            error = np.sqrt(max(share * (1 - share), 0.0475 if share in (0, 1) else 0) / len(own))
            rows.append(
                {"population": kind, "cells": n, "maps": len(own), "p ≤ 5%": f"{share:.1%} ± {error:.1%}"}
                | {"straight alone": f"{of['straight']:.0%}", "curve alone": f"{of['cells']:.0%}"}
                | {name: f"{share:.0%}" for name, share in shares.items()}
                | {"depth": f"{own['depth'].median():.2f}"}
            )
    return pd.DataFrame(rows)


def compared(runs: pd.DataFrame) -> pd.DataFrame:
    """Return how often each test finds a valley along both bridges at 5%."""
    rows = []
    for kind, has_valley in KINDS.items():
        for n, own in runs[runs["kind"] == kind].groupby("cells"):
            row = {"population": kind, "valley": "yes" if has_valley else "no", "cells": n, "samples": len(own)}
            for name, column in {"sg.tl.gap": "p", "dip test": "dip", "Silverman": "silverman"}.items():
                larger = own[[f"{column}_straight", f"{column}_cells"]].max(axis=1)
                row[name] = f"{np.mean(larger <= 0.05):.0%}"
            rows.append(row)
    return pd.DataFrame(rows)


def cost() -> pd.DataFrame:
    """Return the seconds of a call on one thread, with the plane of two principal components as the map."""
    rows = []
    for n in (2638, 68000):
        for kind in ("two Gaussians, 4 sd", "arc of 225°"):
            adata = simulate(kind, n, 0)
            adata.obsm["X_plane"] = PCA(2).fit_transform(adata.X)
            sg.tl.adopt(adata, basis="plane", use_rep="X", n_steps=200, progress_bar=False)
            calls = [ask(adata, "A", "B", groupby="group", key="plane")["seconds"] for _ in range(3)]
            rows.append({"cells": n, "population": kind, "seconds": f"{np.median(calls):.1f}"})
    return pd.DataFrame(rows)


def write(name: str, title: str, command: str, table: pd.DataFrame) -> None:
    text = f"# {title}\n\n`python benchmarks/gap.py {command}`\n\n{table.to_markdown(index=False)}\n"
    (RESULTS / f"gap_{name}.md").write_text(text)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["plane", "maps", "simulated", "real", "cost"])
    parser.add_argument("--kinds", nargs="+", type=int, default=list(range(len(KINDS))), help="numbers of populations")
    parser.add_argument("--sizes", nargs="+", type=int, default=[200, 1000, 5000])
    parser.add_argument(
        "--seeds", nargs=2, type=int, default=[0, 200], help="the first seed, and the one after the last"
    )
    parser.add_argument("--seconds", type=float, default=np.inf, help="make no more maps after this time")
    args = parser.parse_args()
    kinds, seeds = [list(KINDS)[k] for k in args.kinds], range(*args.seeds)
    if args.what == "maps":
        make_maps(kinds, args.sizes, seeds, args.seconds)
    elif args.what == "real":
        columns = [
            "data",
            "map",
            "pair",
            "verdict",
            "p_value",
            "depth",
            "n_between",
            "n_expected",
            "bridge",
            "on_map",
            "seconds",
        ]
        table = real()[columns].round({"p_value": 3, "depth": 2, "seconds": 2})
        write("real", "Groups of real data", "real", table)
    elif args.what == "cost":
        torch.set_num_threads(1)
        with threadpool_limits(1):
            write("cost", "Seconds of a call, one thread", "cost", cost())
    elif args.what == "simulated":
        write("simulated", "Pairs of groups in 50 dimensions, on default maps", "simulated", summary(simulated()))
    else:
        path = MAPS / "plane.csv"
        plane(kinds, args.sizes, seeds, path)
        runs = pd.read_csv(path)
        write("plane", "Pairs of groups in 50 dimensions", "plane", summary(runs))
        write("tests", "Three tests along the same bridges", "plane", compared(runs))
