"""Measure how often the ellipses of `scgeoae.tl.stability` hold the positions on a map of fresh cells.

``python benchmarks/stability.py CASE DRAW [--others]`` measures one draw and keeps it in ``benchmarks/maps/stability``;
``python benchmarks/stability.py --write`` then writes the tables into ``benchmarks/results/stability.md``.

Cases are ``mixture_500`` and ``mixture_2000``, populations of four groups and a branch between two of them in 50
dimensions (the ellipses of one draw against fits to three fresh draws of the same size), and the three reference data
sets. Of these, two fifths of the cells make the map, another two fifths the fresh map, and the last fifth is placed on
both; a cell of this fifth gets the ellipse of the nearest cell on the map. With ``--others``, as many refits are also
made from bootstrap samples, and from all cells with other seeds, and turned into ellipses in the same way.
``python benchmarks/stability.py time N`` times both calls on N cells near those of PBMC 3k.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
from scipy.spatial import KDTree

import scgeoae as sg
from scgeoae.quality.stability import aligned, ellipses, nearest_on_map
from scgeoae.training import Settings
from scgeoae.training.refit import refit

if TYPE_CHECKING:
    from numpy.typing import NDArray

HERE = Path(__file__).parent
KEPT = HERE / "maps" / "stability"
N_FITS, N_FRESH, D = 10, 3, 50
REAL = ("pbmc3k_pca", "zilionis2019_mouse_lung", "packer2019_amphid_neurons")
NAMES = {
    "half": "random halves, as `sg.tl.stability`",
    "bootstrap": "bootstrap samples",
    "seeds": "all cells, other seeds",
}


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


def shapes_of(adata: anndata.AnnData) -> NDArray:
    shape = np.empty((adata.n_obs, 2, 2))
    upper = adata.obsm["geoae_stability"]
    shape[:, 0, 0], shape[:, 1, 1] = upper[:, 0], upper[:, 2]
    shape[:, 0, 1] = shape[:, 1, 0] = upper[:, 1]
    return shape


def holds(shape: NDArray, step: NDArray) -> NDArray:
    return np.einsum("ni,ni->n", step, np.linalg.solve(shape, step[:, :, None])[..., 0]) <= 1


def common(step: NDArray, group: NDArray) -> float:
    """Return the share of the squared displacement that is the mean displacement of each group."""
    means = pd.DataFrame(step).groupby(group).transform("mean").to_numpy()
    return float(np.square(means).sum() / np.square(step).sum())


def of_steps(shape: NDArray, step: NDArray, group: NDArray) -> dict[str, Any]:
    inside = holds(shape, step)
    by_group = pd.Series(inside).groupby(group).mean()[pd.Series(group).value_counts() >= 20]
    return {
        "coverage": float(inside.mean()),
        "worst group": float(by_group.min()),
        "its name": str(by_group.idxmin()),
        "common": common(step, group),
    }


def other_ways(x: NDArray, z: NDArray, draw: int) -> dict[str, NDArray]:
    """Return the ellipses that other refits would give."""
    rng = np.random.default_rng([draw, 1])
    n, near = len(x), nearest_on_map(z, 15)
    around = np.column_stack([np.arange(n), near])
    found = {}
    for way in ("bootstrap", "seeds"):
        refits = []
        for i in range(N_FITS):
            rows = np.sort(rng.choice(n, n)) if way == "bootstrap" else np.arange(n)
            refits.append(aligned(refit(x, rows, Settings(seed=9000 + 100 * draw + i)), z))
        found[way] = ellipses(np.array(refits), around=around).shape
    return found


def measure_mixture(n: int, draw: int, *, others: bool) -> dict[str, Any]:
    population, rng = Mixture(), np.random.default_rng([draw, n])
    x, group = population.draw(n, rng)
    adata = mapped(x, draw)
    z = adata.obsm["X_geoae"].astype(float)
    sg.tl.stability(adata, n_fits=N_FITS, random_state=draw, progress_bar=False)
    shapes = {"half": shapes_of(adata)} | (other_ways(x, z, draw) if others else {})
    found: dict[str, Any] = {way: [] for way in shapes}
    for i in range(N_FRESH):
        fresh = mapped(population.draw(n, rng)[0], 1000 + N_FRESH * draw + i)
        step = aligned(placed(x, fresh), z) - z
        for way, shape in shapes.items():
            found[way].append(of_steps(shape, step, group))
    areas = {way: float(np.median(np.sqrt(np.linalg.det(shape)))) for way, shape in shapes.items()}
    return found | {"areas": areas, **of_record(adata, group)}


def of_record(adata: anndata.AnnData, group: NDArray) -> dict[str, Any]:
    record = adata.uns["geoae_stability"]
    z = pd.DataFrame(adata.obsm["X_geoae"])
    from_mean = np.square(z - z.groupby(group).transform("mean")).sum(1)
    of_group = np.sqrt(from_mean.groupby(group).transform("mean")).to_numpy()
    return {
        "foreseen": record["coverage"].tolist(),
        "factor": record["factor"],
        "radius": float(adata.obs["geoae_uncertainty"].median() / np.sqrt(z.var().sum())),
        "in group": float((adata.obs["geoae_uncertainty"] / of_group).median()),
        "stable": float(adata.obs["geoae_stable_neighbors"].mean()),
    }


def measure_real(name: str, draw: int) -> dict[str, Any]:
    from reference_data import LABELS, read

    source = read(name)
    x = np.ascontiguousarray(source.obsm["X_pca"], dtype=np.float32)
    group = source.obs[LABELS[name]].astype(str).to_numpy()
    first, second, rest = np.split(np.random.default_rng(draw).permutation(len(x)), [2 * len(x) // 5, 4 * len(x) // 5])
    adata, fresh = mapped(x[first], draw), mapped(x[second], 1000 + draw)
    sg.tl.stability(adata, n_fits=N_FITS, random_state=draw, progress_bar=False)
    z, shape = adata.obsm["X_geoae"].astype(float), shapes_of(adata)
    # both sets of cells are turned as one, by the cells of the map
    n = len(first)
    there = aligned(placed(x[np.r_[first, rest]], fresh), z)
    here = placed(x[rest], adata)
    nearest = KDTree(z).query(here)[1]
    return {
        "half": [of_steps(shape, there[:n] - z, group[first])],
        "held out": [of_steps(shape[nearest], there[n:] - here, group[rest])],
        **of_record(adata, group[first]),
    }


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


def read_kept(case: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(KEPT.glob(f"{case}-*.json"))]


def spread(values: list[float]) -> str:
    return f"{np.median(values):.0%} ({min(values):.0%} to {max(values):.0%})"


def write() -> None:
    from write_tables import rows

    words = (
        f"Nominal: 90%. {N_FITS} refits. Median over draws (smallest to largest); for mixtures, {N_FRESH} fresh maps "
        "for each draw. Groups have at least 20 cells."
    )
    lines = ["# Do the ellipses hold the positions on maps of fresh cells?", "", words, ""]
    table = [
        ["cells", "draws", "at the cells of the map", "worst group", "at held-out cells", "worst group",
         "displacement that a group shares", "foreseen by leaving refits out", "uncertainty / spread of the map",
         "uncertainty / spread of the group", "neighbors that always stay"]
    ]  # fmt: skip
    for case in ("mixture_500", "mixture_2000", *REAL):
        kept = read_kept(case)
        if not kept:
            continue
        own, out = ([each for draw in kept for each in draw.get(which, [])] for which in ("half", "held out"))
        table.append(
            [
                case, str(len(kept)), spread([each["coverage"] for each in own]),
                f"{np.median([each['worst group'] for each in own]):.0%}",
                spread([each["coverage"] for each in out]) if out else "–",
                f"{np.median([each['worst group'] for each in out]):.0%}" if out else "–",
                spread([each["common"] for each in own]),
                spread([share for draw in kept for share in draw["foreseen"]]),
                f"{np.median([draw['radius'] for draw in kept]):.2f}",
                f"{np.median([draw['in group'] for draw in kept if 'in group' in draw] or [np.nan]):.2f}",
                f"{np.median([draw['stable'] for draw in kept]):.0%}",
            ]
        )  # fmt: skip
    lines += [rows(table), "", "## Other refits", "", "Of the mixtures with `--others`.", ""]
    table = [
        ["refits", "cells", "draws", "coverage", "worst group", "median area of an ellipse, against random halves"]
    ]
    for case in ("mixture_500", "mixture_2000"):
        kept = [draw for draw in read_kept(case) if "bootstrap" in draw]
        for way, words in NAMES.items() if kept else ():
            every = [each for draw in kept for each in draw[way]]
            table.append(
                [
                    words, case, str(len(kept)), spread([each["coverage"] for each in every]),
                    f"{np.median([each['worst group'] for each in every]):.0%}",
                    f"{np.median([draw['areas'][way] / draw['areas']['half'] for draw in kept]):.2f}",
                ]
            )  # fmt: skip
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
    parser.add_argument("case", nargs="?", choices=["mixture_500", "mixture_2000", *REAL, "time"])
    parser.add_argument("draw", nargs="?", type=int)
    parser.add_argument("--others", action="store_true")
    parser.add_argument("--n-fits", type=int, default=N_FITS, help="for 'time'")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.case is not None:
        if options.case == "time":
            found = measure_time(options.draw, options.n_fits)
        elif options.case in REAL:
            found = measure_real(options.case, options.draw)
        else:
            found = measure_mixture(int(options.case.split("_")[1]), options.draw, others=options.others)
        KEPT.mkdir(parents=True, exist_ok=True)
        (KEPT / f"{options.case}-{options.draw}.json").write_text(json.dumps(found))
        print(options.case, options.draw, json.dumps(found, indent=1), flush=True)
    if options.write:
        write()


if __name__ == "__main__":
    main()
