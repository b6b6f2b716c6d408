"""Measure how right `scgeoae.tl.density` is, how often it sees differences that are not there, and what it costs.

``python benchmarks/density.py accuracy tensors real null power cost``, or some of these; each writes its table into
``benchmarks/results/density_{name}.md``. Maps are kept in ``benchmarks/maps/density``.

- accuracy: surfaces where the number of cells per area is known, on the default map and on a UMAP of the same points.
- tensors: the default map again, with the true metric tensors and with those of another decoder.
- real: the reference data, where the densities on two maps of the same cells should agree.
- null: conditions that do not differ, as labels of cells and of samples whose donors do differ.
- power: one region in which a condition has more cells.
- cost: seconds for 2,500 and 68,000 cells.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scanpy as sc
import torch
from anndata import AnnData
from scipy.sparse import csr_matrix
from scipy.spatial import KDTree
from scipy.stats import false_discovery_control, spearmanr

import scgeoae as sg
from scgeoae.quality.abundance import cell_p_values, sample_p_values
from scgeoae.quality.density import cell_areas, neighborhoods

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

RESULTS, MAPS = Path(__file__).parent / "results", Path(__file__).parent / "maps" / "density"
LEVEL = 0.05
SURFACES = ("sphere patch", "stretched sphere", "Swiss roll")


# --- accuracy


def sample(surface: str, density: str, n: int, seed: int) -> tuple[NDArray, NDArray]:
    """Return (n, 3) points on a surface, and how many of them there are per unit of area at each, (n,).

    `density` is "uniform", or "skewed": it grows by a factor of e² from one end to the other.
    """
    rng, m = np.random.default_rng(seed), 40 * n
    stretch = np.ones(m)
    if surface == "Swiss roll":
        fine = np.linspace(1.5 * np.pi, 4.5 * np.pi, 20_001)
        length = (fine * np.sqrt(1 + fine**2) + np.arcsinh(fine)) / 2
        along, across = rng.uniform(length[0], length[-1], m), rng.uniform(0, 21, m)
        t = np.interp(along, length, fine)
        x = np.stack([t * np.cos(t), across, t * np.sin(t)], axis=1)
        area, share = (length[-1] - length[0]) * 21, (along - length[0]) / (length[-1] - length[0])
    else:
        height, azimuth = rng.uniform(0.5, 1, m), rng.uniform(-np.pi, np.pi, m)
        radius = np.sqrt(1 - height**2)
        x = np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth), height], axis=1)
        area, share = np.pi, (x[:, 0] / np.sqrt(0.75) + 1) / 2
        if surface == "stretched sphere":
            stretch = np.linalg.norm(x * [1, 3, 3], axis=1)
            x = x * [3, 1, 1]
    weight = np.exp(2 * share) if density == "skewed" else np.ones(m)
    chance = weight * stretch
    kept = rng.choice(m, n, replace=False, p=chance / chance.sum())
    return x[kept].astype(np.float32), n * weight[kept] / (area * chance.mean())


def maps_of(surface: str, density: str, n: int, seed: int) -> dict[str, NDArray]:
    """Return the points, the positions and tensors of three maps of them, and the true density."""
    path = MAPS / f"{surface.replace(' ', '_')}_{density}_{n}_{seed}.npz"
    if not path.is_file():
        x, truth = sample(surface, density, n, seed)
        adata = AnnData(x)
        sg.tl.geoae(adata, use_rep="X", random_state=seed, progress_bar=False)
        keys = ["geoae", "umap"]
        if surface == "Swiss roll":
            sg.tl.geoae(
                adata, use_rep="X", init_pos="isomap", random_state=seed, progress_bar=False, key_added="isomap"
            )
            keys.append("isomap")
        sc.pp.neighbors(adata, use_rep="X", random_state=seed)
        sc.tl.umap(adata, random_state=seed)
        sg.tl.distortion(adata, progress_bar=False)
        MAPS.mkdir(parents=True, exist_ok=True)
        found = {f"{key}_z": adata.obsm[f"X_{key}"] for key in keys}
        found |= {f"{key}_metric": sg.get.metric_tensors(adata, key=key) for key in keys}
        np.savez(path, x=x, truth=truth, **found)
    return dict(np.load(path))


def measured(z: NDArray, scale: NDArray, k: int) -> NDArray:
    """Return the density at each cell, (n,)."""
    return neighborhoods(z, cell_areas(z, scale), k, np.full(len(z), -1), 0).density


def default_k(n: int) -> int:
    return min(round(2 * n**0.5), 200)


def error(found: NDArray, truth: NDArray) -> float:
    return float(np.median(np.abs(found / truth - 1)))


def accuracy(options: argparse.Namespace) -> None:
    records = []
    for n in (2500, 10_000):
        for surface in SURFACES:
            for density in ("uniform", "skewed"):
                for seed in range(options.seeds):
                    stored = maps_of(surface, density, n, seed)
                    truth, k = stored["truth"], default_k(n)
                    for key in ("geoae", "isomap", "umap"):
                        if f"{key}_z" not in stored:
                            continue
                        z = stored[f"{key}_z"]
                        scale = np.sqrt(np.linalg.det(stored[f"{key}_metric"].astype(float)))
                        flat = measured(z, np.ones(n), k)
                        records.append(
                            {
                                "surface": surface,
                                "density": density,
                                "n": n,
                                "map": {"geoae": "default", "isomap": 'init_pos="isomap"', "umap": "UMAP"}[key],
                                "error": error(measured(z, scale, k), truth),
                                "without √det G": error(flat * np.median(truth / flat), truth),
                            }
                        )
    by = pd.DataFrame(records).groupby(["surface", "density", "n", "map"], sort=False)
    frame = by.median().reset_index()
    frame.insert(4, "seeds", by.size().to_numpy())
    text = (
        "Median over the cells of |estimate/truth − 1|, then over the seeds. Without √det G, densities on the map are "
        "multiplied by the factor that serves them best. Counting alone gives .07 at 2,500 cells and .05 at 10,000."
    )
    write("accuracy", "Densities on surfaces of known area", [text], frame)


def tensors(options: argparse.Namespace) -> None:
    """Compare densities at the same positions with different metric tensors."""
    records = []
    n, k = 2500, default_k(2500)
    for surface in ("sphere patch", "stretched sphere"):
        stored = maps_of(surface, "skewed", n, 0)
        x, truth, z = stored["x"], stored["truth"], stored["geoae_z"]
        adata = AnnData(x)
        adata.obsm["X_same"] = z
        sg.tl.adopt(adata, basis="same", use_rep="X", progress_bar=False)
        # coordinates that keep areas on the sphere, and their derivatives by the position on the map
        unit = x / np.array([3, 1, 1]) if surface == "stretched sphere" else x
        y = unit[:, :2] * np.sqrt(2 / (1 + unit[:, 2:]))
        near = KDTree(z).query(z, 31)[1]
        steps, changes = (values[near] - values[near].mean(1, keepdims=True) for values in (z.astype(float), y))
        slopes = np.linalg.solve(steps.mT @ steps, steps.mT @ changes)
        stretch = np.linalg.norm(unit * [1, 3, 3], axis=1) if surface == "stretched sphere" else 1
        scales = {
            "of the map": np.sqrt(np.linalg.det(stored["geoae_metric"].astype(float))),
            "of a decoder of sg.tl.adopt": np.sqrt(
                np.linalg.det(sg.get.metric_tensors(adata, key="same").astype(float))
            ),
            "true": np.abs(np.linalg.det(slopes)) * stretch,
        }
        errors = {f"tensors {name}": error(measured(z, scale, k), truth) for name, scale in scales.items()}
        records.append({"surface": surface, "density": "skewed", "n": n} | errors)
        print(records[-1], flush=True)
    from reference_data import read

    adata = read("pbmc3k_pca")
    sg.tl.geoae(adata, use_rep="X_pca", progress_bar=False)
    adata.obsm["X_same"] = adata.obsm["X_geoae"]
    sg.tl.adopt(adata, basis="same", use_rep="X_pca", progress_bar=False)
    distance = KDTree(adata.obsm["X_pca"]).query(adata.obsm["X_pca"], default_k(adata.n_obs) + 1)[0][:, -1]
    densities, ranks = [], []
    for key in ("geoae", "same"):
        sg.tl.density(adata, key=key)
        densities.append(adata.obs[f"{key}_density"])
        ranks.append(spearmanr(-distance, densities[-1]).statistic)
    real = (
        f"On PBMC 3k, densities with the second decoder are {(densities[1] / densities[0]).median():.2f} times those "
        f"with the first (median), and their correlations with the distance to the kth neighbor are {ranks[1]:.2f} and "
        f"{ranks[0]:.2f}."
    )
    text = (
        "Median over the cells of |estimate/truth − 1|, all at the positions of the default map. Its decoder is held "
        "isometric; that of `sg.tl.adopt` is fitted to the same positions and is not."
    )
    write("tensors", "Densities with other metric tensors", [text, real], pd.DataFrame(records))


# --- real data


def real(options: argparse.Namespace) -> None:
    from reference_data import LABELS, read

    records = []
    for name in LABELS:
        adata = read(name)
        sg.tl.geoae(adata, use_rep="X_pca", progress_bar=False)
        sc.pp.neighbors(adata, use_rep="X_pca")
        sc.tl.umap(adata)
        sg.tl.distortion(adata, progress_bar=False)
        k = default_k(adata.n_obs)
        x = adata.obsm["X_pca"]
        distance = KDTree(x).query(x, k + 1)[0][:, -1]
        found = {"kNN": -distance}
        for key in ("geoae", "umap"):
            sg.tl.density(adata, key=key)
            found[key] = adata.obs[f"{key}_density"].to_numpy()
            found[f"{key} flat"] = measured(adata.obsm[f"X_{key}"], np.ones(adata.n_obs), k)

        def rank(a: str, b: str, found: dict[str, NDArray] = found) -> float:
            return float(spearmanr(found[a], found[b]).statistic)

        ratio = np.log2(found["umap"] / found["geoae"])
        records.append(
            {
                "data": name,
                "default and UMAP": rank("geoae", "umap"),
                "default and UMAP, without √det G": rank("geoae flat", "umap flat"),
                "default and k-NN": rank("geoae", "kNN"),
                "default and k-NN, without √det G": rank("geoae flat", "kNN"),
                "UMAP and k-NN": rank("umap", "kNN"),
                "UMAP and k-NN, without √det G": rank("umap flat", "kNN"),
                "UMAP/default, median": 2 ** float(np.median(ratio)),
            }
        )
        print(records[-1], flush=True)
    text = (
        "Spearman correlation over the cells. k-NN is the distance to the kth neighbor in the representation, "
        "in all of its dimensions; k = 2√n. Last column: how many times denser the cells are on the UMAP."
    )
    write("real", "Densities on two maps of the same cells", [text], pd.DataFrame(records))


# --- conditions that do not differ, and one region in which they do


class Simulation:
    """Cells in eight groups on a map, each with its neighborhood."""

    def __init__(self, n: int, rng: np.random.Generator) -> None:
        centers = rng.normal(size=(8, 2)) * 4
        self.n, self.k, self.rng = n, default_k(n), rng
        self.z = centers[rng.integers(8, size=n)] + rng.normal(size=(n, 2))
        near = KDTree(self.z).query(self.z, self.k + 1)[1]
        self.near = csr_matrix((np.ones(near.size, np.int32), near.ravel(), np.arange(0, near.size + 1, self.k + 1)))

    def counts(self, unit: NDArray, n_units: int) -> NDArray:
        """Return how many cells of each unit are in each neighborhood, (n, n_units)."""
        return self.near @ np.eye(n_units, dtype=np.int32)[unit]

    def donors(self, n_donors: int, spread: float, growth: NDArray | None = None) -> NDArray:
        """Draw the donor of each cell, (n,).

        The logarithm of how many cells a donor has at a place is a smooth random function with this standard deviation,
        and `growth`, (n, donors), is added to it. Sizes of donors differ.
        """
        rng = self.rng
        waves, phases = rng.normal(size=(n_donors, 2, 64)) / 1.5, rng.uniform(0, 2 * np.pi, (n_donors, 1, 64))
        weights = rng.normal(size=(n_donors, 64, 1)) * np.sqrt(2 / 64)
        fields = (np.cos(self.z @ waves + phases) @ weights)[:, :, 0].T
        logits = np.log(rng.dirichlet(np.full(n_donors, 6.0))) + spread * fields + (0 if growth is None else growth)
        return (logits + rng.gumbel(size=logits.shape)).argmax(1)

    def fdr_of_cells(self, own: NDArray) -> NDArray:
        """Return the false-discovery rates of a condition, (n,), with all cells taken as independent."""
        counts = self.counts(own.astype(int), 2)[:, 1]
        p = cell_p_values(counts, np.full(self.n, self.k + 1), int(own.sum()), self.n)
        return false_discovery_control(p)

    def fdr_of_samples(self, donor: NDArray, condition: NDArray) -> NDArray:
        """Return the false-discovery rates of condition 1 of (n,) donors, (n,)."""
        sizes = np.bincount(donor, minlength=len(condition))
        p = sample_p_values(
            self.counts(donor, len(condition)),
            sizes,
            condition,
            condition == 1,
            condition == 0,
            self.n / (self.k + 1),
        )
        return false_discovery_control(p)


def null(options: argparse.Namespace) -> None:
    records = []

    def add(what: str, fdr: Callable[[], NDArray]) -> None:
        lowest = np.array([fdr().min() for _ in range(options.repeats)])
        share = np.mean(lowest < LEVEL)
        records.append(
            {"labels": what, "any cell at FDR < 5%, %": 100 * share, "± (one s.e.)": 100 * se(share, options)}
        )
        print(records[-1], flush=True)

    rng = np.random.default_rng(0)
    simulated = Simulation(2500, rng)
    for share in (0.5, 0.1):
        add(
            f"cells shuffled, {share:.0%} in the condition",
            lambda s=share: simulated.fdr_of_cells(rng.permutation(2500) < s * 2500),
        )
    for n_samples in (4, 6, 12):
        for spread in (0.0, 0.3, 0.7):
            add(
                f"{n_samples} samples shuffled, donors differ by {spread:g}",
                lambda m=n_samples, s=spread: simulated.fdr_of_samples(simulated.donors(m, s), rng.permutation(m) % 2),
            )
    add(
        "6 donors that differ by 0.3, tested as cells",
        lambda: simulated.fdr_of_cells((rng.permutation(6) % 2)[simulated.donors(6, 0.3)] == 1),
    )
    text = (
        f"Share of {options.repeats} data sets of 2,500 cells with any cell at a false-discovery rate below 5%. Donors "
        "differ by this standard deviation of the natural logarithm of their density, which varies smoothly over the "
        "map."
    )
    write("null", "Differences that are not there", [text], pd.DataFrame(records))


def power(options: argparse.Namespace) -> None:
    records = []
    repeats = max(options.repeats // 4, 1)
    for n in (2500, 10_000):
        for growth in (1.5, 3.0):
            for n_samples, spread in ((0, 0.0), (6, 0.3), (12, 0.3)):
                found = []
                for seed in range(repeats):
                    rng = np.random.default_rng(seed)
                    simulated = Simulation(n, rng)
                    region = np.zeros(n, dtype=bool)
                    region[KDTree(simulated.z).query(simulated.z[rng.integers(n)], n // 20)[1]] = True
                    if n_samples:
                        condition = np.arange(n_samples) % 2
                        more = np.log(growth) * region[:, None] * condition
                        fdr = simulated.fdr_of_samples(simulated.donors(n_samples, spread, more), condition)
                    else:
                        fdr = simulated.fdr_of_cells(rng.uniform(size=n) < np.where(region, growth / (1 + growth), 0.5))
                    is_found = fdr < 0.1
                    touches = np.asarray(simulated.near @ region.astype(np.int32)) > 0
                    false = is_found[~touches].sum() / max(is_found.sum(), 1)
                    found.append((is_found[region].mean(), is_found[region].any(), false))
                cells, any_cell, false = np.mean(found, axis=0)
                records.append(
                    {
                        "cells": n,
                        "growth": growth,
                        "samples": f"{n_samples}, donors differ by {spread:g}" if n_samples else "none",
                        "cells of the region found, %": 100 * cells,
                        "region found, %": 100 * any_cell,
                        "found elsewhere, % of all found": 100 * false,
                    }
                )
                print(records[-1], flush=True)
    text = (
        f"A region of 5% of the cells has more cells of one of two equal conditions; false-discovery rate below 10%. "
        f"Means of {repeats} data sets. Elsewhere: cells without a cell of the region in their neighborhood."
    )
    write("power", "A region that grows", [text], pd.DataFrame(records))


# --- seconds


def cost(options: argparse.Namespace) -> None:
    records = []
    for n in options.sizes:
        rng = np.random.default_rng(0)
        centers = rng.normal(size=(20, 2)) * 6
        adata = AnnData(np.zeros((n, 1), dtype=np.float32))
        adata.obsm["X_umap"] = (centers[rng.integers(20, size=n)] + rng.normal(size=(n, 2))).astype(np.float32)
        adata.obsm["umap_metric"] = np.tile(np.float32([1, 0, 1]), (n, 1))
        adata.obs["sample"] = pd.Categorical(rng.integers(8, size=n).astype(str))
        adata.obs["condition"] = pd.Categorical(np.where(adata.obs["sample"].astype(int) % 2, "a", "b"))
        record = {"cells": n}
        for name, given in {
            "density, s": {},
            "two conditions, s": {"groupby": "condition"},
            "with 8 samples, s": {"groupby": "condition", "sample": "sample"},
        }.items():
            start = time.process_time()
            sg.tl.density(adata, key="umap", **given)
            record[name] = time.process_time() - start
        records.append(record)
        print(record, flush=True)
    write(
        "cost",
        "Seconds",
        ["Processor time of one call each, on one thread."],
        pd.DataFrame(records),
    )


# --- tables


def se(share: float, options: argparse.Namespace) -> float:
    return float(np.sqrt(max(share * (1 - share), LEVEL * (1 - LEVEL)) / options.repeats))


def write(name: str, title: str, text: list[str], frame: pd.DataFrame) -> None:
    from write_tables import rows

    def shown(column: str, value: object) -> str:
        if not isinstance(value, float):
            return f"{value:,}" if isinstance(value, int | np.integer) else str(value)
        return f"{value:.1f}" if "%" in column or "s.e." in column or column.endswith(", s") else f"{value:.2f}"

    body = [
        [shown(column, value) for column, value in zip(frame.columns, row, strict=True)]
        for row in frame.itertuples(index=False)
    ]
    lines = [f"# {title}", "", *text, "", rows([list(frame.columns), *body]), ""]
    (RESULTS / f"density_{name}.md").write_text("\n".join(lines))
    print("\n".join(lines), flush=True)


def main() -> None:
    parts = {"accuracy": accuracy, "tensors": tensors, "real": real, "null": null, "power": power, "cost": cost}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=parts)
    parser.add_argument("--repeats", type=int, default=400, help="data sets of null; a quarter of it for power")
    parser.add_argument("--seeds", type=int, default=2, help="maps of each surface for accuracy")
    parser.add_argument("--sizes", type=int, nargs="+", default=[2500, 68_000], help="cells of cost")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for part in options.parts:
        parts[part](options)


if __name__ == "__main__":
    main()
