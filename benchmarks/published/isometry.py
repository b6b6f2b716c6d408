"""Table 2 of Gropp, Atzmon & Lipman 2020, *Isometric Autoencoders*: how isometric decoders of surfaces are."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.metadata import version
from itertools import product
from multiprocessing import get_context
from typing import TYPE_CHECKING

import numpy as np
import torch
from reference_data import LITERATURE
from scipy.spatial.distance import pdist, squareform
from sklearn.manifold import Isomap

from scgeoae import datasets
from scgeoae.training import Settings, fit

from . import surfaces

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

    from .surfaces import Grid

N_OBS = 2000
SEEDS = range(3)
OPENINGS = (np.pi / 4, 2 * np.pi / 3)
SURFACES = {
    "S shape": (datasets.s_shape, surfaces.s_shape),
    "Swiss roll": (datasets.swiss_roll, surfaces.swiss_roll),
    "open sphere, opening 45°": tuple(
        partial(f, opening=OPENINGS[0]) for f in (datasets.open_sphere, surfaces.open_sphere)
    ),
    "open sphere, opening 120°": tuple(
        partial(f, opening=OPENINGS[1]) for f in (datasets.open_sphere, surfaces.open_sphere)
    ),
}
METHODS = {
    "I-AE": {"regularizer": "unit_isometric"},
    "ours": {"regularizer": "isometric"},
    "ours, strong": {"regularizer": "isometric", "strength": 1.0},
    "CAE": {"regularizer": "contractive"},
    "RAE-GP": {"regularizer": "gradient_penalty"},
    "DAE": {"regularizer": "denoising"},
    "AE": {"regularizer": None},
}
SHARED = LITERATURE | {"n_steps": 2500, "learning_rate": 2e-3}
# of I-AE; the opening of their sphere is not stated
PUBLISHED = {"S shape": "0.03", "Swiss roll": "0.02"} | dict.fromkeys(
    [name for name in SURFACES if "sphere" in name], "0.07"
)
BOUND_OPENINGS = (45, 90, 108, 120, 130)
MEASURES = ("std", "mse", "correlation", "seconds")


def layout(adata: AnnData) -> NDArray:
    """Return the coordinates at which every method starts."""
    return Isomap(n_neighbors=10, n_components=2).fit_transform(np.asarray(adata.X, dtype=np.float64))


def measure(adata: AnnData, grid: Grid, init: NDArray, **settings: object) -> tuple[dict[str, float], NDArray]:
    start = time.process_time()
    fitted = fit(np.asarray(adata.X), Settings(**SHARED, **settings), init_pos=init, device="cpu")
    seconds = time.process_time() - start
    with torch.no_grad():
        codes = fitted.model.encode(torch.as_tensor(grid.vertices, dtype=torch.float32))
        decoded = fitted.model.decode(codes)
    true = squareform(adata.obsp["geodesic_distances"], checks=False)
    return {
        "std": surfaces.relative_std(decoded, codes, grid.edges),
        "mse": float(fitted.error.mean()),
        "correlation": float(np.corrcoef(pdist(fitted.embedding), true)[0, 1]),
        "seconds": seconds,
    }, fitted.embedding


def _runs(task: tuple[str, int]) -> dict[str, tuple[dict[str, float], NDArray]]:
    surface, seed = task
    torch.set_num_threads(1)
    sample, triangulate = SURFACES[surface]
    adata, grid = sample(n_obs=N_OBS), triangulate()
    init = layout(adata)
    runs = {}
    for method, how in METHODS.items():
        runs[method] = measure(adata, grid, init, seed=seed, **how)
        print(surface, seed, method, runs[method][0], file=sys.stderr, flush=True)
    return runs


def _bounds(degrees: int) -> tuple[float, float]:
    torch.set_num_threads(1)
    return surfaces.least_relative_std(surfaces.open_sphere(np.deg2rad(degrees)))


def table(results: Path, *, jobs: int = 2) -> str:
    """Fit every method to every surface, draw the maps into the folder `results` and return the table."""
    tasks = list(product(SURFACES, SEEDS))
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        runs = dict(zip(tasks, pool.map(_runs, tasks), strict=True))
        bounds = dict(zip(BOUND_OPENINGS, pool.map(_bounds, BOUND_OPENINGS), strict=True))
    draw({surface: runs[surface, SEEDS[0]] for surface in SURFACES}, results / "published_a.png")
    return "\n".join([*_scores(runs), "", *_limits(bounds), ""])


def _scores(runs: dict) -> list[str]:
    lines = [
        "# Isometric Autoencoders (Gropp, Atzmon & Lipman 2020), Table 2",
        "",
        "*std* is the standard deviation of the edge-length ratio ‖D(zᵢ) − D(zⱼ)‖/‖zᵢ − zⱼ‖, rescaled to mean 1,",
        "over the edges of a triangulated grid on the surface, where zᵢ is the encoded vertex i. *MSE* is the mean",
        "squared error of the standardized data (1 is their variance), *distance correlation* that of distances on the",
        "map with true geodesic distances, *CPU s* the time of `fit` on one thread.",
        f"Medians of {len(SEEDS)} seeds, {N_OBS} points, two hidden layers of 128, {SHARED['n_steps']} steps.",
        "Every method starts at the same Isomap coordinates (10 neighbors), with a short warm-up.",
        'I-AE is `regularizer="unit_isometric"` on both networks, "ours" is `"isometric"` on the decoder with its',
        'default strength 0.2, and "ours, strong" the same with 1. The other methods have their default strength.',
        "",
        "| surface | method | published std | std | MSE | distance correlation | CPU s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for surface, method in product(SURFACES, METHODS):
        std, mse, correlation, seconds = (
            np.median([runs[surface, seed][method][0][name] for seed in SEEDS]) for name in MEASURES
        )
        published = PUBLISHED[surface] if method == "I-AE" else ""
        lines.append(
            f"| {surface} | {method} | {published} | {std:.4f} | {mse:.1e} | {correlation:.4f} | {seconds:.0f} |"
        )
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "scikit-learn"))
    return [*lines, "", f"Two fits at a time, one core each; {versions}."]


def _limits(bounds: dict[int, tuple[float, float]]) -> list[str]:
    lines = [
        "No map of a sphere is an isometry. *least* is the smallest std of any planar layout of the triangulated",
        "sphere itself, found by moving all vertices freely, without folds (a local minimum, starting at azimuthal",
        "equidistant coordinates). A decoder can have a smaller std only by leaving the sphere.",
        "",
        "| opening | cap from pole to rim | azimuthal equidistant | least |",
        "| --- | --- | --- | --- |",
    ]
    return lines + [f"| {o}° | {180 - o}° | {start:.3f} | {least:.3f} |" for o, (start, least) in bounds.items()]


def draw(runs: dict[str, dict], path: Path) -> None:
    """Draw each surface and the maps that three of the methods make of it."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    shown = ("I-AE", "ours", "AE")
    figure = plt.figure(figsize=(12, 2.9 * len(runs)), layout="constrained")
    for i, (surface, run) in enumerate(runs.items()):
        adata = SURFACES[surface][0](n_obs=N_OBS)
        style = {"c": adata.obsm["X_true"][:, 0], "s": 4, "linewidths": 0}
        axes = figure.add_subplot(len(runs), 4, 4 * i + 1, projection="3d")
        axes.scatter(*adata.X.T, **style)
        axes.set(title=surface, xticks=[], yticks=[], zticks=[], aspect="equal")
        axes.view_init(elev=15, azim=-70 if "sphere" not in surface else -60)
        for j, method in enumerate(shown, start=2):
            scores, embedding = run[method]
            axes = figure.add_subplot(len(runs), 4, 4 * i + j)
            axes.scatter(*embedding.T, **style)
            axes.set(title=f"{method}: std {scores['std']:.3f}, MSE {scores['mse']:.0e}", aspect="equal")
            axes.set_axis_off()
    figure.savefig(path, dpi=110)
    plt.close(figure)
