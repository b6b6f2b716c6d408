"""Measure how well vectors of the cells, such as velocities, are projected onto maps.

``python benchmarks/vectors.py PART [--seeds N] [--write]``; with ``--write``, the table of the part goes into
``benchmarks/results/vectors_PART.md``. The parts are

- ``exact``: linear maps under rotations of the data, where the step is known exactly;
- ``roll``: a Swiss roll in 50 dimensions, with noise, on the map of its true coordinates;
- ``cycle`` and ``sheet``: simulated counts of genes that rise and fall with the position on a closed curve or in a
  square, whose velocities are known, with Poisson noise, on default maps;
- ``smooth``: the same sheet without counting noise;
- ``pbmc``: differences between groups of neighbors on the default map of PBMC 3k;
- ``costs``: seconds for 2,500 and 68,000 cells.

Angles are between the arrow of a cell and its true direction on the map. ``cycle``, ``sheet``, ``roll`` and ``costs``
compare with the projection of scvelo (``pip install scvelo``, version 0.3.4) where it is installed.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scanpy as sc
import torch
from anndata import AnnData
from scipy.stats import ortho_group
from sklearn.neighbors import NearestNeighbors

import scgeoae as sg
from scgeoae._anndata.genes import genes_of
from scgeoae._anndata.representation import choose_representation
from scgeoae.nn import Autoencoder

try:
    import scvelo as scv

    scv.settings.verbosity = 0
except ImportError:
    scv = None

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

RESULTS = Path(__file__).parent / "results"
SIDES = ("decoder", "encoder")
# Neighbors on the map over which arrows are averaged, as plots do.
N_AVERAGED = 30


def angles(found: NDArray, true: NDArray) -> NDArray:
    """Return the angles between (n, 2) vectors, in degrees; 90 where a vector has no length."""
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(true, axis=1)
    return np.degrees(np.arccos(np.clip((found * true).sum(1) / np.maximum(lengths, 1e-30), -1, 1)))


def compare(found: NDArray, true: NDArray, z: NDArray) -> dict[str, float]:
    """Return the errors of arrows, one by one and averaged over neighbors on the map."""
    error = angles(found, true)
    near = NearestNeighbors(n_neighbors=N_AVERAGED).fit(z).kneighbors(z)[1]
    return {
        "angle": float(np.median(error)),
        "angle of the worst tenth": float(np.quantile(error, 0.9)),
        "angle, mean of 30 neighbors": float(np.median(angles(found[near].mean(1), true[near].mean(1)))),
        "length": float(np.median((found * true).sum(1) / np.maximum(np.square(true).sum(1), 1e-30))),
    }


def plant(adata: AnnData, model: Autoencoder, z: NDArray, use_rep: str) -> None:
    """Store a map whose decoder is known."""
    model.genes = genes_of(adata, choose_representation(adata, use_rep=use_rep, n_pcs=None, layer=None))
    adata.obsm["X_geoae"] = z.astype(np.float32)
    metric = torch.cat([model.metric(part) for part in torch.from_numpy(adata.obsm["X_geoae"]).split(4096)]).detach()
    adata.obsm["geoae_metric"] = metric.numpy()[:, [0, 0, 1], [0, 1, 1]]
    params = {"use_rep": use_rep, "n_cells": adata.n_obs, "refine": True}
    adata.uns["geoae"] = {"params": params, "scores": {}, "model": model.to_arrays()}


def projections(adata: AnnData, name: str, key: str) -> Iterator[tuple[str, NDArray]]:
    """Yield the arrows of each method."""
    for side in SIDES:
        sg.tl.project_vectors(adata, name, key=key, side=side)
        yield side, adata.obsm[f"{name}_{key}"]
    if scv is not None:
        scv.tl.velocity_graph(adata, vkey=name, n_jobs=1, show_progress_bar=False)
        scv.tl.velocity_embedding(adata, vkey=name, basis=key)
        yield "scvelo", adata.obsm[f"{name}_{key}"]


def exact(seed: int) -> Iterator[dict]:
    """Project random vectors with a linear decoder."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(50, 2)))[0]
    z, v = rng.normal(size=(500, 2)), rng.normal(size=(500, 50))
    for name, rotation in (("as they are", np.eye(50)), ("rotated", ortho_group.rvs(50, random_state=rng))):
        turned = rotation @ axes
        model = Autoencoder(50).start_at(
            center=torch.zeros(50), scale=torch.tensor(3.0), axes=torch.from_numpy(turned.T).float()
        )
        adata = AnnData((z @ turned.T).astype(np.float32))
        plant(adata, model, z, "X")
        adata.layers["drift"] = v @ rotation.T
        sg.tl.project_vectors(adata, "drift")
        true = v @ axes
        left = 1 - np.square(true).sum(1) / np.square(v).sum(1)
        yield {
            "data": name,
            "largest error of a step": np.abs(adata.obsm["drift_geoae"] - true).max(),
            "of the share off the surface": np.abs(adata.obs["drift_geoae_off_surface"] - left).max(),
        }


def roll(seed: int) -> Iterator[dict]:
    """Project known fields of a Swiss roll, on the map of its true coordinates."""
    rng = np.random.default_rng(seed)
    data = sg.datasets.swiss_roll(n_obs=1000, random_state=seed)
    z = data.obsm["X_true"].astype(float)
    x, rotation = data.X.astype(float), ortho_group.rvs(50, random_state=seed)[:3]
    t = np.hypot(x[:, 0], x[:, 2])
    along = np.stack([np.cos(t) - t * np.sin(t), 0 * t, np.sin(t) + t * np.cos(t)], axis=1) / np.sqrt(1 + t**2)[:, None]
    # a field that turns from place to place, of length 1
    direction = 2 * np.pi * (z[:, 0] / z[:, 0].max() + z[:, 1] / z[:, 1].max())
    step = np.stack([np.cos(direction), np.sin(direction)], axis=1)
    field = step[:, :1] * along + step[:, 1:] * np.array([0, 1, 0])
    for noise in (0.01, 0.5):
        adata = AnnData((x @ rotation + noise * rng.normal(size=(len(x), 50))).astype(np.float32))
        adata.obsm["X_true"] = data.obsm["X_true"]
        sg.tl.adopt(adata, basis="true", use_rep="X", progress_bar=False, random_state=seed)
        sc.pp.neighbors(adata, use_rep="X", n_neighbors=30)
        for of_vectors in (0.0, 1.0, 3.0):
            # a random vector of this length, compared with the field
            adata.layers["drift"] = field @ rotation + of_vectors / np.sqrt(50) * rng.normal(size=adata.shape)
            # scvelo takes displacements in this layer
            adata.layers["Ms"] = adata.X.copy()
            for method, found in projections(adata, "drift", "true"):
                yield {"noise of cells": noise, "noise of vectors": of_vectors, "method": method} | compare(
                    found, step, z
                )


def counts(
    position: NDArray,
    change: NDArray,
    n_varying: int,
    frequency: float,
    rng: np.random.Generator,
    *,
    draw: Callable[[NDArray], NDArray] | None = None,
) -> AnnData:
    """Return cells with spliced and unspliced counts, whose genes are waves of the position, (n, k), and its change.

    `draw` makes counts of their expectations, by default at random.
    """
    draw = rng.poisson if draw is None else draw
    n_genes = 3 * n_varying
    mean, gamma = rng.gamma(1.0, 1.0, n_genes) + 0.05, rng.uniform(1.5, 4, n_genes)
    amplitude = np.where(np.arange(n_genes) < n_varying, rng.uniform(0.3, 0.8, n_genes), 0)
    if frequency:
        wave = frequency * rng.normal(size=(position.shape[1], n_genes))
    else:
        wave = np.ones((1, n_genes))
    phase = position @ wave + rng.uniform(0, 2 * np.pi, n_genes)
    s, ds = mean * (1 + amplitude * np.cos(phase)), -mean * amplitude * np.sin(phase) * (change @ wave)
    u = np.maximum(ds + gamma * s, 0)
    depth, size = 5000 / mean.sum(), rng.lognormal(0, 0.2, (len(position), 1))
    adata = AnnData(draw(depth * s * size).astype(np.float32))
    adata.layers["spliced"] = adata.X.copy()
    adata.layers["unspliced"] = draw(0.3 * depth * u * size).astype(np.float32)
    adata.layers["true"] = (depth * ds).astype(np.float32)
    adata.var["mean"] = depth * mean
    return adata


def of_counts(
    adata: AnnData,
    design: NDArray,
    change_of_design: NDArray,
    seed: int,
    noises: tuple[float, ...] = (0.0, 0.3, 1.0, 3.0),
) -> Iterator[dict]:
    """Compare projections on the default map of simulated counts.

    The true arrows are the derivatives of a linear regression of the positions on functions of the simulated state.
    """
    rng = np.random.default_rng(1000 + seed)
    sc.pp.normalize_total(adata, target_sum=5000)
    for layer in ("spliced", "unspliced"):
        sc.pp.normalize_total(adata, target_sum=5000 if layer == "spliced" else None, layer=layer)
    sc.pp.log1p(adata)
    sc.pp.pca(adata, n_comps=30)
    sc.pp.neighbors(adata, n_neighbors=30)
    if scv is not None:
        scv.pp.moments(adata, n_pcs=None, n_neighbors=None)
        scv.tl.velocity(adata, mode="deterministic")
    else:
        weights = adata.obsp["distances"] > 0
        adata.layers["Ms"] = (adata.layers["spliced"] + weights @ adata.layers["spliced"]) / (
            1 + np.asarray(weights.sum(1))
        )
    sg.tl.geoae(adata, progress_bar=False, random_state=seed)
    z = adata.obsm["X_geoae"].astype(float)
    true = change_of_design @ np.linalg.lstsq(design, z, rcond=None)[0]
    for noise in noises:
        errors = noise * adata.var["mean"].to_numpy() * rng.normal(size=adata.shape)
        adata.layers["given"] = (adata.layers["true"] + errors).astype(np.float32)
        adata.uns["given_params"] = {"mode": "simulated"}
        for method, found in projections(adata, "given", "geoae"):
            yield {"velocities": f"true, noise {noise:g}", "method": method} | compare(found, true, z)
    if scv is not None:
        for method, found in projections(adata, "velocity", "geoae"):
            yield {"velocities": "estimated by scvelo", "method": method} | compare(found, true, z)


def cycle(seed: int) -> Iterator[dict]:
    """Simulate a cycle that cells go around at constant speed."""
    rng = np.random.default_rng(seed)
    theta = rng.uniform(0, 2 * np.pi, (1000, 1))
    waves = np.arange(1, 6)
    design = np.hstack([np.ones_like(theta), np.cos(waves * theta), np.sin(waves * theta)])
    change = np.hstack([0 * theta, -waves * np.sin(waves * theta), waves * np.cos(waves * theta)])
    yield from of_counts(counts(theta, np.ones_like(theta), 200, 0, rng), design, change, seed)


def smooth(seed: int) -> Iterator[dict]:
    """Simulate the sheet with expected counts in the place of random ones."""
    yield from sheet(seed, draw=np.asarray, noises=(0.0,))


def sheet(seed: int, draw: Callable[[NDArray], NDArray] | None = None, **options: Any) -> Iterator[dict]:
    """Simulate a sheet of states that cells circle on."""
    rng = np.random.default_rng(seed)
    state = rng.uniform(-1, 1, (1000, 2))
    a, b = state.T
    da, db = change = np.stack([-b, a])
    powers = [(i, j) for i in range(5) for j in range(5 - i)]
    design = np.stack([a**i * b**j for i, j in powers], axis=1)
    slope = [i * a ** max(i - 1, 0) * b**j * da + j * a**i * b ** max(j - 1, 0) * db for i, j in powers]
    adata = counts(state, change.T, 200, 0.8, rng, draw=draw)
    yield from of_counts(adata, design, np.stack(slope, axis=1), seed, **options)


def pbmc(seed: int) -> Iterator[dict]:
    """Project differences between two halves of the neighbors of each cell, whose places on the map are known."""
    from reference_data import read

    adata = read("pbmc3k_pca")
    sg.tl.geoae(adata, progress_bar=False, random_state=seed)
    rng = np.random.default_rng(seed)
    z, x = adata.obsm["X_geoae"].astype(float), adata.obsm["X_pca"].astype(float)
    for k in (30, 100):
        near = NearestNeighbors(n_neighbors=k).fit(z).kneighbors(z)[1]
        angle = rng.uniform(0, 2 * np.pi, len(z))
        side = ((z[near] - z[:, None]) * np.stack([np.cos(angle), np.sin(angle)], axis=1)[:, None]).sum(2)
        weights = np.where(side > np.median(side, axis=1, keepdims=True), 1, -1) / (k / 2)
        true, v = (np.einsum("nk,nkf->nf", weights, values[near]) for values in (z, x))
        adata.obsm["drift"] = v
        for which in SIDES:
            sg.tl.project_vectors(adata, "drift", side=which)
            found = compare(adata.obsm["drift_geoae"], true, z)
            yield {"neighbors": k, "method": which, **found}


def costs(seed: int) -> Iterator[dict]:
    """Time the calls on cells of an untrained map, since training does not change their cost."""
    rng = np.random.default_rng(seed)
    for n in (2500, 68_000):
        adata = AnnData(rng.poisson(1.0, size=(n, 2000)).astype(np.float32))
        adata.layers["Ms"] = adata.X.copy()
        sc.pp.log1p(adata)
        some = adata[:2500].copy()
        sc.pp.pca(some, n_comps=50)
        adata.varm["PCs"], adata.uns["pca"] = some.varm["PCs"], some.uns["pca"]
        adata.obsm["X_pca"] = (adata.X - some.X.mean(0)) @ some.varm["PCs"]
        model = Autoencoder(50).start_at(center=torch.zeros(50), scale=torch.tensor(1.0), axes=torch.eye(50)[:2])
        plant(adata, model, adata.obsm["X_pca"][:, :2], "X_pca")
        adata.layers["velocity"] = rng.standard_normal((n, 2000), dtype=np.float32)
        for name, options in {
            "genes, of='Ms'": {"vectors": "velocity", "of": "Ms"},
            "50 components": {"vectors": adata.obsm["X_pca"]},
        }.items():
            start = time.perf_counter()
            sg.tl.project_vectors(adata, **options, key_added="velocity")
            yield {"cells": n, "call": f"tl.project_vectors, {name}", "seconds": time.perf_counter() - start}
        start = time.perf_counter()
        sg.pl.vectors(adata, "velocity", show=False)
        yield {"cells": n, "call": "pl.vectors", "seconds": time.perf_counter() - start}
        if scv is not None and n == 2500:
            sc.pp.neighbors(adata, n_neighbors=30)
            start = time.perf_counter()
            scv.tl.velocity_graph(adata, n_jobs=1, show_progress_bar=False)
            scv.tl.velocity_embedding(adata, basis="geoae")
            yield {"cells": n, "call": "scvelo, graph and embedding", "seconds": time.perf_counter() - start}


TITLES = {
    "exact": "Steps of a linear map",
    "roll": "A field on a Swiss roll",
    "cycle": "Velocities on a simulated cycle",
    "sheet": "Velocities on a simulated sheet",
    "smooth": "Velocities on a simulated sheet without counting noise",
    "pbmc": "Differences between neighbors on PBMC 3k",
    "costs": "Seconds",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=TITLES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    found = []
    for seed in range(options.seeds):
        found += list(globals()[options.part](seed))
        text = table_of(pd.DataFrame(found))
        print(text, flush=True)
        if options.write:
            about = (
                f"Medians of {seed + 1} seeds, ± half of the range over the seeds. Angles are in degrees, and `length` "
                "is relative to the truth."
            )
            (RESULTS / f"vectors_{options.part}.md").write_text(f"# {TITLES[options.part]}\n\n{about}\n\n{text}\n")


def table_of(found: pd.DataFrame) -> str:
    """Return the medians over the seeds, with half of the range."""
    from write_tables import rows

    settings = ("noise of cells", "noise of vectors", "neighbors", "cells")
    by = [name for name in found if found[name].dtype == object or name in settings]
    groups = found.groupby(by, sort=False)
    medians, ranges = groups.median(), (groups.max() - groups.min()) / 2
    values = []
    for label in medians.index:
        first = [
            f"{v:g}" if isinstance(v, float) else str(v) for v in (label if isinstance(label, tuple) else (label,))
        ]
        pairs = zip(medians.loc[label], ranges.loc[label], strict=True)
        values.append([*first, *(f"{median:.3g} ± {spread:.1g}" for median, spread in pairs)])
    return rows([[*by, *medians.columns], *values])


if __name__ == "__main__":
    main()
