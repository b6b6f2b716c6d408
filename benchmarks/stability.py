"""Measure how often the ellipses of `scgeoae.tl.stability` hold the positions on maps of fresh cells.

``python benchmarks/stability.py CASE DRAW [--fresh N]`` makes the maps of one draw and keeps all positions in
``benchmarks/maps/stability``, so that other ellipses can be tried without making maps again;
``python benchmarks/stability.py --write`` then writes the tables into ``benchmarks/results/stability.md``.

Cases are ``mixture_500`` and ``mixture_2000``, populations of four groups and a branch between two of them in 50
dimensions, and the three reference data sets. Of these, two fifths of the cells make the map, another two fifths the
first fresh map, and the last fifth is placed on both; a cell of this fifth gets the ellipse of the nearest cell on the
map. Further fresh maps are of two fifths drawn from the three fifths that did not make the map.
``python benchmarks/stability.py --factors`` prints the coverage with other factors f on the draws that are kept, and
``python benchmarks/stability.py time N`` times both calls on N cells near those of PBMC 3k.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
from scipy.spatial import KDTree

import scgeoae as sg
from scgeoae._runtime import default_torch_modes
from scgeoae.graphs import nearest_others
from scgeoae.quality.stability import Ellipses, aligned, ellipses, share_that_stays
from scgeoae.training import Settings
from scgeoae.training.refit import refit

if TYPE_CHECKING:
    from numpy.typing import NDArray

HERE = Path(__file__).parent
KEPT = HERE / "maps" / "stability"
N_FITS, D = 10, 50
MIXTURES = ("mixture_500", "mixture_2000")
STEPS = ("to fresh", "own to new", "same on both")
REAL = ("pbmc3k_pca", "zilionis2019_mouse_lung", "packer2019_amphid_neurons")


class Mixture:
    """Four groups, each a Gaussian of five wide dimensions with noise in all 50, and a curved branch between two."""

    def __init__(self) -> None:
        rng = np.random.default_rng(7)
        self.centers = rng.normal(size=(4, D))
        self.centers *= 6 / np.linalg.norm(self.centers, axis=1)[:, None]
        wide = np.array([2.0, 1.5, 1.2, 1.0, 0.8])
        self.axes = [np.linalg.qr(rng.normal(size=(D, 5)))[0] * wide for _ in range(4)]
        self.bend = np.linalg.qr(rng.normal(size=(D, 1)))[0].T

    def draw(self, n: int, rng: np.random.Generator) -> tuple[NDArray, NDArray]:
        """Return (n, 50) cells and their groups, the last of which is the branch."""
        group = rng.choice(5, n, p=[0.35, 0.25, 0.15, 0.05, 0.2])
        x = rng.normal(size=(n, D)) * 0.6
        for i, (center, axes) in enumerate(zip(self.centers, self.axes, strict=True)):
            x[group == i] += center + rng.normal(size=(np.sum(group == i), 5)) @ axes.T
        is_branch = group == 4
        t = rng.uniform(size=(is_branch.sum(), 1))
        x[is_branch] += (1 - t) * self.centers[0] + t * self.centers[1] + 2 * np.sin(np.pi * t) * self.bend
        x[is_branch] += 0.4 * rng.normal(size=(is_branch.sum(), 5)) @ self.axes[0].T
        return x.astype(np.float32), group.astype(str)


def cells(x: NDArray) -> anndata.AnnData:
    return anndata.AnnData(np.zeros((len(x), 0), dtype=np.float32), obsm={"X_pca": x})


def mapped(x: NDArray, seed: int) -> anndata.AnnData:
    adata = cells(x)
    sg.tl.geoae(adata, use_rep="X_pca", random_state=seed, progress_bar=False)
    return adata


def placed(x: NDArray, on: anndata.AnnData) -> NDArray:
    new = cells(x)
    sg.tl.transform(new, on, use_rep="X_pca")
    return new.obsm["X_geoae"].astype(float)


def drawn(case: str, draw: int, n_fresh: int) -> tuple[NDArray, NDArray, NDArray, NDArray, list[NDArray]]:
    """Return the cells of the map and held-out ones, each with their groups, and the cells of fresh maps."""
    if case in MIXTURES:
        n = int(case.split("_")[1])
        population, rng = Mixture(), np.random.default_rng([draw, n])
        x, group = population.draw(n, rng)
        return x, group, x[:0], group[:0], [population.draw(n, rng)[0] for _ in range(n_fresh)]
    from reference_data import LABELS, read

    source = read(case)
    x = np.ascontiguousarray(source.obsm["X_pca"], dtype=np.float32)
    group = source.obs[LABELS[case]].astype(str).to_numpy()
    own, second, rest = np.split(np.random.default_rng(draw).permutation(len(x)), [2 * len(x) // 5, 4 * len(x) // 5])
    fresh = [second]
    for i in range(1, n_fresh):
        fresh.append(np.random.default_rng([draw, i]).choice(np.r_[second, rest], len(second), replace=False))
    return x[own], group[own], x[rest], group[rest], [x[rows] for rows in fresh]


@default_torch_modes
def make(case: str, draw: int, n_fresh: int) -> dict[str, NDArray]:
    """Return the positions on a map, on the refits that `sg.tl.stability` would make, and on fresh maps."""
    x, group, rest, group_rest, fresh = drawn(case, draw, n_fresh)
    adata, n = mapped(x, draw), len(x)
    rng, refits, own = np.random.default_rng([draw, 77]), [], []
    for _ in range(N_FITS // 2):
        order = rng.permutation(n)
        for half in (order[: n // 2], order[n // 2 :]):
            seed = 5000 + 100 * draw + len(refits)
            refits.append(refit(x, np.sort(half), Settings(seed=seed)))
            own.append(np.isin(np.arange(n), half))
    there = [placed(np.r_[x, rest], mapped(each, 1000 + 10 * draw + i)) for i, each in enumerate(fresh)]
    return {
        "z": adata.obsm["X_geoae"],
        "here": placed(rest, adata) if len(rest) else np.zeros((0, 2)),
        "g": group.astype("U24"),
        "grest": group_rest.astype("U24"),
        "refits": np.array(refits),
        "masks": np.array(own),
        "fresh": np.array([each[:n] for each in there]),
        "fresh_rest": np.array([each[n:] for each in there]),
    }


def holds(shape: NDArray, step: NDArray) -> NDArray:
    return np.einsum("ni,ni->n", step, np.linalg.solve(shape, step[:, :, None])[..., 0]) <= 1


def common(step: NDArray, group: NDArray) -> float:
    """Return the share of the squared displacement that is the mean displacement of each group."""
    means = pd.DataFrame(step).groupby(group).transform("mean").to_numpy()
    return float(np.square(means).sum() / np.square(step).sum())


def of_steps(shape: NDArray, step: NDArray, group: NDArray) -> dict[str, Any]:
    inside = holds(shape, step)
    of_group = pd.Series(inside).groupby(group).mean()[pd.Series(group).value_counts() >= 20]
    return {
        "coverage": inside.mean(),
        "worst": of_group.min(),
        "its name": of_group.idxmin(),
        "common": common(step, group),
    }


def measure(kept: dict[str, NDArray]) -> dict[str, Any]:
    """Return how often the ellipses hold, and how large they are."""
    z, group, n = kept["z"].astype(float), kept["g"], len(kept["z"])
    refits = np.array([aligned(each, z) for each in kept["refits"]])
    near = nearest_others(z, 15)
    found: Ellipses = ellipses(refits, kept["masks"], around=np.column_stack([np.arange(n), near]))
    # all cells are turned as one, by the cells of the map
    pairs = zip(kept["fresh"], kept["fresh_rest"], strict=True)
    there = [aligned(np.concatenate(each), z) for each in pairs]
    nearest = KDTree(z).query(kept["here"])[1]
    radius = np.sqrt(np.linalg.eigvalsh(found.shape)[:, -1])
    own, steps = kept["masks"], {True: [], False: []}
    for a, b in combinations(range(len(refits)), 2):
        if a // 2 != b // 2:
            length, is_step = np.linalg.norm(refits[a] - refits[b], axis=1), own[a] != own[b]
            steps[True].append(length[is_step])
            steps[False].append(length[~is_step])
    from_mean = pd.Series(np.square(pd.DataFrame(z) - pd.DataFrame(z).groupby(group).transform("mean")).sum(1))
    return {
        "own": [of_steps(found.shape, each[:n] - z, group) for each in there],
        "out": [
            of_steps(found.shape[nearest], each[n:] - kept["here"], kept["grest"]) for each in there if len(nearest)
        ],
        "foreseen": found.coverage,
        "own to new": np.median(np.concatenate(steps[True])),
        "same on both": np.median(np.concatenate(steps[False])),
        "to fresh": np.median([np.linalg.norm(each[:n] - z, axis=1) for each in there]),
        "in group": np.median(radius / np.sqrt(from_mean.groupby(group).transform("mean"))),
        "stable": (share_that_stays(near, refits, among=30) == 1).mean(),
    }


def other_factors(kept: dict[str, NDArray]) -> dict[str, tuple[float, float]]:
    """Return the coverage at the cells of the map and at held-out cells with the factor f and with others."""
    z, group, n = kept["z"].astype(float), kept["g"], len(kept["z"])
    refits, own = np.array([aligned(each, z) for each in kept["refits"]]), kept["masks"]
    around = np.column_stack([np.arange(n), nearest_others(z, 15)])
    found = ellipses(refits, own, around=around)
    mean = found.shape / found.factor

    def squares(step: NDArray, of: NDArray) -> NDArray:
        return np.einsum("ni,ni->n", step, np.linalg.solve(of, step[:, :, None])[..., 0])

    # of the steps between two refits, in the ellipses of the others, and the cells that make them
    splits, pairs = [], {}
    for a, b in combinations(range(len(refits)), 2):
        rows, step = np.flatnonzero(own[a] != own[b]), refits[a] - refits[b]
        others = np.delete(np.arange(len(refits)), [a, b])
        left = _mean_square(refits[others], own[others], others // 2, around)[rows]
        value = squares(step[rows], left)
        if a // 2 == b // 2:
            splits.append(value)
        else:
            pairs[a, b] = rows, value
    rows, values = (np.concatenate(each) for each in zip(*pairs.values(), strict=True))
    all_cells = np.quantile(values, 0.9)
    of_group = np.empty(n)
    for name in np.unique(group):
        cells, weight = group == name, np.sum(group == name) / (np.sum(group == name) + 50)
        of_group[cells] = weight * np.quantile(values[cells[rows]], 0.9) + (1 - weight) * all_cells
    of_refit = [
        np.quantile(np.concatenate([value for pair, (_, value) in pairs.items() if j in pair]), 0.9)
        for j in range(len(refits))
    ]
    factors = {
        "as it is": np.full(n, found.factor),
        "for each group, shrunk": of_group,
        "largest of a refit": np.full(n, max(of_refit)),
        "halves of a split": np.full(n, np.quantile(np.concatenate(splits), 0.9)),
    }
    nearest = KDTree(z).query(kept["here"])[1]
    there = [aligned(np.concatenate(each), z) for each in zip(kept["fresh"], kept["fresh_rest"], strict=True)]
    at_own = [squares(each[:n] - z, mean) for each in there]
    at_new = [squares(each[n:] - kept["here"], mean[nearest]) for each in there]
    return {
        name: (float(np.mean(at_own <= f)), float(np.mean(at_new <= f[nearest])) if len(nearest) else np.nan)
        for name, f in factors.items()
    }


def _mean_square(refits: NDArray, own: NDArray, split: NDArray, around: NDArray) -> NDArray:
    """Return the (n, 2, 2) mean of v vᵀ over the steps of the cells `around` each between refits of two splits."""
    total, count = 0.0, 0.0
    for a, b in combinations(range(len(refits)), 2):
        if split[a] != split[b]:
            is_step, v = own[a] != own[b], refits[a] - refits[b]
            total = total + is_step[:, None, None] * v[:, :, None] * v[:, None, :]
            count = count + is_step
    return total[around].sum(1) / count[around].sum(1)[:, None, None]


def measure_time(n: int, n_fits: int) -> dict[str, Any]:
    from speed import draw

    with tempfile.TemporaryDirectory() as folder:
        draw(n, Path(folder) / "cells.h5ad")
        adata = anndata.read_h5ad(Path(folder) / "cells.h5ad")
    sg.tl.geoae(adata[:300].copy(), use_rep="X_pca", n_steps=5, progress_bar=False)  # compile
    start = time.perf_counter()
    sg.tl.geoae(adata, use_rep="X_pca", progress_bar=False)
    middle = time.perf_counter()
    sg.tl.stability(adata, n_fits=n_fits, progress_bar=False)
    end = time.perf_counter()
    return {"n_fits": n_fits, "map": middle - start, "stability": end - middle}


def spread(values: list[float]) -> str:
    return f"{np.mean(values):.0%} ({min(values):.0%} to {max(values):.0%})"


def write() -> None:
    from write_tables import rows

    words = (
        f"Nominal: 90%. {N_FITS} refits. Mean over all fresh maps (smallest to largest), and its standard error over "
        "the draws. Groups have at least 20 cells. The worst group is that of each fresh map, and the median of these."
    )
    lines = ["# Do the ellipses hold the positions on maps of fresh cells?", "", words, ""]
    table = [
        ["cells", "draws", "fresh maps", "at the cells of the map", "standard error", "worst group",
         "at held-out cells", "displacement that a group shares", "foreseen by leaving refits out",
         "uncertainty / spread of the group", "neighbors that always stay"]
    ]  # fmt: skip
    measured: dict[str, list[dict[str, Any]]] = {}
    for case in (*MIXTURES, *REAL):
        draws = [measure(dict(np.load(path))) for path in sorted(KEPT.glob(f"{case}-*.npz"))]
        if not draws:
            continue
        measured[case] = draws
        own, out = ([each for draw in draws for each in draw[which]] for which in ("own", "out"))
        of_draws = [np.mean([each["coverage"] for each in draw["own"]]) for draw in draws]
        error = f"{np.std(of_draws, ddof=1) / np.sqrt(len(draws)):.1%}" if len(draws) > 1 else "–"
        worst = min(own, key=lambda each: each["worst"])
        table.append(
            [
                case, str(len(draws)), str(len(own)), spread([each["coverage"] for each in own]), error,
                f"{np.median([each['worst'] for each in own]):.0%} (least: {worst['its name']}, {worst['worst']:.0%})",
                spread([each["coverage"] for each in out]) if out else "–",
                spread([each["common"] for each in own]),
                spread([share for draw in draws for share in draw["foreseen"]]),
                f"{np.median([draw['in group'] for draw in draws]):.2f}",
                f"{np.median([draw['stable'] for draw in draws]):.0%}",
            ]
        )  # fmt: skip
    lines += [rows(table), "", "## Steps", "", "Median length, in units of the map; median over the draws.", ""]
    table = [["cells", "to a fresh map", "own cell to new cell of a refit", "own or new on both refits"]]
    for case, draws in measured.items():
        medians = (f"{np.median([draw[which] for draw in draws]):.2f}" for which in STEPS)
        table.append([case, *medians])
    lines += [
        rows(table),
        "",
        "## Time",
        "",
        "Cells near those of PBMC 3k. One process on one core of a machine with other work, so mind the ratio.",
        "",
    ]
    table = [["cells", "refits k", "`sg.tl.geoae`, s", "`sg.tl.stability`, s", "ratio"]]
    for path in sorted(KEPT.glob("time-*.json"), key=lambda path: int(path.stem.split("-")[1])):
        kept = json.loads(path.read_text())
        ratio = kept["stability"] / kept["map"]
        table.append(
            [f"{int(path.stem.split('-')[1]):,}", str(kept["n_fits"]), f"{kept['map']:.0f}",
             f"{kept['stability']:.0f}", f"{ratio:.1f}"]
        )  # fmt: skip
    (HERE / "results" / "stability.md").write_text("\n".join([*lines, rows(table), ""]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="?", choices=[*MIXTURES, *REAL, "time"])
    parser.add_argument("draw", nargs="?", type=int)
    parser.add_argument("--fresh", type=int, default=2, help="number of fresh maps")
    parser.add_argument("--n-fits", type=int, default=N_FITS, help="for 'time'")
    parser.add_argument("--factors", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    KEPT.mkdir(parents=True, exist_ok=True)
    if options.case == "time":
        found = measure_time(options.draw, options.n_fits)
        (KEPT / f"time-{options.draw}.json").write_text(json.dumps(found))
        print(found)
    elif options.case is not None:
        kept = make(options.case, options.draw, options.fresh)
        np.savez_compressed(KEPT / f"{options.case}-{options.draw}.npz", **kept)
        print(options.case, options.draw, measure(kept), flush=True)
    if options.factors:
        for path in sorted(KEPT.glob("*.npz")):
            for name, (at_own, at_new) in other_factors(dict(np.load(path))).items():
                print(f"{path.stem}: {name}: {at_own:.1%} of the cells of the map, {at_new:.1%} held out", flush=True)
    if options.write:
        write()


if __name__ == "__main__":
    main()
